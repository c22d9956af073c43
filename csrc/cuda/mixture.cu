// q(y|x) from samples, and component_log_prob with diagonal covariances (H = 1 and no q(z|y,x)). log_q is normalised
// from u_k = log p(y_k) + 1/L sum_l [log p(z_lk|y_k) - log q(z_lk|y_k,x) + log p(x|z_lk)], or from L u_k if `product`.
#include "mixture_heads.h"
#include "mixture_shared.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

template <class T>
bool has_heads(const MixtureInputs<T>& in) {
  return in.mean != nullptr && in.H == in.K;
}

template <class Origin, class T>
void launch_forward(const MixtureInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
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

template <class Origin, class T>
void launch_backward(const MixtureInputs<T>& in, const MixtureUpstream<T>& up, const MixtureGradients<T>& out,
                     T* scratch, cudaStream_t stream) {
  const T weight = in.product ? T(1) : T(1) / T(in.L);
  if (!has_heads(in)) return launch_shared_backward<Origin>(in, up, out, weight, scratch, stream);
  const bool wide = is_wide<T>(in.K * in.M, in.source, in.mean, in.log_var, in.prior_mean, in.prior_log_var, up.by_z,
                               out.z, out.mean, out.log_var);
  if (wide && in.L == 1) return launch_heads_backward<Origin, 1, WIDE<T>>(in, up, out, weight, scratch, stream);
  if (wide) return launch_heads_backward<Origin, 0, WIDE<T>>(in, up, out, weight, scratch, stream);
  launch_heads_backward<Origin, 0, 1>(in, up, out, weight, scratch, stream);
}

}  // namespace

template <class T>
void mixture(const MixtureInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream) {
  if (in.is_drawn) return launch_forward<NoiseOrigin<T>>(in, out, stream);
  launch_forward<SampleOrigin<T>>(in, out, stream);
}

template <class T>
int64_t mixture_scratch(const MixtureInputs<T>& in) {
  const int64_t N = in.N, K = in.K, M = in.M;
  return has_heads(in) ? heads_scratch<T>(N, K, M) : 2 * N * K + tasks_for(N, K * M) * K * (2 * M + 1);
}

template <class T>
void mixture_backward(const MixtureInputs<T>& in, const MixtureUpstream<T>& up, const MixtureGradients<T>& out,
                      T* scratch, cudaStream_t stream) {
  if (in.is_drawn) return launch_backward<NoiseOrigin<T>>(in, up, out, scratch, stream);
  launch_backward<SampleOrigin<T>>(in, up, out, scratch, stream);
}

template void mixture<float>(const MixtureInputs<float>&, const MixtureOutputs<float>&, cudaStream_t);
template void mixture<double>(const MixtureInputs<double>&, const MixtureOutputs<double>&, cudaStream_t);
template int64_t mixture_scratch<float>(const MixtureInputs<float>&);
template int64_t mixture_scratch<double>(const MixtureInputs<double>&);
template void mixture_backward<float>(const MixtureInputs<float>&, const MixtureUpstream<float>&,
                                      const MixtureGradients<float>&, float*, cudaStream_t);
template void mixture_backward<double>(const MixtureInputs<double>&, const MixtureUpstream<double>&,
                                       const MixtureGradients<double>&, double*, cudaStream_t);

}  // namespace deepmix::cuda
