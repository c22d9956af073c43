// KL(q(z|y_k,x) || p(z|y_k)) = 1/2 sum_m [log s_p - log s_q + (s_q + (mu_q - mu_p)^2) / s_p - 1], for one head per
// component and for one shared head.
#include "common.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

/// One thread per (row, component) pair.
template <class T>
__global__ void kl_pairs(KlInputs<T> in, T* result) {
  const int64_t M = in.M;
  for (int64_t pair = first_item(); pair < in.N * in.K; pair += item_stride()) {
    const int64_t row = pair / in.K, k = pair % in.K, head = row * in.H + (in.H == in.K ? k : 0);
    Sum<T> sum;
    for (int64_t m = 0; m < M; ++m) {
      const T p_mean = value_or_zero(in.prior_mean, k * M + m), p_log_var = value_or_zero(in.prior_log_var, k * M + m);
      const T log_ratio = in.log_var[head * M + m] - p_log_var;
      sum.add(
          twice_kl<T>(log_ratio, precise_exp(log_ratio), in.mean[head * M + m], p_mean, precise_exp(-p_log_var)));
    }
    result[pair] = T(0.5) * sum.value();
  }
}

/// Gradients of mu_q and log s_q; one thread per (row, head, dimension).
template <class T>
__global__ void latent_gradient(KlInputs<T> in, const T* by_kl, KlGradients<T> out) {
  const int64_t M = in.M;
  for (int64_t i = first_item(); i < in.N * in.H * M; i += item_stride()) {
    const int64_t m = i % M, row = i / M / in.H, h = i / M % in.H;
    const int64_t first = in.H == in.K ? h : 0, last = in.H == in.K ? h + 1 : in.K;
    Sum<T> d_mean, d_log_var;
    for (int64_t k = first; k < last; ++k) {
      const T p_mean = value_or_zero(in.prior_mean, k * M + m), p_log_var = value_or_zero(in.prior_log_var, k * M + m);
      const auto gradient = kl_gradient<T>(by_kl[row * in.K + k], precise_exp(in.log_var[i] - p_log_var), in.mean[i],
                                           p_mean, precise_exp(-p_log_var));
      d_mean.add(gradient.mean);
      d_log_var.add(gradient.log_var);
    }
    out.mean[i] = d_mean.value();
    out.log_var[i] = d_log_var.value();
  }
}

/// Gradients of mu_p and log s_p, summed over a task's rows; one thread per (task, component, dimension).
template <class T>
__global__ void prior_gradient(KlInputs<T> in, const T* by_kl, int64_t tasks, T* mean_partial, T* log_var_partial) {
  const int64_t M = in.M, size = in.K * M, rows = (in.N + tasks - 1) / tasks;
  for (int64_t i = first_item(); i < tasks * size; i += item_stride()) {
    const int64_t task = i / size, at = i % size, k = at / M, m = at % M;
    const int64_t end = (task + 1) * rows < in.N ? (task + 1) * rows : in.N;
    const T p_mean = in.prior_mean[at], p_log_var = in.prior_log_var[at], p_precision = precise_exp(-p_log_var);
    Sum<T> by_mean, by_log_var;
    for (int64_t row = task * rows; row < end; ++row) {
      const int64_t latent = (row * in.H + (in.H == in.K ? k : 0)) * M + m;
      const auto gradient = kl_gradient<T>(by_kl[row * in.K + k], precise_exp(in.log_var[latent] - p_log_var),
                                           in.mean[latent], p_mean, p_precision);
      by_mean.add(-gradient.mean);
      by_log_var.add(gradient.prior_log_var);
    }
    mean_partial[i] = by_mean.value();
    log_var_partial[i] = by_log_var.value();
  }
}

}  // namespace

template <class T>
void kl(const KlInputs<T>& in, T* result, cudaStream_t stream) {
  launch(kl_pairs<T>, in.N * in.K, THREADS, stream, in, result);
}

int64_t kl_scratch(int64_t N, int64_t K, int64_t M) { return 2 * tasks_for(N) * K * M; }

template <class T>
void kl_backward(const KlInputs<T>& in, const T* by_kl, const KlGradients<T>& out, T* scratch, cudaStream_t stream) {
  const int64_t size = in.K * in.M, tasks = tasks_for(in.N);
  launch(latent_gradient<T>, in.N * in.H * in.M, THREADS, stream, in, by_kl, out);
  if (out.prior_mean == nullptr) return;
  T *mean_partial = scratch, *log_var_partial = scratch + tasks * size;
  launch(prior_gradient<T>, tasks * size, THREADS, stream, in, by_kl, tasks, mean_partial, log_var_partial);
  launch(sum_partials<T>, size, THREADS, stream, static_cast<const T*>(mean_partial), tasks, size, T(1),
         out.prior_mean);
  launch(sum_partials<T>, size, THREADS, stream, static_cast<const T*>(log_var_partial), tasks, size, T(1),
         out.prior_log_var);
}

template void kl<float>(const KlInputs<float>&, float*, cudaStream_t);
template void kl<double>(const KlInputs<double>&, double*, cudaStream_t);
template void kl_backward<float>(const KlInputs<float>&, const float*, const KlGradients<float>&, float*,
                                 cudaStream_t);
template void kl_backward<double>(const KlInputs<double>&, const double*, const KlGradients<double>&, double*,
                                  cudaStream_t);

}  // namespace deepmix::cuda
