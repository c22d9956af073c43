#include "../../../csrc/cuda/mixture.cu"
