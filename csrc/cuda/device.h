// Queues the kernels on a stream, with scratch from torch's allocator.
#pragma once

#include "../ops.h"
#include "../statistics.h"
#include "run.h"

namespace deepmix {

/// The kernels count a row's columns, of which each component has M, in 32 bits.
inline void check_width(int64_t K, int64_t M) {
  check(K <= INT32_MAX / M, "deepmix: on a GPU, components times dimensions must stay below 2^31");
}

/// `Queue` is constructed from a tensor; `get` returns its stream, and `check` reports a launch that failed.
template <class Queue>
struct Cuda {
  template <class R>
  static void mixture(const Tensor& like, const MixtureInputs<R>& in, const MixtureOutputs<R>& out) {
    check_width(in.K, in.M);
    const Queue queue(like);
    cuda::mixture<R>(in, out, queue.get());
    queue.check();
  }
  template <class R>
  static void mixture_backward(const Tensor& like, const MixtureInputs<R>& in, const MixtureUpstream<R>& up,
                               const MixtureGradients<R>& out) {
    check_width(in.K, in.M);
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::mixture_scratch<R>(in)});
    cuda::mixture_backward<R>(in, up, out, data<Computed<R>>(scratch), queue.get());
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
  template <class R>
  static void kl(const Tensor& like, const KlInputs<R>& in, Computed<R>* result) {
    check_width(in.K, in.M);
    const Queue queue(like);
    cuda::kl<R>(in, result, queue.get());
    queue.check();
  }
  template <class R>
  static void kl_backward(const Tensor& like, const KlInputs<R>& in, const Computed<R>* by_kl,
                          const KlGradients<R>& out) {
    check_width(in.K, in.M);
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::kl_scratch<R>(in)});
    cuda::kl_backward<R>(in, by_kl, out, data<Computed<R>>(scratch), queue.get());
    queue.check();
  }
  template <class T>
  static void statistics(const Tensor& like, const StatisticsInputs<T>& in, const StatisticsOutputs& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::statistics_scratch(in.N, in.K, in.M, in.is_full)});
    const Tensor sums = allocate_double(like, {cuda::statistics_sums(in.N, in.K, in.M, in.is_full)});
    cuda::statistics<T>(in, out, data<T>(scratch), data<double>(sums), queue.get());
    queue.check();
  }
};

}  // namespace deepmix
