// The last step of q(y|x), which both layouts of the latents share.
#pragma once

#include "common.h"

namespace deepmix::cuda {

/// Turn a tile's sums S_k = sum_m [prior terms - posterior terms] into log p(z|y_k) - log q(z|y_k,x) = -S_k / 2 (and a
/// constant), add the other terms of u_k and normalise. `lanes` lanes share a row; they overwrite its sums, of which the
/// next row's are `stride` away.
template <class R>
__device__ void normalize_tile(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, Computed<R>* sums,
                               int64_t stride, int64_t first, int n_rows, int lanes) {
  using T = Computed<R>;
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes;
  const int K = static_cast<int>(in.K), warp_group = group - group % (WARP / lanes);
  const T n_dimensions = in.use_posterior ? T(0) : T(in.M), mean_weight = T(1) / T(in.L);
  for (int start = 0; start + warp_group < n_rows; start += BLOCK / lanes) {  // as often in every lane of a warp
    const bool is_row = start + group < n_rows;
    const int first_k = is_row ? lane : K;
    const int64_t row = first + start + group;
    T* const ratio = sums + (start + group) * stride;
    T highest = -std::numeric_limits<T>::infinity();
    for (int k = first_k; k < K; k += lanes) {
      const T log_prob = log_density<T>(ratio[k], n_dimensions);
      T value = in.log_weight[k] + log_prob;
      if (in.log_likelihood != nullptr)
        for (int64_t l = 0; l < in.L; ++l) value += mean_weight * in.log_likelihood[(l * in.N + row) * K + k];
      if (in.product) value *= T(in.L);
      if (out.log_prob != nullptr) out.log_prob[row * K + k] = log_prob;
      ratio[k] = value;
      highest = value > highest ? value : highest;
    }
    highest = warp_max(highest, lanes);
    if (isinf(highest)) highest = 0;  // like torch.logsumexp: if all u_k are -inf, so is the result
    Sum<T> sum;
    for (int k = first_k; k < K; k += lanes) sum.add(precise_exp(ratio[k] - highest));
    const T log_sum = precise_log(warp_sum(sum.value(), lanes));
    for (int k = first_k; k < K; k += lanes) out.log_q[row * K + k] = ratio[k] - highest - log_sum;
    if (is_row && lane == 0) out.log_normalizer[row] = highest + log_sum;
  }
}

/// The totals of the gradients of the prior and the log-weight.
template <class R, class T = Computed<R>>
Totals<T> totals(const MixtureInputs<R>& in, const MixtureGradients<R>& out) {
  const int64_t size = out.has_prior() ? in.K * in.M : 0;
  return {out.prior_mean, out.prior_log_var, out.log_weight, size, size, in.K, in.product ? T(in.L) : T(1)};
}

}  // namespace deepmix::cuda
