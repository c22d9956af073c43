// The CPU entry points. They choose the instruction set, split the rows into tasks and add the tasks' parameter
// gradients in a fixed order. The tasks depend on the shape alone, so the number of threads doesn't change the results.
#pragma once

#include <cstdint>
#include <functional>

#include "../arguments.h"

namespace deepmix::cpu {

/// A function that calls body(begin, end), on one or more threads, until the calls cover [0, n).
using Body = std::function<void(int64_t, int64_t)>;
using Parallel = void (*)(int64_t n, const Body& body);

/// Name of the instruction set in use: the best one that this processor has, or the one that DEEPMIX_SIMD names.
const char* level_name();

template <class R>
void mixture(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, Parallel parallel);
template <class R>
void mixture_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                      Parallel parallel);
template <class T>
void full(const FullInputs<T>& in, const MixtureOutputs<T>& out, Parallel parallel);
template <class T>
void full_backward(const FullInputs<T>& in, const MixtureUpstream<T>& up, const FullGradients<T>& out,
                   Parallel parallel);
template <class R>
void kl(const KlInputs<R>& in, Computed<R>* result, Parallel parallel);
template <class R>
void kl_backward(const KlInputs<R>& in, const Computed<R>* by_kl, const KlGradients<R>& out, Parallel parallel);
template <class T>
void statistics(const StatisticsInputs<T>& in, const StatisticsOutputs& out, Parallel parallel);

}  // namespace deepmix::cpu
