// Of CUDA's runtime, the names that csrc/cuda/run.h needs.
#pragma once

using cudaStream_t = void*;
