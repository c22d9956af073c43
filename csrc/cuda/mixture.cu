// q(y|x) from samples, and component_log_prob with diagonal covariances (H = 1 and no q(z|y,x)). log_q is normalised
// from u_k = log p(y_k) + 1/L sum_l [log p(z_lk|y_k) - log q(z_lk|y_k,x) + log p(x|z_lk)], or from L u_k if `product`.
#include "mixture_heads.h"
#include "mixture_shared.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

template <class R>
bool has_heads(const MixtureInputs<R>& in) {
  return in.mean != nullptr && in.H == in.K;
}

template <class Origin, class R>
void launch_forward(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, cudaStream_t stream) {
  using T = Computed<R>;
  if (has_heads(in)) {
    const bool wide = is_wide<T>(in.K * in.M, in.source, in.mean, in.log_var, in.prior_mean, in.prior_log_var, out.z);
    if (wide && in.L == 1) return launch_heads<Origin, 1, WIDE<T>>(in, out, stream);
    if (wide) return launch_heads<Origin, 0, WIDE<T>>(in, out, stream);
    return launch_heads<Origin, 0, 1>(in, out, stream);
  }
  switch (in.M) {
    case 2: return launch_shared<Origin, 2>(in, out, stream);
    case 8: return launch_shared<Origin, 8>(in, out, stream);
    case 10: return launch_shared<Origin, 10>(in, out, stream);
    case 16: return launch_shared<Origin, 16>(in, out, stream);
    case 32: return launch_shared<Origin, 32>(in, out, stream);
    default: return launch_shared<Origin, 0>(in, out, stream);
  }
}

template <class Origin, class R>
void launch_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                     Computed<R>* scratch, cudaStream_t stream) {
  using T = Computed<R>;
  const T weight = in.product ? T(1) : T(1) / T(in.L);
  if (!has_heads(in)) return launch_shared_backward<Origin>(in, up, out, weight, scratch, stream);
  const bool wide = is_wide<T>(in.K * in.M, in.source, in.mean, in.log_var, in.prior_mean, in.prior_log_var, up.by_z,
                               out.z, out.mean, out.log_var);
  if (wide && in.L == 1) return launch_heads_backward<Origin, 1, WIDE<T>>(in, up, out, weight, scratch, stream);
  if (wide) return launch_heads_backward<Origin, 0, WIDE<T>>(in, up, out, weight, scratch, stream);
  launch_heads_backward<Origin, 0, 1>(in, up, out, weight, scratch, stream);
}

}  // namespace

template <class R>
void mixture(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, cudaStream_t stream) {
  if (in.is_drawn) return launch_forward<NoiseOrigin<Computed<R>>>(in, out, stream);
  launch_forward<SampleOrigin<Computed<R>>>(in, out, stream);
}

template <class R>
int64_t mixture_scratch(const MixtureInputs<R>& in) {
  const int64_t N = in.N, K = in.K, M = in.M;
  return has_heads(in) ? heads_scratch<Computed<R>>(N, K, M) : 2 * N * K + tasks_for(N, K * M) * K * (2 * M + 1);
}

template <class R>
void mixture_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                      Computed<R>* scratch, cudaStream_t stream) {
  if (in.is_drawn) return launch_backward<NoiseOrigin<Computed<R>>>(in, up, out, scratch, stream);
  launch_backward<SampleOrigin<Computed<R>>>(in, up, out, scratch, stream);
}

#define DEEPMIX_INSTANTIATE(R)                                                                                      \
  template void mixture<R>(const MixtureInputs<R>&, const MixtureOutputs<R>&, cudaStream_t);                        \
  template int64_t mixture_scratch<R>(const MixtureInputs<R>&);                                                     \
  template void mixture_backward<R>(const MixtureInputs<R>&, const MixtureUpstream<R>&, const MixtureGradients<R>&, \
                                    Computed<R>*, cudaStream_t);

DEEPMIX_INSTANTIATE(float)
DEEPMIX_INSTANTIATE(double)
DEEPMIX_INSTANTIATE(BFloat16)

}  // namespace deepmix::cuda
