// Registers the operators for the CPU, where they run on torch's own threads.
#include "../ops.h"
#include "../statistics.h"
#include "run.h"

namespace {

using namespace deepmix;

void on_torch_threads(int64_t n, const cpu::Body& body) { torch::stable::parallel_for(0, n, 1, body); }

struct Cpu {
  template <class R>
  static void mixture(const Tensor&, const MixtureInputs<R>& in, const MixtureOutputs<R>& out) {
    cpu::mixture<R>(in, out, on_torch_threads);
  }
  template <class R>
  static void mixture_backward(const Tensor&, const MixtureInputs<R>& in, const MixtureUpstream<R>& up,
                               const MixtureGradients<R>& out) {
    cpu::mixture_backward<R>(in, up, out, on_torch_threads);
  }
  template <class T>
  static void full(const Tensor&, const FullInputs<T>& in, const MixtureOutputs<T>& out) {
    cpu::full<T>(in, out, on_torch_threads);
  }
  template <class T>
  static void full_backward(const Tensor&, const FullInputs<T>& in, const MixtureUpstream<T>& up,
                            const FullGradients<T>& out) {
    cpu::full_backward<T>(in, up, out, on_torch_threads);
  }
  template <class R>
  static void kl(const Tensor&, const KlInputs<R>& in, Computed<R>* result) {
    cpu::kl<R>(in, result, on_torch_threads);
  }
  template <class R>
  static void kl_backward(const Tensor&, const KlInputs<R>& in, const Computed<R>* by_kl, const KlGradients<R>& out) {
    cpu::kl_backward<R>(in, by_kl, out, on_torch_threads);
  }
  template <class T>
  static void statistics(const Tensor&, const StatisticsInputs<T>& in, const StatisticsOutputs& out) {
    cpu::statistics<T>(in, out, on_torch_threads);
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(deepmix, CPU, library) {
  implement<Cpu>(library);
  implement_statistics<Cpu>(library);
}
