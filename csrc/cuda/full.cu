// component_log_prob with full covariances (A A^T)^-1:
// log N(z; mu, (A A^T)^-1) = sum_j log A_jj - M/2 log 2 pi - 1/2 |y|^2 with y = A^T (z - mu).
#include "common.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

/// y_j = sum_{i >= j} A_ij (z_i - mu_i) of one pair.
template <class T>
__device__ T project(const FullInputs<T>& in, int64_t row, int64_t k, int64_t j) {
  const int64_t M = in.M;
  const T *z = in.z + row * M, *mean = in.mean + k * M, *cholesky = in.precision_cholesky + k * M * M;
  Sum<T> y;
  for (int64_t i = j; i < M; ++i) y.add(cholesky[i * M + j] * (z[i] - mean[i]));
  return y.value();
}

template <class T>
__global__ void full_terms(FullInputs<T> in, MixtureOutputs<T> out) {
  const int64_t M = in.M;
  for (int64_t pair = first_item(); pair < in.N * in.K; pair += item_stride()) {
    const int64_t row = pair / in.K, k = pair % in.K;
    Sum<T> distance, log_determinant;
    for (int64_t j = 0; j < M; ++j) {
      const T y = project(in, row, k, j);
      distance.add(y * y);
      log_determinant.add(precise_log(in.precision_cholesky[(k * M + j) * M + j]));
    }
    const T log_prob = log_determinant.value() + log_density<T>(distance.value(), T(M));
    out.log_prob[pair] = log_prob;
    out.log_q[pair] = log_prob + in.log_weight[k];
  }
}

/// w y for every pair, (N, K, M), where w is the gradient of the pair's log N.
template <class T>
__global__ void weighted_projections(FullInputs<T> in, const T* weight, T* weighted_y) {
  for (int64_t i = first_item(); i < in.N * in.K * in.M; i += item_stride()) {
    const int64_t pair = i / in.M;
    weighted_y[i] = weight[pair] * project(in, pair / in.K, pair % in.K, i % in.M);
  }
}

/// (A w y)_i of one pair: the derivative with respect to mu_i, and minus that with respect to z_i.
template <class T>
__device__ T pull(const FullInputs<T>& in, const T* weighted_y, int64_t pair, int64_t k, int64_t i) {
  const T* factors = in.precision_cholesky + (k * in.M + i) * in.M;
  Sum<T> sum;
  for (int64_t j = 0; j <= i; ++j) sum.add(factors[j] * weighted_y[pair * in.M + j]);
  return sum.value();
}

template <class T>
__global__ void point_gradient(FullInputs<T> in, const T* weighted_y, T* d_z) {
  for (int64_t at = first_item(); at < in.N * in.M; at += item_stride()) {
    const int64_t row = at / in.M, i = at % in.M;
    Sum<T> sum;
    for (int64_t k = 0; k < in.K; ++k) sum.add(-pull(in, weighted_y, row * in.K + k, k, i));
    d_z[at] = sum.value();
  }
}

template <class T>
__global__ void mean_gradient(FullInputs<T> in, const T* weighted_y, int64_t tasks, T* partial) {
  const int64_t size = in.K * in.M, rows = (in.N + tasks - 1) / tasks;
  for (int64_t at = first_item(); at < tasks * size; at += item_stride()) {
    const int64_t task = at / size, k = at % size / in.M, i = at % in.M;
    const int64_t end = (task + 1) * rows < in.N ? (task + 1) * rows : in.N;
    Sum<T> sum;
    for (int64_t row = task * rows; row < end; ++row) sum.add(pull(in, weighted_y, row * in.K + k, k, i));
    partial[at] = sum.value();
  }
}

/// -w y_j (z_i - mu_i) + [i = j] w / A_jj, the derivative with respect to A_ij, summed over a task's rows.
template <class T>
__global__ void cholesky_gradient(FullInputs<T> in, const T* weight, const T* weighted_y, int64_t tasks, T* partial) {
  const int64_t M = in.M, size = in.K * M * M, rows = (in.N + tasks - 1) / tasks;
  for (int64_t at = first_item(); at < tasks * size; at += item_stride()) {
    const int64_t task = at / size, entry = at % size, k = entry / (M * M), i = entry / M % M, j = entry % M;
    const int64_t end = (task + 1) * rows < in.N ? (task + 1) * rows : in.N;
    Sum<T> sum, weight_sum;
    if (j <= i) {
      for (int64_t row = task * rows; row < end; ++row) {
        const int64_t pair = row * in.K + k;
        sum.add(-(in.z[row * M + i] - in.mean[k * M + i]) * weighted_y[pair * M + j]);
        weight_sum.add(weight[pair]);
      }
      if (i == j) sum.add(weight_sum.value() / in.precision_cholesky[entry]);
    }
    partial[at] = sum.value();
  }
}

}  // namespace

template <class T>
void full(const FullInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
  launch(full_terms<T>, in.N * in.K, THREADS, stream, in, out);
  launch(normalize_rows<T>, in.N, THREADS / WARP, stream, out.log_q, out.log_normalizer, in.N, in.K);
}

int64_t full_scratch(int64_t N, int64_t K, int64_t M) { return N * K * (M + 2) + tasks_for(N) * K * (M * M + M + 1); }

template <class T>
void full_backward(const FullInputs<T>& in, const MixtureUpstream<T>& up, const FullGradients<T>& out, T* scratch,
                   cudaStream_t stream) {
  const int64_t pairs = in.N * in.K, means = in.K * in.M, factors = means * in.M, tasks = tasks_for(in.N);
  T *ratio = scratch, *weight = ratio + pairs, *weighted_y = weight + pairs;
  T *weight_partial = weighted_y + pairs * in.M, *mean_partial = weight_partial + tasks * in.K;
  T* factor_partial = mean_partial + tasks * means;
  const T *read_ratio = ratio, *read_weight = weight, *read_weighted_y = weighted_y;
  launch(pair_weights<T>, in.N, THREADS / WARP, stream, up, in.N, in.K, T(1), ratio, weight);
  launch(weighted_projections<T>, pairs * in.M, THREADS, stream, in, read_weight, weighted_y);
  launch(point_gradient<T>, in.N * in.M, THREADS, stream, in, read_weighted_y, out.z);
  launch(sum_columns<T>, tasks * in.K, THREADS, stream, read_ratio, in.N, in.K, tasks, weight_partial);
  launch(sum_partials<T>, in.K, THREADS, stream, static_cast<const T*>(weight_partial), tasks, in.K, T(1),
         out.log_weight);
  launch(mean_gradient<T>, tasks * means, THREADS, stream, in, read_weighted_y, tasks, mean_partial);
  launch(sum_partials<T>, means, THREADS, stream, static_cast<const T*>(mean_partial), tasks, means, T(1), out.mean);
  launch(cholesky_gradient<T>, tasks * factors, THREADS, stream, in, read_weight, read_weighted_y, tasks,
         factor_partial);
  launch(sum_partials<T>, factors, THREADS, stream, static_cast<const T*>(factor_partial), tasks, factors, T(1),
         out.precision_cholesky);
}

template void full<float>(const FullInputs<float>&, const MixtureOutputs<float>&, cudaStream_t);
template void full<double>(const FullInputs<double>&, const MixtureOutputs<double>&, cudaStream_t);
template void full_backward<float>(const FullInputs<float>&, const MixtureUpstream<float>&,
                                   const FullGradients<float>&, float*, cudaStream_t);
template void full_backward<double>(const FullInputs<double>&, const MixtureUpstream<double>&,
                                    const FullGradients<double>&, double*, cudaStream_t);

}  // namespace deepmix::cuda
