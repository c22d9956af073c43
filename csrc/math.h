// The formulas of every kernel, one element at a time: the terms of a Gaussian and their derivatives.
//
// V is a scalar or a SIMD vector, T the scalar type of its elements. Nothing here depends on torch, threads or a
// device. Each CPU instruction set and CUDA include this file in their own namespace, so each compiles its own copy.
// In the formulas, mu_q and s_q are the mean and variance of q(z|y,x), and mu_p and s_p those of p(z|y).
// Shapes: N rows, K components, M latent dimensions, L samples, H encoder heads (K, or 1 if all components share one
// latent).
#ifdef __CUDACC__
#define DEEPMIX_INLINE __host__ __device__ __forceinline__
#else
#define DEEPMIX_INLINE inline __attribute__((always_inline))
#endif

constexpr double LOG_2PI = 1.8378770664093454835606594728112;

/// (z - mean)^2 / variance, the part of -2 log N(z; mean, variance) that depends on z.
template <class V>
DEEPMIX_INLINE V scaled_distance(V z, V mean, V precision) {
  const V difference = z - mean;
  return difference * difference * precision;
}

/// log N(z; mean, variance) = -1/2 (sum + M log 2 pi) with sum = sum_m [(z - mean)^2 / variance + log variance].
template <class T, class V>
DEEPMIX_INLINE V log_density(V sum, T n_dimensions) {
  return T(-0.5) * (sum + n_dimensions * T(LOG_2PI));
}

template <class V>
struct DensityGradient {
  V mean, log_var;
};

/// Derivatives of weight * log N(z; mean, variance): weight (z - mean) / variance with respect to the mean (and minus
/// that with respect to z), and weight / 2 [(z - mean)^2 / variance - 1] with respect to log variance.
template <class T, class V>
DEEPMIX_INLINE DensityGradient<V> log_density_gradient(V weight, V z, V mean, V precision) {
  const V difference = z - mean;
  const V ratio = difference * precision;
  return {weight * ratio, T(0.5) * weight * (difference * ratio - T(1))};
}

/// Derivatives of the loss with respect to z, mu_q and log s_q.
template <class V>
struct LatentGradient {
  V z, mean, log_var;
};

/// The operator receives z: `source` is z, and `spread` = exp(exponent(log_var)) is the precision 1 / s_q.
template <class T>
struct SampleOrigin {
  static constexpr bool IS_DRAWN = false;

  template <class V>
  static DEEPMIX_INLINE V exponent(V log_var) {
    return -log_var;
  }
  template <class V>
  static DEEPMIX_INLINE V z(V source, V, V) {
    return source;
  }
  /// (z - mu_q)^2 / s_q.
  template <class V>
  static DEEPMIX_INLINE V distance(V source, V mean, V spread) {
    return scaled_distance(source, mean, spread);
  }
  /// `weight` is the upstream gradient of log q(z|y,x), `by_z` the gradient that reaches z on all other paths.
  template <class V>
  static DEEPMIX_INLINE LatentGradient<V> gradient(V weight, V source, V mean, V spread, V by_z) {
    const auto density = log_density_gradient<T>(weight, source, mean, spread);
    return {by_z - density.mean, density.mean, density.log_var};
  }
};

/// The kernel draws z = mu_q + spread source (VaDE eq. 14): `source` is standard normal noise, and `spread` is the
/// standard deviation. So log q(z|y,x) = -1/2 sum_m [source^2 + log s_q + log 2 pi] depends on log s_q alone.
template <class T>
struct NoiseOrigin {
  static constexpr bool IS_DRAWN = true;

  template <class V>
  static DEEPMIX_INLINE V exponent(V log_var) {
    return T(0.5) * log_var;
  }
  template <class V>
  static DEEPMIX_INLINE V z(V source, V mean, V spread) {
    return mean + spread * source;
  }
  template <class V>
  static DEEPMIX_INLINE V distance(V source, V, V) {
    return source * source;
  }
  /// dz / d mu_q = 1 and dz / d log s_q = spread source / 2.
  template <class V>
  static DEEPMIX_INLINE LatentGradient<V> gradient(V weight, V source, V, V spread, V by_z) {
    return {by_z, by_z, T(0.5) * (by_z * spread * source - weight)};
  }
};

/// One dimension of 2 KL(q || p) = sum_m [s_q / s_p - 1 - log(s_q / s_p) + (mu_q - mu_p)^2 / s_p].
/// `variance_ratio` is exp(log_ratio) = s_q / s_p; 1 is subtracted from it first, which is exact near 1.
template <class T, class V>
DEEPMIX_INLINE V twice_kl(V log_ratio, V variance_ratio, V mean, V prior_mean, V prior_precision) {
  return variance_ratio - T(1) - log_ratio + scaled_distance(mean, prior_mean, prior_precision);
}

template <class V>
struct KlGradient {
  V mean, log_var, prior_log_var;
};

/// Derivatives of weight * KL(q || p): weight (mu_q - mu_p) / s_p with respect to mu_q (and minus that with respect to
/// mu_p), weight / 2 [s_q / s_p - 1] to log s_q, and -weight / 2 [s_q / s_p - 1 + (mu_q - mu_p)^2 / s_p] to log s_p.
template <class T, class V>
DEEPMIX_INLINE KlGradient<V> kl_gradient(V weight, V variance_ratio, V mean, V prior_mean, V prior_precision) {
  const V difference = mean - prior_mean;
  const V ratio = difference * prior_precision, excess = variance_ratio - T(1), half_weight = T(0.5) * weight;
  return {weight * ratio, half_weight * excess, -half_weight * (excess + difference * ratio)};
}

/// Derivative of the loss with respect to an unnormalised log-probability u_k:
/// by_log_q_k + q_k (by_log_normalizer - sum_j by_log_q_j), where log_normalizer = log sum_j exp(u_j) and
/// log_q_k = u_k - log_normalizer.
template <class V>
DEEPMIX_INLINE V normalizer_gradient(V by_log_q, V q, V by_log_normalizer, V row_sum_of_by_log_q) {
  return by_log_q + q * (by_log_normalizer - row_sum_of_by_log_q);
}
