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

constexpr int THREADS = 128;  // of a kernel whose threads work alone
constexpr int BLOCK = 256;    // of a kernel whose threads share a tile
constexpr int WARP = 32;
constexpr int64_t MAX_BLOCKS = 1 << 16;

/// Enough blocks to fill a GPU when each takes one tile after the other.
constexpr int64_t PERSISTENT_BLOCKS = 1056;

/// Kernels whose threads each sum one column over a task's rows have one task per ROWS_PER_PARTIAL rows, but at most
/// MAX_TASKS, and few where there are many columns. The number depends on the shape alone.
constexpr int64_t MAX_TASKS = 1024;
constexpr int64_t ROWS_PER_PARTIAL = 32;
constexpr int64_t PARTIAL_ELEMENTS = 1 << 22;

__host__ inline int64_t tasks_for(int64_t N, int64_t columns) {
  const int64_t by_rows = N / ROWS_PER_PARTIAL, by_columns = PARTIAL_ELEMENTS / columns;
  const int64_t tasks = by_rows < MAX_TASKS ? by_rows : MAX_TASKS, most = by_columns > 8 ? by_columns : 8;
  return tasks < 1 ? 1 : (tasks > most ? most : tasks);
}

__host__ inline unsigned blocks_for(int64_t work, int64_t per_block) {
  const int64_t blocks = (work + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < 1 ? 1 : (blocks > MAX_BLOCKS ? MAX_BLOCKS : blocks));
}

/// The least power of two that is at least `items`, but at most a warp: the lanes that share a sum of `items` terms.
__host__ inline int lanes_for(int64_t items) {
  int lanes = 1;
  while (lanes < WARP && lanes < items) lanes *= 2;
  return lanes;
}

/// Lanes that share a sum of `terms` terms: few, because each lane costs as much however many terms it adds.
__host__ inline int lanes_for_terms(int64_t terms) { return lanes_for((terms + 7) / 8); }

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

