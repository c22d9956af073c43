// Registers the operators for CUDA, which queue their kernels on torch's current stream of the tensors' device.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "device.h"

namespace {

using namespace deepmix;

/// Makes a tensor's device current and gives its stream.
class Queue {
 public:
  explicit Queue(const Tensor& like) : guard_(like.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  cudaStream_t get() const { return stream_; }

  /// Report a launch that failed.
  void check() const { STD_CUDA_CHECK(cudaGetLastError()); }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(deepmix, CUDA, library) {
  implement<Cuda<Queue>>(library);
  implement_statistics<Cuda<Queue>>(library);
}
