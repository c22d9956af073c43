// The kernels' arguments: sizes and pointers to contiguous arrays, independent of torch. `by_x` is the derivative of
// the loss with respect to x.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define DEEPMIX_ANYWHERE __host__ __device__
#else
#define DEEPMIX_ANYWHERE
#endif

namespace deepmix {

/// A bfloat16: the upper half of a float's bits. It is read as a float; a float that is stored in it is rounded to the
/// nearest, and to the even one of two equally near.
struct BFloat16 {
  uint16_t bits;

  DEEPMIX_ANYWHERE operator float() const {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
  }

  DEEPMIX_ANYWHERE BFloat16& operator=(float value) {
    uint32_t wide;
    memcpy(&wide, &value, sizeof(wide));
    const uint32_t rounded = (wide + 0x7fff + (wide >> 16 & 1)) >> 16;
    bits = static_cast<uint16_t>(value == value ? rounded : QUIET_NAN);
    return *this;
  }

  static constexpr uint32_t QUIET_NAN = 0x7fc0;
};

template <class R>
struct ComputedType {
  using Type = R;
};

template <>
struct ComputedType<BFloat16> {
  using Type = float;
};

/// The type in which kernels compute, and in which they read and write all but rows, where rows are of type R.
template <class R>
using Computed = typename ComputedType<R>::Type;

/// Inputs of q(y|x) from samples (equations 5, 10, 15 and 16 of the MVAE supplement).
template <class R>
struct MixtureInputs {
  using T = Computed<R>;
  int64_t L, N, H, K, M;
  bool use_posterior;         // divide by q(z|y,x)
  bool product;               // multiply over the samples instead of taking their geometric mean
  const R* source;            // (L, N, H, M): z, or the noise from which the kernel draws z
  const R* mean;              // (N, H, M), or null if there is no q(z|y,x)
  const R* log_var;           // (N, H, M), or null
  const T* prior_mean;        // (K, M), or null for N(0, I)
  const T* prior_log_var;     // (K, M), or null
  const T* log_weight;        // (K)
  const T* log_likelihood;    // (L, N, K), or null
  bool is_drawn = false;      // the kernel draws z = mean + exp(log_var / 2) noise
};

template <class R>
struct MixtureOutputs {
  using T = Computed<R>;
  T* log_q;               // (N, K)
  T* log_normalizer;      // (N)
  T* log_prob = nullptr;  // (N, K): log N(z; mean_k, covariance_k), which only component_log_prob returns
  R* z = nullptr;         // (L, N, H, M), if the kernel draws it
};

/// Upstream gradients of the outputs, each null if it is zero, and the saved output log_q.
template <class R>
struct MixtureUpstream {
  using T = Computed<R>;
  const T* by_log_prob;
  const T* by_log_q;
  const T* by_log_normalizer;
  const T* log_q;
  const R* by_z = nullptr;  // if the kernel drew z
};

/// Where gradients go, here and below; one that is not needed, or whose input does not exist, is null.
template <class R>
struct MixtureGradients {
  using T = Computed<R>;
  R* z;  // also null if the kernel drew z: noise has no gradient
  R* mean;
  R* log_var;
  T* prior_mean;
  T* prior_log_var;
  T* log_weight;
  T* log_likelihood;

  DEEPMIX_ANYWHERE bool has_latent() const { return z != nullptr || mean != nullptr || log_var != nullptr; }
  DEEPMIX_ANYWHERE bool has_prior() const { return prior_mean != nullptr || prior_log_var != nullptr; }
};

/// Inputs of log N(z; mean_k, covariance_k) with full covariances (A A^T)^-1.
template <class T>
struct FullInputs {
  int64_t N, K, M;
  const T* z;                   // (N, M)
  const T* mean;                // (K, M)
  const T* precision_cholesky;  // (K, M, M): the lower triangular A
  const T* log_weight;          // (K)
};

template <class T>
struct FullGradients {
  T* z;
  T* mean;
  T* precision_cholesky;
  T* log_weight;

  DEEPMIX_ANYWHERE bool has_parameters() const {
    return mean != nullptr || precision_cholesky != nullptr || log_weight != nullptr;
  }
};

/// Inputs of KL(q(z|y,x) || p(z|y)).
template <class R>
struct KlInputs {
  using T = Computed<R>;
  int64_t N, H, K, M;
  const R* mean;           // (N, H, M)
  const R* log_var;        // (N, H, M)
  const T* prior_mean;     // (K, M), or null for N(0, I)
  const T* prior_log_var;  // (K, M), or null
};

template <class R>
struct KlGradients {
  using T = Computed<R>;
  R* mean;
  R* log_var;
  T* prior_mean;
  T* prior_log_var;

  DEEPMIX_ANYWHERE bool has_latent() const { return mean != nullptr || log_var != nullptr; }
  DEEPMIX_ANYWHERE bool has_prior() const { return prior_mean != nullptr || prior_log_var != nullptr; }
};

/// Inputs of the EM statistics of a Gaussian mixture.
template <class T>
struct StatisticsInputs {
  int64_t N, K, M;
  bool is_full;
  const T* z;           // (N, M)
  const T* mean;        // (K, M)
  const T* spread;      // (K, M): log-variances; if is_full, (K, M, M): A, lower triangular, of the precision A A^T
  const T* log_weight;  // (K)
  const T* row_weight;  // (N), or null if every row counts once
  T log_noise;          // logarithm of the weight times the density of a uniform component, -inf without one
};

/// Sums over the rows n, with the responsibilities r_nk times the rows' weights and d_nk = z_n - mean_k.
struct StatisticsOutputs {
  double* log_likelihood;  // (): sum_n w_n log p(z_n)
  double* responsibility;  // (K): sum_n r_nk
  double* first;           // (K, M): sum_n r_nk d_nk
  double* second;          // (K, M): sum_n r_nk d_nk^2; if is_full, (K, M, M): sum_n r_nk d_nk d_nk^T
};

}  // namespace deepmix
