// Queues the kernels on a stream, with scratch from torch's allocator.
#pragma once

#include "../ops.h"
#include "run.h"

namespace deepmix {

/// `Queue` is constructed from a tensor; `get` returns its stream, and `check` reports a launch that failed.
template <class Queue>
struct Cuda {
  template <class T>
  static void mixture(const Tensor& like, const MixtureInputs<T>& in, const MixtureOutputs<T>& out) {
    const Queue queue(like);
    cuda::mixture<T>(in, out, queue.get());
    queue.check();
  }
  template <class T>
  static void mixture_backward(const Tensor& like, const MixtureInputs<T>& in, const MixtureUpstream<T>& up,
                               const MixtureGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::mixture_scratch(in.N, in.K, in.M)});
    cuda::mixture_backward<T>(in, up, out, data<T>(scratch), queue.get());
    queue.check();
  }
  template <class T>
  static void full(const Tensor& like, const FullInputs<T>& in, const MixtureOutputs<T>& out) {
    const Queue queue(like);
    cuda::full<T>(in, out, queue.get());
    queue.check();
  }
  template <class T>
  static void full_backward(const Tensor& like, const FullInputs<T>& in, const MixtureUpstream<T>& up,
                            const FullGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::full_scratch(in.N, in.K, in.M)});
    cuda::full_backward<T>(in, up, out, data<T>(scratch), queue.get());
    queue.check();
  }
  template <class T>
  static void kl(const Tensor& like, const KlInputs<T>& in, T* result) {
    const Queue queue(like);
    cuda::kl<T>(in, result, queue.get());
    queue.check();
  }
  template <class T>
  static void kl_backward(const Tensor& like, const KlInputs<T>& in, const T* by_kl, const KlGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::kl_scratch(in.N, in.K, in.M)});
    cuda::kl_backward<T>(in, by_kl, out, data<T>(scratch), queue.get());
    queue.check();
  }
};

}  // namespace deepmix
