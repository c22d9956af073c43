// The operator mixture_statistics: turns torch's tensors into the kernels' arguments, like ops.h.
#pragma once

#include "ops.h"

namespace deepmix {

/// Allocate a float64 tensor on the device of `like`.
inline Tensor allocate_double(const Tensor& like, const Shape& shape) {
  return allocate_as(aoti_torch_dtype_float64(), like, shape);
}

/// One E-step of a Gaussian mixture and what its M-step needs: the log-likelihood, (), the sums of the
/// responsibilities, (K), and the moments about the means, (K, M) and (K, M) or (K, M, M), all in float64. `spread` is
/// (K, M) log-variances or, for full covariances, the (K, M, M) lower-triangular A of the precisions A A^T.
template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> mixture_statistics(const Tensor& z, const Tensor& mean,
                                                              const Tensor& spread, const Tensor& log_weight,
                                                              const MaybeTensor& row_weight, double log_noise) {
  check_rank("z", z, 2);
  check_rank("the log-weight", log_weight, 1);
  const int64_t N = z.size(0), M = z.size(1), K = log_weight.size(0);
  const bool is_full = spread.dim() == 3;
  check(K >= 1 && M >= 1, "deepmix: there must be at least one component and one dimension");
  const Shape second_shape = is_full ? Shape{K, M, M} : Shape{K, M};
  const Input z_rows("z", z, {N, M}, z), means("the mean", mean, {K, M}, z);
  const Input spreads("the spread", spread, second_shape, z), log_weights("the log-weight", log_weight, {K}, z);
  const Input row_weights("the rows' weight", row_weight, {N}, z);
  const Tensor log_likelihood = allocate_double(z, {}), responsibility = allocate_double(z, {K});
  const Tensor first = allocate_double(z, {K, M}), second = allocate_double(z, second_shape);
  with_scalar(z, [&](auto scalar) {
    using T = decltype(scalar);
    const StatisticsInputs<T> in{N, K, M, is_full, z_rows.get<T>(), means.get<T>(), spreads.get<T>(),
                                 log_weights.get<T>(), row_weights.get<T>(), static_cast<T>(log_noise)};
    Device::template statistics<T>(z, in,
                                   {data<double>(log_likelihood), data<double>(responsibility), data<double>(first),
                                    data<double>(second)});
  });
  return {log_likelihood, responsibility, first, second};
}

/// Register the operator's implementation for one device.
template <class Device, class Library>
void implement_statistics(Library& library) {
  library.impl("mixture_statistics", TORCH_BOX(&mixture_statistics<Device>));
}

}  // namespace deepmix
