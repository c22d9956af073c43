// The kernels for vectors of 16 bytes, which every supported processor has (SSE2, NEON).
#include "standard.h"

#define DEEPMIX_LEVEL baseline
#define DEEPMIX_VECTOR_BYTES 16
#include "level.h"

const deepmix::cpu::Level deepmix::cpu::BASELINE{"baseline", baseline::KERNELS<float>, baseline::KERNELS<double>,
                                            baseline::ROW_KERNELS<deepmix::BFloat16>};
