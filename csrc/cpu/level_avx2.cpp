// The kernels for AVX2: vectors of 32 bytes.
#include "standard.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define DEEPMIX_LEVEL avx2
#define DEEPMIX_VECTOR_BYTES 32
#include "level.h"

const deepmix::cpu::Level deepmix::cpu::AVX2{"avx2", avx2::KERNELS<float>, avx2::KERNELS<double>,
                                            avx2::ROW_KERNELS<deepmix::BFloat16>};

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
