// q(y|x) from samples, and component_log_prob with diagonal covariances (H = 1 and no q(z|y,x)). log_q is normalised
// from u_k = log p(y_k) + 1/L sum_l [log p(z_lk|y_k) - log q(z_lk|y_k,x) + log p(x|z_lk)], or from L u_k if `product`.
#include "common.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

/// Write u_k or L u_k to log_q; one thread per (row, component) pair. FIXED_M is M, so that short loops unroll, or 0.
template <class Origin, int FIXED_M, class T>
__global__ void pair_terms(MixtureInputs<T> in, MixtureOutputs<T> out) {
  const int64_t M = FIXED_M > 0 ? FIXED_M : in.M;
  const T mean_weight = T(1) / T(in.L);
  for (int64_t pair = first_item(); pair < in.N * in.K; pair += item_stride()) {
    const int64_t row = pair / in.K, k = pair % in.K, head = row * in.H + (in.H == in.K ? k : 0);
    Sum<T> prior_sum, posterior_sum;
    for (int64_t m = 0; m < M; ++m) {
      const T p_mean = value_or_zero(in.prior_mean, k * M + m), p_log_var = value_or_zero(in.prior_log_var, k * M + m);
      const T p_precision = precise_exp(-p_log_var);
      T mean = 0, log_var = 0, prior_distance = 0, posterior_distance = 0;
      if (in.mean != nullptr) {
        mean = in.mean[head * M + m];
        log_var = in.log_var[head * M + m];
      }
      const T spread = precise_exp(Origin::exponent(log_var));
      for (int64_t l = 0; l < in.L; ++l) {
        const int64_t sample = (l * in.N * in.H + head) * M + m;
        const T source = in.source[sample], z = Origin::z(source, mean, spread);
        if constexpr (Origin::IS_DRAWN) {
          if (in.H == in.K || k == 0) out.z[sample] = z;
        }
        prior_distance += scaled_distance(z, p_mean, p_precision);
        posterior_distance += Origin::distance(source, mean, spread);
      }
      prior_sum.add(mean_weight * prior_distance + p_log_var);
      posterior_sum.add(mean_weight * posterior_distance + log_var);
    }
    const T log_prior = log_density<T>(prior_sum.value(), T(M));
    T ratio = in.log_weight[k] + log_prior;
    if (in.use_posterior) ratio -= log_density<T>(posterior_sum.value(), T(M));
    if (in.log_likelihood != nullptr)
      for (int64_t l = 0; l < in.L; ++l) ratio += mean_weight * in.log_likelihood[(l * in.N + row) * in.K + k];
    if (out.log_prob != nullptr) out.log_prob[pair] = log_prior;
    out.log_q[pair] = in.product ? ratio * T(in.L) : ratio;
  }
}

/// Gradients of z, mu_q and log s_q; one thread per latent (row, head, dimension).
template <class Origin, class T>
__global__ void latent_gradient(MixtureInputs<T> in, MixtureUpstream<T> up, MixtureGradients<T> out,
                                const T* ratio_weight, const T* prior_weight) {
  const int64_t M = in.M, total = in.N * in.H * M;
  const T sample_weight = in.product ? T(1) : T(1) / T(in.L);
  for (int64_t i = first_item(); i < total; i += item_stride()) {
    const int64_t m = i % M, head = i / M, row = head / in.H, h = head % in.H;
    const int64_t first = in.H == in.K ? h : 0, last = in.H == in.K ? h + 1 : in.K;
    const bool has_posterior = in.mean != nullptr;
    T by_posterior = 0, mean = 0, spread = 0, d_mean = 0, d_log_var = 0;
    if (has_posterior) {
      Sum<T> ratio_sum;
      for (int64_t k = first; k < last; ++k) ratio_sum.add(ratio_weight[row * in.K + k]);
      by_posterior = in.use_posterior ? -sample_weight * ratio_sum.value() : T(0);
      mean = in.mean[i];
      spread = precise_exp(Origin::exponent(in.log_var[i]));
    }
    for (int64_t l = 0; l < in.L; ++l) {
      const T source = in.source[l * total + i], z = Origin::z(source, mean, spread);
      Sum<T> by_z;
      by_z.add(value_or_zero(up.by_z, l * total + i));
      for (int64_t k = first; k < last; ++k) {
        const T p_mean = value_or_zero(in.prior_mean, k * M + m);
        const T p_precision = precise_exp(-value_or_zero(in.prior_log_var, k * M + m));
        by_z.add(-log_density_gradient<T>(prior_weight[row * in.K + k], z, p_mean, p_precision).mean);
      }
      T d_z = by_z.value();
      if (has_posterior) {
        const auto gradient = Origin::gradient(by_posterior, source, mean, spread, d_z);
        d_z = gradient.z;
        d_mean += gradient.mean;
        d_log_var += gradient.log_var;
      }
      if constexpr (!Origin::IS_DRAWN) out.z[l * total + i] = d_z;
    }
    if (has_posterior) {
      out.mean[i] = d_mean;
      out.log_var[i] = d_log_var;
    }
  }
}

