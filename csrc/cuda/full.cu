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

/// The derivative with respect to mu_i of one component, summed over some rows.
template <class T>
__device__ T mean_gradient(const FullInputs<T>& in, const T* weighted_y, TaskRows rows, int64_t k, int64_t i) {
  Sum<T> sum;
  for (int64_t row = rows.begin; row < rows.end; ++row) sum.add(pull(in, weighted_y, row * in.K + k, k, i));
  return sum.value();
}

/// -w y_j (z_i - mu_i) + [i = j] w / A_jj, the derivative with respect to A_ij, summed over some rows.
template <class T>
__device__ T cholesky_gradient(const FullInputs<T>& in, const T* weight, const T* weighted_y, TaskRows rows,
                               int64_t entry) {
  const int64_t M = in.M, k = entry / (M * M), i = entry / M % M, j = entry % M;
  if (j > i) return 0;
  Sum<T> sum, weight_sum;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t pair = row * in.K + k;
    sum.add(-(in.z[row * M + i] - in.mean[k * M + i]) * weighted_y[pair * M + j]);
    weight_sum.add(weight[pair]);
  }
  if (i == j) sum.add(weight_sum.value() / in.precision_cholesky[entry]);
  return sum.value();
}

/// Gradients of mu, A and the log-weight, summed over a task's rows, (tasks, K M + K M M + K); one thread per task and
/// element. Gradients that are not needed are left unchanged.
template <class T>
__global__ void parameter_gradient(FullInputs<T> in, FullGradients<T> out, const T* ratio, const T* weight,
                                   const T* weighted_y, int64_t tasks, T* partial) {
  const int64_t M = in.M, means = in.K * M, size = means + means * M + in.K;
  for (int64_t at = first_item(); at < tasks * size; at += item_stride()) {
    const int64_t task = at / size, element = at % size;
    const TaskRows rows(task, tasks, in.N);
    if (element < means) {
      if (out.mean != nullptr) partial[at] = mean_gradient(in, weighted_y, rows, element / M, element % M);
    } else if (element < means + means * M) {
      if (out.precision_cholesky != nullptr)
        partial[at] = cholesky_gradient(in, weight, weighted_y, rows, element - means);
    } else if (out.log_weight != nullptr) {
      partial[at] = sum_column(ratio + (element - means - means * M), in.K, rows);
    }
  }
}

}  // namespace

template <class T>
void full(const FullInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
  launch(full_terms<T>, in.N * in.K, THREADS, stream, in, out);
  launch(normalize_rows<T>, in.N, THREADS / WARP, stream, out.log_q, out.log_normalizer, in.N, in.K);
}

namespace {

/// The backward pass takes `rows` rows at a time, so that w y, (rows, K, M), stays small; each time has `tasks` tasks.
struct Rounds {
  static constexpr int64_t ELEMENTS = 1 << 25;
  int64_t count, rows, tasks;

  Rounds(int64_t N, int64_t K, int64_t M) {
    const int64_t most = ELEMENTS / (K * M);
    rows = most < 1 ? 1 : (most < N ? most : (N < 1 ? 1 : N));
    count = N == 0 ? 1 : (N + rows - 1) / rows;
    const int64_t all = tasks_for(N, K * M * M);
    tasks = all / count < 1 ? 1 : all / count;
  }
};

int64_t parameters(int64_t K, int64_t M) { return K * (M * M + M + 1); }

}  // namespace

int64_t full_scratch(int64_t N, int64_t K, int64_t M) {
  const Rounds rounds(N, K, M);
  return 2 * N * K + rounds.rows * K * M + rounds.count * rounds.tasks * parameters(K, M);
}

template <class T>
void full_backward(const FullInputs<T>& in, const MixtureUpstream<T>& up, const FullGradients<T>& out, T* scratch,
                   cudaStream_t stream) {
  const int64_t N = in.N, K = in.K, M = in.M;
  const Rounds rounds(N, K, M);
  T *ratio = scratch, *weight = ratio + N * K, *weighted_y = weight + N * K;
  T* const partial = weighted_y + rounds.rows * K * M;
  launch_pair_weights(up, N, K, T(1), ratio, weight, stream);
  for (int64_t round = 0; round < rounds.count; ++round) {
    const int64_t first = round * rounds.rows;
    FullInputs<T> part = in;
    part.N = N - first < rounds.rows ? N - first : rounds.rows;
    part.z += first * M;
    const T *read_ratio = ratio + first * K, *read_weight = weight + first * K, *read_weighted_y = weighted_y;
    launch(weighted_projections<T>, part.N * K * M, THREADS, stream, part, read_weight, weighted_y);
    if (out.z != nullptr)
      launch(point_gradient<T>, part.N * M, THREADS, stream, part, read_weighted_y, out.z + first * M);
    if (out.has_parameters())
      launch(parameter_gradient<T>, rounds.tasks * parameters(K, M), THREADS, stream, part, out, read_ratio,
             read_weight, read_weighted_y, rounds.tasks, partial + round * rounds.tasks * parameters(K, M));
  }
  const Totals<T> totals{out.mean, out.precision_cholesky, out.log_weight, K * M, K * M * M, K};
  launch_sum_tasks(static_cast<const T*>(partial), rounds.count * rounds.tasks, totals.size(), totals, stream);
}

template void full<float>(const FullInputs<float>&, const MixtureOutputs<float>&, cudaStream_t);
template void full<double>(const FullInputs<double>&, const MixtureOutputs<double>&, cudaStream_t);
template void full_backward<float>(const FullInputs<float>&, const MixtureUpstream<float>&,
                                   const FullGradients<float>&, float*, cudaStream_t);
template void full_backward<double>(const FullInputs<double>&, const MixtureUpstream<double>&,
                                    const FullGradients<double>&, double*, cudaStream_t);

}  // namespace deepmix::cuda
