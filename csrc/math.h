// The Gaussian terms and their derivatives, one element at a time: the formulas of every kernel.
//
// V is a scalar or a SIMD vector, T the scalar type of its elements. Nothing here knows torch, threads or
// devices; included inside the namespace of each CPU instruction set and of CUDA, whose compilers make their own
// copy. Shape legend, as in deepmix/types.py: N rows, K components, M latent dimensions, L samples,
// H encoder heads (K, or 1 when all components share one latent).
#ifdef __CUDACC__
#define DEEPMIX_INLINE __host__ __device__ __forceinline__
#else
#define DEEPMIX_INLINE inline __attribute__((always_inline))
#endif

constexpr double LOG_2PI = 1.8378770664093454835606594728112;

/// (z - mean)^2 / variance: the part of -2 log N(z; mean, variance) that depends on z.
template <class V>
DEEPMIX_INLINE V scaled_distance(V z, V mean, V precision) {
  const V difference = z - mean;
  return difference * difference * precision;
}

/// log N(z; mean, variance) from the sum of its scaled distances and of its log-variances over M dimensions.
template <class T, class V>
DEEPMIX_INLINE V log_density(V sum, T n_dimensions) {
  return T(-0.5) * (sum + n_dimensions * T(LOG_2PI));
}

/// Derivatives of weight * log N(z; mean, exp(log_var)) by the mean (by z it is the negative) and the log-variance.
template <class V>
struct DensityGradient {
  V mean, log_var;
};

template <class T, class V>
DEEPMIX_INLINE DensityGradient<V> log_density_gradient(V weight, V z, V mean, V precision) {
  const V difference = z - mean;
  const V scaled = difference * precision;
  return {weight * scaled, T(0.5) * weight * (difference * scaled - T(1))};
}

/// Twice one dimension's KL(N(mean, exp(log_var)) || N(prior_mean, 1 / prior_precision)).
/// `variance_ratio` is exp(log_ratio), log_ratio = log_var - prior_log_var; 1 is taken off it first, exactly near 1.
template <class T, class V>
DEEPMIX_INLINE V twice_kl(V log_ratio, V variance_ratio, V mean, V prior_mean, V prior_precision) {
  return variance_ratio - T(1) - log_ratio + scaled_distance(mean, prior_mean, prior_precision);
}

/// Derivatives of weight * KL by the posterior's mean (by the prior's it is the negative) and both log-variances.
template <class V>
struct KlGradient {
  V mean, log_var, prior_log_var;
};

template <class T, class V>
DEEPMIX_INLINE KlGradient<V> kl_gradient(V weight, V variance_ratio, V mean, V prior_mean, V prior_precision) {
  const V difference = mean - prior_mean;
  const V scaled = difference * prior_precision, excess = variance_ratio - T(1), half_weight = T(0.5) * weight;
  return {weight * scaled, half_weight * excess, -half_weight * (excess + difference * scaled)};
}

/// Derivative by one unnormalised log-probability of log_q and its normaliser; `q` is exp(log_q).
template <class V>
DEEPMIX_INLINE V normalizer_gradient(V by_log_q, V q, V by_log_normalizer, V row_sum_of_by_log_q) {
  return by_log_q + q * (by_log_normalizer - row_sum_of_by_log_q);
}
