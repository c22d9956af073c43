// The operators on CUDA: queued on torch's current stream of the tensors' device, scratch from torch's allocator.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "../ops.h"
#include "run.h"

namespace {

using namespace deepmix;

/// The device made current, and its stream.
class Queue {
 public:
  explicit Queue(const Tensor& like) : guard_(like.get_device_index()) {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(like.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  cudaStream_t get() const { return stream_; }

  /// Report a launch that failed.
  void check() const { STD_CUDA_CHECK(cudaGetLastError()); }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

struct Cuda {
  template <class T>
  static void mixture(const Tensor& like, const MixtureInputs<T>& in, const MixtureOutputs<T>& out) {
    const Queue queue(like);
    cuda::mixture<T>(in, out, queue.get());
    queue.check();
  }
  template <class T>
  static void mixture_backward(const Tensor& like, const MixtureInputs<T>& in, const MixtureUpstream<T>& up,
                               const MixtureGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::mixture_scratch(in.N, in.K, in.M)});
    cuda::mixture_backward<T>(in, up, out, data<T>(scratch), queue.get());
    queue.check();
  }
  template <class T>
  static void full(const Tensor& like, const FullInputs<T>& in, const MixtureOutputs<T>& out) {
    const Queue queue(like);
    cuda::full<T>(in, out, queue.get());
    queue.check();
  }
  template <class T>
  static void full_backward(const Tensor& like, const FullInputs<T>& in, const MixtureUpstream<T>& up,
                            const FullGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::full_scratch(in.N, in.K, in.M)});
    cuda::full_backward<T>(in, up, out, data<T>(scratch), queue.get());
    queue.check();
  }
  template <class T>
  static void kl(const Tensor& like, const KlInputs<T>& in, T* result) {
    const Queue queue(like);
    cuda::kl<T>(in, result, queue.get());
    queue.check();
  }
  template <class T>
  static void kl_backward(const Tensor& like, const KlInputs<T>& in, const T* by_kl, const KlGradients<T>& out) {
    const Queue queue(like);
    const Tensor scratch = allocate(like, {cuda::kl_scratch(in.N, in.K, in.M)});
    cuda::kl_backward<T>(in, by_kl, out, data<T>(scratch), queue.get());
    queue.check();
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(deepmix, CUDA, library) { implement<Cuda>(library); }
