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

/// Derivatives of all that depends on z: by z itself, by q(z|y,x)'s mean and by its log-variance.
template <class V>
struct LatentGradient {
  V z, mean, log_var;
};

/// Where a latent comes from: it is given, and so is q(z|y,x). `source` is z, `spread` = exp(exponent(log_var)) the
/// precision of q(z|y,x).
template <class T>
struct Given {
  static constexpr bool IS_DRAWN = false;

  template <class V>
  static DEEPMIX_INLINE V exponent(V log_var) {
    return -log_var;
  }
  template <class V>
  static DEEPMIX_INLINE V z(V source, V, V) {
    return source;
  }
  /// (z - mean)^2 / variance.
  template <class V>
  static DEEPMIX_INLINE V distance(V source, V mean, V spread) {
    return scaled_distance(source, mean, spread);
  }
  /// `weight` is what log q(z|y,x) gets from above, `by_z` what z gets from elsewhere.
  template <class V>
  static DEEPMIX_INLINE LatentGradient<V> gradient(V weight, V source, V mean, V spread, V by_z) {
    const auto density = log_density_gradient<T>(weight, source, mean, spread);
    return {by_z - density.mean, density.mean, density.log_var};
  }
};

/// Or it is drawn from q(z|y,x), as z = mean + spread source (VaDE eq. 14): `source` is standard normal noise, `spread`
/// the standard deviation. log q(z|y,x) = -1/2 (source^2 + log_var + log 2 pi) then depends on the log-variance alone.
template <class T>
struct Drawn {
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
  template <class V>
  static DEEPMIX_INLINE LatentGradient<V> gradient(V weight, V source, V, V spread, V by_z) {
    return {by_z, by_z, T(0.5) * (by_z * spread * source - weight)};
  }
};

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