/// Launch a kernel of `blocks` blocks, each with `threads` threads that share `bytes` of memory.
template <class... Parameters, class... Arguments>
void launch_blocks(void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t bytes, cudaStream_t stream,
                   Arguments... arguments) {
  if (blocks == 0) return;
  cudaLaunchConfig_t config{};
  config.gridDim.x = static_cast<unsigned>(blocks);
  config.blockDim.x = static_cast<unsigned>(threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(bytes);
  config.stream = stream;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

extern __shared__ __align__(16) unsigned char shared_bytes[];

template <class T>
__device__ T* shared_memory() {
  return reinterpret_cast<T*>(shared_bytes);
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

/// Sum over groups of `lanes` neighbouring lanes; all lanes of the warp must call it.
template <class T>
__device__ T warp_sum(T value, int lanes = WARP) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <class T>
__device__ T warp_max(T value, int lanes = WARP) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

/// Sums over k = lane, lane + lanes, ... < end, in parts of 8 terms, so that they stay exact and 8 reads are under way.
template <class T, class Term>
__device__ T strided_sum(int lane, int lanes, int end, const Term& term) {
  Sum<T> sum;
  for (int first = lane; first < end; first += 8 * lanes) {
    T part = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (first + j * lanes < end) part += term(first + j * lanes);
    sum.add(part);
  }
  return sum.value();
}

__device__ inline float precise_exp(float x) { return expf(x); }
__device__ inline double precise_exp(double x) { return exp(x); }
__device__ inline float precise_log(float x) { return logf(x); }
__device__ inline double precise_log(double x) { return log(x); }

/// The value at an index, or 0 if the array is null: a missing prior is N(0, I), and a missing gradient is 0.
template <class R>
__device__ Computed<R> value_or_zero(const R* values, int64_t i) {
  return values == nullptr ? Computed<R>(0) : Computed<R>(values[i]);
}

/// Where the sums over all tasks go: the three parts that a task's row of partial sums begins with. A part whose array is
/// null is in the row, but not needed. The third is multiplied by `scale`.
template <class T>
struct Totals {
  T *first, *second, *third;
  int64_t n_first, n_second, n_third;
  T scale = T(1);

  __host__ __device__ int64_t size() const { return n_first + n_second + n_third; }
  __host__ bool is_empty() const { return first == nullptr && second == nullptr && third == nullptr; }

  /// Write the sum of one column, if it is needed.
  __device__ void write(int64_t i, T total) const {
    if (i < n_first) {
      if (first != nullptr) first[i] = total;
    } else if (i < n_first + n_second) {
      if (second != nullptr) second[i - n_first] = total;
    } else if (third != nullptr) {
      third[i - n_first - n_second] = scale * total;
    }
  }
};

constexpr int MAX_SLICES = 32;

/// Sum (tasks, stride) partial sums over the tasks, in an order that depends on the shape alone. A block sums WARP
/// columns at a time; each of its warps sums a slice of the tasks.
template <class T>
__global__ void __launch_bounds__(MAX_SLICES* WARP)
    sum_tasks(const T* partial, int64_t tasks, int64_t stride, Totals<T> totals) {
  double* const slices = shared_memory<double>();
  const int lane = threadIdx.x % WARP, slice = threadIdx.x / WARP, n_slices = blockDim.x / WARP;
  const int64_t size = totals.size();
  for (int64_t base = static_cast<int64_t>(blockIdx.x) * WARP; base < size;
       base += static_cast<int64_t>(gridDim.x) * WARP) {
    const int64_t i = base + lane;
    double sum = 0;
    if (i < size)
#pragma unroll 4
      for (int64_t task = slice; task < tasks; task += n_slices) sum += static_cast<double>(partial[task * stride + i]);
    slices[slice * WARP + lane] = sum;
    __syncthreads();
    if (slice == 0 && i < size) {
      double total = 0;
      for (int other = 0; other < n_slices; ++other) total += slices[other * WARP + lane];
      totals.write(i, static_cast<T>(total));
    }
    __syncthreads();
  }
}

template <class T>
void launch_sum_tasks(const T* partial, int64_t tasks, int64_t stride, const Totals<T>& totals, cudaStream_t stream) {
  if (totals.is_empty()) return;
  int slices = 1;
  while (slices < MAX_SLICES && 16 * slices < tasks) slices *= 2;
  launch_blocks(sum_tasks<T>, blocks_for(totals.size(), WARP), slices * WARP, slices * WARP * sizeof(double), stream,
                partial, tasks, stride, totals);
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

/// A row's gradients of the log-ratios u_k (see `normalizer_gradient`): `write` receives each k in [first_k, end_k) and
/// its gradient. `lanes` lanes share the row; all lanes of a warp must call it, and a lane without a row passes K = 0.
template <class R, class Write>
__device__ void ratio_gradients(const MixtureUpstream<R>& up, int64_t row, int K, int lane, int lanes, int first_k,
                                int end_k, const Write& write) {
  using T = Computed<R>;
  const T* const log_q = up.log_q + row * K;
  const T* const by_log_q = up.by_log_q == nullptr ? nullptr : up.by_log_q + row * K;
  const T lane_sum =
      by_log_q == nullptr ? T(0) : strided_sum<T>(lane, lanes, K, [&](int k) { return by_log_q[k]; });
  const T q_sum = strided_sum<T>(lane, lanes, K, [&](int k) { return precise_exp(log_q[k]); });
  const T row_sum = warp_sum(lane_sum, lanes), correction = T(1) / warp_sum(q_sum, lanes);
  if (K == 0) return;
  const T by_normalizer = value_or_zero(up.by_log_normalizer, row);
  for (int k = first_k + lane; k < end_k; k += lanes) {
    const T q = precise_exp(log_q[k]) * correction;
    write(k, normalizer_gradient(value_or_zero(by_log_q, k), q, by_normalizer, row_sum));
  }
}

/// Gradients of the log-ratios u_k and of each sample's log p(z|y_k), both (N, K).
template <class R, class T = Computed<R>>
__global__ void pair_weights(MixtureUpstream<R> up, int64_t N, int K, int lanes, T sample_weight, T* ratio, T* prior) {
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  for (int64_t start = first_item() - threadIdx.x % WARP; start < N * lanes; start += item_stride()) {
    const int64_t row = (start + threadIdx.x % WARP) / lanes;  // `start` is the same in all lanes of a warp
    ratio_gradients(up, row, row < N ? K : 0, lane, lanes, 0, K, [&](int k, T value) {
      const int64_t at = row * K + k;
      ratio[at] = value;
      prior[at] = value_or_zero(up.by_log_prob, at) + sample_weight * value;
    });
  }
}

template <class R, class T = Computed<R>>
void launch_pair_weights(const MixtureUpstream<R>& up, int64_t N, int64_t K, T sample_weight, T* ratio, T* prior,
                         cudaStream_t stream) {
  const int lanes = lanes_for_terms(K);
  launch(pair_weights<R>, N * lanes, THREADS, stream, up, N, static_cast<int>(K), lanes, sample_weight, ratio, prior);
}

/// The rows of a task, of which there are `tasks`.
struct TaskRows {
  int64_t begin, end;

  __device__ TaskRows(int64_t task, int64_t tasks, int64_t N) {
    const int64_t rows = (N + tasks - 1) / tasks;
    begin = task * rows < N ? task * rows : N;
    end = begin + rows < N ? begin + rows : N;
  }
};

/// Sum one column of an (N, K) array over a task's rows, 8 at a time, so that 8 reads are under way.
template <class T>
__device__ T sum_column(const T* column, int64_t K, TaskRows rows) {
  Sum<T> sum;
  for (int64_t first = rows.begin; first < rows.end; first += 8) {
    T part = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (first + j < rows.end) part += column[(first + j) * K];
    sum.add(part);
  }
  return sum.value();
}

}  // namespace deepmix::cuda