/// Gradients of mu_p and log s_p, summed over a task's rows; one thread per (task, component, dimension).
template <class Origin, class T>
__global__ void prior_gradient(MixtureInputs<T> in, const T* prior_weight, int64_t tasks, T* mean_partial,
                               T* log_var_partial) {
  const int64_t M = in.M, size = in.K * M, rows = (in.N + tasks - 1) / tasks;
  for (int64_t i = first_item(); i < tasks * size; i += item_stride()) {
    const int64_t task = i / size, at = i % size, k = at / M, m = at % M;
    const int64_t end = (task + 1) * rows < in.N ? (task + 1) * rows : in.N;
    const T p_mean = in.prior_mean[at], p_precision = precise_exp(-in.prior_log_var[at]);
    Sum<T> by_mean, by_log_var;
    for (int64_t row = task * rows; row < end; ++row) {
      const int64_t head = row * in.H + (in.H == in.K ? k : 0);
      const T weight = prior_weight[row * in.K + k];
      T mean = 0, spread = 0;
      if constexpr (Origin::IS_DRAWN) {
        mean = in.mean[head * M + m];
        spread = precise_exp(Origin::exponent(in.log_var[head * M + m]));
      }
      for (int64_t l = 0; l < in.L; ++l) {
        const T z = Origin::z(in.source[(l * in.N * in.H + head) * M + m], mean, spread);
        const auto gradient = log_density_gradient<T>(weight, z, p_mean, p_precision);
        by_mean.add(gradient.mean);
        by_log_var.add(gradient.log_var);
      }
    }
    mean_partial[i] = by_mean.value();
    log_var_partial[i] = by_log_var.value();
  }
}

template <class T>
__global__ void likelihood_gradient(const T* ratio_weight, int64_t pairs, int64_t L, T sample_weight, T* out) {
  for (int64_t i = first_item(); i < L * pairs; i += item_stride()) out[i] = sample_weight * ratio_weight[i % pairs];
}

template <class Origin, class T>
void launch_pair_terms(const MixtureInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
  const int64_t pairs = in.N * in.K;
  switch (in.M) {
    case 2: return launch(pair_terms<Origin, 2, T>, pairs, THREADS, stream, in, out);
    case 8: return launch(pair_terms<Origin, 8, T>, pairs, THREADS, stream, in, out);
    case 10: return launch(pair_terms<Origin, 10, T>, pairs, THREADS, stream, in, out);
    case 16: return launch(pair_terms<Origin, 16, T>, pairs, THREADS, stream, in, out);
    default: launch(pair_terms<Origin, 0, T>, pairs, THREADS, stream, in, out);
  }
}

/// Launch the gradients that need z: those of the latents and, if there is a prior, each task's sums for the prior.
template <class Origin, class T>
void launch_gradients(const MixtureInputs<T>& in, const MixtureUpstream<T>& up, const MixtureGradients<T>& out,
                      const T* ratio, const T* prior, int64_t tasks, T* mean_partial, T* log_var_partial,
                      cudaStream_t stream) {
  launch(latent_gradient<Origin, T>, in.N * in.H * in.M, THREADS, stream, in, up, out, ratio, prior);
  if (out.prior_mean != nullptr)
    launch(prior_gradient<Origin, T>, tasks * in.K * in.M, THREADS, stream, in, prior, tasks, mean_partial,
           log_var_partial);
}

}  // namespace

template <class T>
void mixture(const MixtureInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
  if (in.is_drawn)
    launch_pair_terms<NoiseOrigin<T>>(in, out, stream);
  else
    launch_pair_terms<SampleOrigin<T>>(in, out, stream);
  launch(normalize_rows<T>, in.N, THREADS / WARP, stream, out.log_q, out.log_normalizer, in.N, in.K);
}

int64_t mixture_scratch(int64_t N, int64_t K, int64_t M) { return 2 * N * K + tasks_for(N) * K * (2 * M + 1); }

template <class T>
void mixture_backward(const MixtureInputs<T>& in, const MixtureUpstream<T>& up, const MixtureGradients<T>& out,
                      T* scratch, cudaStream_t stream) {
  const int64_t pairs = in.N * in.K, size = in.K * in.M, tasks = tasks_for(in.N);
  T *ratio = scratch, *prior = ratio + pairs, *weight_partial = prior + pairs;
  T *mean_partial = weight_partial + tasks * in.K, *log_var_partial = mean_partial + tasks * size;
  const T sample_weight = in.product ? T(1) : T(1) / T(in.L);
  launch(pair_weights<T>, in.N, THREADS / WARP, stream, up, in.N, in.K, sample_weight, ratio, prior);
  const auto launch_both = in.is_drawn ? launch_gradients<NoiseOrigin<T>, T> : launch_gradients<SampleOrigin<T>, T>;
  launch_both(in, up, out, ratio, prior, tasks, mean_partial, log_var_partial, stream);
  launch(sum_columns<T>, tasks * in.K, THREADS, stream, static_cast<const T*>(ratio), in.N, in.K, tasks,
         weight_partial);
  launch(sum_partials<T>, in.K, THREADS, stream, static_cast<const T*>(weight_partial), tasks, in.K,
         in.product ? T(in.L) : T(1), out.log_weight);
  if (out.prior_mean != nullptr) {
    launch(sum_partials<T>, size, THREADS, stream, static_cast<const T*>(mean_partial), tasks, size, T(1),
           out.prior_mean);
    launch(sum_partials<T>, size, THREADS, stream, static_cast<const T*>(log_var_partial), tasks, size, T(1),
           out.prior_log_var);
  }
  if (out.log_likelihood != nullptr)
    launch(likelihood_gradient<T>, in.L * pairs, THREADS, stream, static_cast<const T*>(ratio), pairs, in.L,
           sample_weight, out.log_likelihood);
}

template void mixture<float>(const MixtureInputs<float>&, const MixtureOutputs<float>&, cudaStream_t);
template void mixture<double>(const MixtureInputs<double>&, const MixtureOutputs<double>&, cudaStream_t);
template void mixture_backward<float>(const MixtureInputs<float>&, const MixtureUpstream<float>&,
                                      const MixtureGradients<float>&, float*, cudaStream_t);
template void mixture_backward<double>(const MixtureInputs<double>&, const MixtureUpstream<double>&,
                                       const MixtureGradients<double>&, double*, cudaStream_t);

}  // namespace deepmix::cuda
