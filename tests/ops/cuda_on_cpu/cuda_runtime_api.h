// The names from CUDA's runtime that csrc/cuda/run.h needs.
#pragma once

using cudaStream_t = void*;
