// The CUDA entry points, which queue kernels on a stream and return. `scratch` holds intermediate results; the
// functions named *_scratch return how many elements it needs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../arguments.h"

namespace deepmix::cuda {

template <class R>
void mixture(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, cudaStream_t stream);

template <class R>
int64_t mixture_scratch(const MixtureInputs<R>& in);
template <class R>
void mixture_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                      Computed<R>* scratch, cudaStream_t stream);

template <class T>
void full(const FullInputs<T>& in, const MixtureOutputs<T>& out, cudaStream_t stream);

int64_t full_scratch(int64_t N, int64_t K, int64_t M);
template <class T>
void full_backward(const FullInputs<T>& in, const MixtureUpstream<T>& up, const FullGradients<T>& out, T* scratch,
                   cudaStream_t stream);

template <class R>
void kl(const KlInputs<R>& in, Computed<R>* result, cudaStream_t stream);

template <class R>
int64_t kl_scratch(const KlInputs<R>& in);
template <class R>
void kl_backward(const KlInputs<R>& in, const Computed<R>* by_kl, const KlGradients<R>& out, Computed<R>* scratch,
                 cudaStream_t stream);

/// Number of float64 sums that `statistics` needs besides its scratch.
int64_t statistics_sums(int64_t N, int64_t K, int64_t M, bool is_full);
int64_t statistics_scratch(int64_t N, int64_t K, int64_t M, bool is_full);
template <class T>
void statistics(const StatisticsInputs<T>& in, const StatisticsOutputs& out, T* scratch, double* sums,
                cudaStream_t stream);

}  // namespace deepmix::cuda
