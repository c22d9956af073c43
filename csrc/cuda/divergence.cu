// KL(q(z|y_k,x) || p(z|y_k)) = 1/2 sum_m [log s_p - log s_q + (s_q + (mu_q - mu_p)^2) / s_p - 1], for one head per
// component and for one shared head.
#include "heads.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

/// One head per component.
template <int V, class R, class T = Computed<R>>
__global__ void __launch_bounds__(BLOCK) heads_kl(KlInputs<R> in, Cover cover, int lanes, T* result) {
  T* const terms = shared_memory<T>();
  const int width = cover.width, K = static_cast<int>(in.K), M = static_cast<int>(in.M);
  for (int64_t tile = blockIdx.x; tile < cover.tiles(); tile += gridDim.x) {
    const int64_t first = tile * cover.rows();
    const int n_rows = static_cast<int>(in.N - first < cover.rows() ? in.N - first : cover.rows());
    for (int chunk = 0; chunk < cover.chunks; ++chunk) {
      const Place<V> place(cover, chunk, M);
      if (place.is_active) {
        const PriorColumns<T, V> prior(in.prior_mean, in.prior_log_var, place.at, true);
        Vector<T, V> mean[PASSES]{}, log_var[PASSES]{};
        read_rows<V>(in.mean + first * width, 0, n_rows, cover.step, width, place, mean);
        read_rows<V>(in.log_var + first * width, 0, n_rows, cover.step, width, place, log_var);
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
          const int row = place.row + pass * cover.step;
          if (row >= n_rows) continue;
          Vector<T, V> term;
#pragma unroll
          for (int v = 0; v < V; ++v) {
            const T log_ratio = log_var[pass].at[v] - prior.log_var.at[v];
            term.at[v] = T(0.5) * twice_kl<T>(log_ratio, precise_exp(log_ratio), mean[pass].at[v], prior.mean.at[v],
                                              prior.precision.at[v]);
          }
          store(terms + (row * cover.columns + place.column) * V, term);
        }
      }
      __syncthreads();
      sum_components<V>(terms, cover.columns * V, place, M, K, n_rows, lanes, result + first * in.K);
      __syncthreads();
    }
  }
}

/// The rule of `heads_gradients` for the KL.
template <class R>
struct KlRule {
  using T = Computed<R>;
  KlInputs<R> in;
  const T* by_kl;
  KlGradients<R> out;

  __device__ const T* prior_mean() const { return in.prior_mean; }
  __device__ const T* prior_log_var() const { return in.prior_log_var; }

  template <int V>
  __device__ void read(int64_t first, int start, int n_rows, const Cover& cover, const Place<V>& place,
                       Reads<T, V>& reads) const {
    const int64_t at = first * cover.width;
    read_rows<V>(in.mean + at, start, n_rows, cover.step, cover.width, place, reads.mean);
    read_rows<V>(in.log_var + at, start, n_rows, cover.step, cover.width, place, reads.log_var);
  }

  template <int V>
  __device__ void weigh(int64_t first, int n_rows, const Place<V>& place, int, int, T* ratio, T* weight) const {
    for (int i = static_cast<int>(threadIdx.x); i < n_rows * place.n_k; i += BLOCK) {
      ratio[i] = 0;
      weight[i] = by_kl[(first + i / place.n_k) * in.K + place.first_k + i % place.n_k];
    }
  }

  template <int V>
  __device__ void step(int64_t first, int start, int n_rows, const Cover& cover, const Place<V>& place,
                       const PriorColumns<T, V>& prior, const T*, const T* weight, const Reads<T, V>& reads,
                       Vector<T, V>& by_prior_mean, Vector<T, V>& by_prior_log_var) const {
#pragma unroll
    for (int pass = 0; pass < PASSES; ++pass) {
      const int row = start + place.row + pass * cover.step;
      if (row >= n_rows) continue;
      Vector<T, V> by_mean, by_log_var;
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const int i = row * place.n_k + place.reached[v];
        const T variance_ratio = precise_exp(reads.log_var[pass].at[v] - prior.log_var.at[v]);
        const auto gradient = kl_gradient<T>(weight[i], variance_ratio, reads.mean[pass].at[v], prior.mean.at[v],
                                             prior.precision.at[v]);
        by_mean.at[v] = gradient.mean;
        by_log_var.at[v] = gradient.log_var;
        by_prior_mean.at[v] -= gradient.mean;
        by_prior_log_var.at[v] += gradient.prior_log_var;
      }
      const int64_t at = (first + row) * cover.width + place.at;
      if (out.mean != nullptr) store(out.mean + at, by_mean);
      if (out.log_var != nullptr) store(out.log_var + at, by_log_var);
    }
  }
};

/// One head that all components share; one thread per (row, component) pair.
template <class R, class T = Computed<R>>
__global__ void shared_kl(KlInputs<R> in, T* result) {
  const int64_t M = in.M;
  for (int64_t pair = first_item(); pair < in.N * in.K; pair += item_stride()) {
    const int64_t row = pair / in.K, k = pair % in.K;
    Sum<T> sum;
    for (int64_t m = 0; m < M; ++m) {
      const T p_mean = value_or_zero(in.prior_mean, k * M + m), p_log_var = value_or_zero(in.prior_log_var, k * M + m);
      const T log_ratio = in.log_var[row * M + m] - p_log_var;
      sum.add(twice_kl<T>(log_ratio, precise_exp(log_ratio), T(in.mean[row * M + m]), p_mean, precise_exp(-p_log_var)));
    }
    result[pair] = T(0.5) * sum.value();
  }
}

