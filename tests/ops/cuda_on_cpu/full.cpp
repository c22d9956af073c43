#include "../../../csrc/cuda/full.cu"
