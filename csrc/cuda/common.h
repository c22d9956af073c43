// Code that all CUDA kernels share: the formulas, launches on the current stream and sums in a fixed order.
//
// Kernels use grid-stride loops and are launched from template functions. Nothing waits for the device. Each task sums
// the parameters' gradients over its rows, and these sums are added in order, so the results don't depend on how blocks
// are scheduled.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "../arguments.h"

namespace deepmix::cuda {

#include "../math.h"

constexpr int THREADS = 128;
constexpr int WARP = 32;
constexpr int64_t MAX_BLOCKS = 1 << 16;

/// A backward pass has one task per ROWS_PER_PARTIAL rows, but at most MAX_TASKS. They depend on the shape alone.
constexpr int64_t MAX_TASKS = 256;
constexpr int64_t ROWS_PER_PARTIAL = 64;

__host__ inline int64_t tasks_for(int64_t N) {
  const int64_t tasks = N / ROWS_PER_PARTIAL;
  return tasks < 1 ? 1 : (tasks > MAX_TASKS ? MAX_TASKS : tasks);
}

__host__ inline unsigned blocks_for(int64_t work, int64_t per_block) {
  const int64_t blocks = (work + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < 1 ? 1 : (blocks > MAX_BLOCKS ? MAX_BLOCKS : blocks));
}

/// Launch a kernel over `work` items, with `per_block` items per block.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t work, int64_t per_block, cudaStream_t stream,
            Arguments... arguments) {
  if (work == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim.x = blocks_for(work, per_block);
  config.blockDim.x = THREADS;
  config.stream = stream;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

__device__ inline int64_t first_item() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t item_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

/// A long sum that stays as exact as a short one: it adds 16 terms, then 16 of those sums, then the sums of these.
template <class T>
class Sum {
 public:
  __device__ void add(T term) {
    part_ += term;
    if (++count_ % 16 != 0) return;
    middle_ += part_;
    part_ = 0;
    if (count_ % 256 != 0) return;
    total_ += middle_;
    middle_ = 0;
  }

  __device__ T value() const { return total_ + (middle_ + part_); }

 private:
  T part_ = 0, middle_ = 0, total_ = 0;
  unsigned count_ = 0;
};

template <class T>
__device__ T warp_sum(T value) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <class T>
__device__ T warp_max(T value) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

__device__ inline float precise_exp(float x) { return expf(x); }
__device__ inline double precise_exp(double x) { return exp(x); }
__device__ inline float precise_log(float x) { return logf(x); }
__device__ inline double precise_log(double x) { return log(x); }

/// The value at an index, or 0 if the array is null: a missing prior is N(0, I), and a missing gradient is 0.
template <class T>
__device__ T value_or_zero(const T* values, int64_t i) {
  return values == nullptr ? T(0) : values[i];
}

/// Add the partial sums, (tasks, size), over the tasks, in order, and multiply the total by `scale`.
template <class T>
__global__ void sum_partials(const T* partial, int64_t tasks, int64_t size, T scale, T* total) {
  for (int64_t i = first_item(); i < size; i += item_stride()) {
    double sum = 0;
    for (int64_t task = 0; task < tasks; ++task) sum += static_cast<double>(partial[task * size + i]);
    total[i] = scale * static_cast<T>(sum);
  }
}

/// Normalise (N, K) log-probabilities u in place: log_normalizer = log sum_k exp(u_k), log_q_k = u_k - log_normalizer.
/// One warp per row.
template <class T>
__global__ void normalize_rows(T* log_q, T* log_normalizer, int64_t N, int64_t K) {
  const int lane = threadIdx.x % WARP;
  for (int64_t row = first_item() / WARP; row < N; row += item_stride() / WARP) {
    T* ratio = log_q + row * K;
    T highest = -std::numeric_limits<T>::infinity();
    for (int64_t k = lane; k < K; k += WARP) highest = ratio[k] > highest ? ratio[k] : highest;
    highest = warp_max(highest);
    if (isinf(highest)) highest = 0;  // like torch.logsumexp: if all u_k are -inf, so is the result
    Sum<T> sum;
    for (int64_t k = lane; k < K; k += WARP) sum.add(precise_exp(ratio[k] - highest));
    const T log_sum = precise_log(warp_sum(sum.value()));
    for (int64_t k = lane; k < K; k += WARP) ratio[k] = ratio[k] - highest - log_sum;
    if (lane == 0) log_normalizer[row] = highest + log_sum;
  }
}

/// Gradients of the log-ratios u_k (see `normalizer_gradient`) and of each sample's log p(z|y_k), both (N, K); one warp
/// per row.
template <class T>
__global__ void pair_weights(MixtureUpstream<T> up, int64_t N, int64_t K, T sample_weight, T* ratio, T* prior) {
  const int lane = threadIdx.x % WARP;
  for (int64_t row = first_item() / WARP; row < N; row += item_stride() / WARP) {
    const int64_t at = row * K;
    Sum<T> by_log_q, q_sum;
    for (int64_t k = lane; k < K; k += WARP) {
      if (up.by_log_q != nullptr) by_log_q.add(up.by_log_q[at + k]);
      q_sum.add(precise_exp(up.log_q[at + k]));
    }
    const T row_sum = warp_sum(by_log_q.value()), correction = T(1) / warp_sum(q_sum.value());
    const T by_normalizer = value_or_zero(up.by_log_normalizer, row);
    for (int64_t k = lane; k < K; k += WARP) {
      const T q = precise_exp(up.log_q[at + k]) * correction;
      const T value = normalizer_gradient(value_or_zero(up.by_log_q, at + k), q, by_normalizer, row_sum);
      ratio[at + k] = value;
      prior[at + k] = value_or_zero(up.by_log_prob, at + k) + sample_weight * value;
    }
  }
}

/// Sum an (N, K) array over each task's rows, (tasks, K).
template <class T>
__global__ void sum_columns(const T* values, int64_t N, int64_t K, int64_t tasks, T* partial) {
  const int64_t rows = (N + tasks - 1) / tasks;
  for (int64_t i = first_item(); i < tasks * K; i += item_stride()) {
    const int64_t task = i / K, k = i % K, end = (task + 1) * rows < N ? (task + 1) * rows : N;
    Sum<T> sum;
    for (int64_t row = task * rows; row < end; ++row) sum.add(values[row * K + k]);
    partial[i] = sum.value();
  }
}

}  // namespace deepmix::cuda