/// Gradients of a shared mu_q and log s_q; one thread per (row, dimension).
template <class R, class T = Computed<R>>
__global__ void shared_latent_gradient(KlInputs<R> in, const T* by_kl, KlGradients<R> out) {
  const int64_t M = in.M;
  for (int64_t i = first_item(); i < in.N * M; i += item_stride()) {
    const int64_t m = i % M, row = i / M;
    Sum<T> d_mean, d_log_var;
    for (int64_t k = 0; k < in.K; ++k) {
      const T p_mean = value_or_zero(in.prior_mean, k * M + m), p_log_var = value_or_zero(in.prior_log_var, k * M + m);
      const auto gradient = kl_gradient<T>(by_kl[row * in.K + k], precise_exp(in.log_var[i] - p_log_var), T(in.mean[i]),
                                           p_mean, precise_exp(-p_log_var));
      d_mean.add(gradient.mean);
      d_log_var.add(gradient.log_var);
    }
    if (out.mean != nullptr) out.mean[i] = d_mean.value();
    if (out.log_var != nullptr) out.log_var[i] = d_log_var.value();
  }
}

/// Gradients of mu_p and log s_p for a shared head, summed over a task's rows; one thread per (task, component,
/// dimension).
template <class R, class T = Computed<R>>
__global__ void shared_prior_gradient(KlInputs<R> in, const T* by_kl, int64_t tasks, T* partial) {
  const int64_t M = in.M, width = in.K * M;
  for (int64_t i = first_item(); i < tasks * width; i += item_stride()) {
    const int64_t task = i / width, at = i % width, k = at / M, m = at % M;
    const TaskRows rows(task, tasks, in.N);
    const T p_mean = in.prior_mean[at], p_log_var = in.prior_log_var[at], p_precision = precise_exp(-p_log_var);
    Sum<T> by_mean, by_log_var;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const int64_t latent = row * M + m;
      const auto gradient = kl_gradient<T>(by_kl[row * in.K + k], precise_exp(in.log_var[latent] - p_log_var),
                                           T(in.mean[latent]), p_mean, p_precision);
      by_mean.add(-gradient.mean);
      by_log_var.add(gradient.prior_log_var);
    }
    partial[task * 2 * width + at] = by_mean.value();
    partial[task * 2 * width + width + at] = by_log_var.value();
  }
}

template <int V, class R, class T = Computed<R>>
void launch_heads(const KlInputs<R>& in, T* result, cudaStream_t stream) {
  const Cover cover(in.N, in.K * in.M, V);
  const int64_t bytes = static_cast<int64_t>(cover.rows()) * cover.columns * V * sizeof(T);
  launch_blocks(heads_kl<V, R>, blocks_for(cover.tiles(), 1), BLOCK, bytes, stream, in, cover, lanes_for(in.M / 8),
                result);
}

}  // namespace

template <class R>
void kl(const KlInputs<R>& in, Computed<R>* result, cudaStream_t stream) {
  using T = Computed<R>;
  if (in.H < in.K) return launch(shared_kl<R>, in.N * in.K, THREADS, stream, in, result);
  if (is_wide<T>(in.K * in.M, in.mean, in.log_var, in.prior_mean, in.prior_log_var))
    return launch_heads<WIDE<T>>(in, result, stream);
  launch_heads<1>(in, result, stream);
}

template <class R>
int64_t kl_scratch(const KlInputs<R>& in) {
  const int64_t N = in.N, K = in.K, M = in.M;
  return in.H < K ? 2 * tasks_for(N, K * M) * K * M : heads_scratch<Computed<R>>(N, K, M);
}

template <class R>
void kl_backward(const KlInputs<R>& in, const Computed<R>* by_kl, const KlGradients<R>& out, Computed<R>* scratch,
                 cudaStream_t stream) {
  using T = Computed<R>;
  const int64_t size = out.has_prior() ? in.K * in.M : 0;
  const Totals<T> sums{out.prior_mean, out.prior_log_var, nullptr, size, size, 0};
  if (in.H < in.K) {
    if (out.has_latent()) launch(shared_latent_gradient<R>, in.N * in.M, THREADS, stream, in, by_kl, out);
    if (size == 0) return;
    const int64_t tasks = tasks_for(in.N, size);
    launch(shared_prior_gradient<R>, tasks * size, THREADS, stream, in, by_kl, tasks, scratch);
    return launch_sum_tasks(static_cast<const T*>(scratch), tasks, sums.size(), sums, stream);
  }
  const KlRule<R> rule{in, by_kl, out};
  if (is_wide<T>(in.K * in.M, in.mean, in.log_var, in.prior_mean, in.prior_log_var, out.mean, out.log_var))
    return launch_heads_gradients<KlRule<R>, WIDE<T>>(rule, in.N, in.K, in.M, sums, scratch, stream);
  launch_heads_gradients<KlRule<R>, 1>(rule, in.N, in.K, in.M, sums, scratch, stream);
}

#define DEEPMIX_INSTANTIATE(R)                                                                         \
  template void kl<R>(const KlInputs<R>&, Computed<R>*, cudaStream_t);                                 \
  template int64_t kl_scratch<R>(const KlInputs<R>&);                                                  \
  template void kl_backward<R>(const KlInputs<R>&, const Computed<R>*, const KlGradients<R>&, Computed<R>*, \
                               cudaStream_t);

DEEPMIX_INSTANTIATE(float)
DEEPMIX_INSTANTIATE(double)
DEEPMIX_INSTANTIATE(BFloat16)

}  // namespace deepmix::cuda
