// The kernels for AVX-512: vectors of 64 bytes.
#include "standard.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif

#define DEEPMIX_LEVEL avx512
#define DEEPMIX_VECTOR_BYTES 64
#include "level.h"

const deepmix::cpu::Level deepmix::cpu::AVX512{"avx512", avx512::KERNELS<float>, avx512::KERNELS<double>,
                                            avx512::ROW_KERNELS<deepmix::BFloat16>};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
