#include "../../../csrc/cuda/divergence.cu"
