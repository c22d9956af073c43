// The part of CUDA that csrc/cuda needs to run on a CPU. Kernels become functions; their threads run one after another,
// and the lanes of a warp take turns where they shuffle. This tests what the kernels compute, without a GPU; it tests
// neither their speed nor the device itself.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "cuda_runtime_api.h"

#define __global__
#define __host__
#define __device__

using std::isinf;

struct dim3 {
  unsigned x = 1;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  cudaStream_t stream = nullptr;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

/// 32 lanes, each with its own stack. They stop at every shuffle until all lanes have reached it.
class Warp {
 public:
  static constexpr unsigned LANES = 32;

  /// Run `body` in every lane; `first` is the first lane's index in the block.
  void run(unsigned first, const std::function<void()>& body) {
    body_ = &body;
    for (unsigned lane = 0; lane < LANES; ++lane) {
      start(lanes_[lane], stacks_.get() + lane * STACK_BYTES);
      shuffles_[lane] = 0;
      is_done_[lane] = false;
    }
    while (!is_done_[0]) {
      for (lane_ = 0; lane_ < LANES; ++lane_) {
        threadIdx.x = first + lane_;
        swapcontext(&scheduler_, &lanes_[lane_]);
        if (is_done_[lane_] != is_done_[0] || shuffles_[lane_] != shuffles_[0]) fail();
      }
    }
  }

  /// Return the value of the lane numbered `lane ^ other`. Shuffles alternate between two rows of values, because a
  /// lane may reach the next shuffle before another lane has read its value in this one.
  template <class T>
  T exchange(T value, unsigned other) {
    const unsigned lane = lane_, row = shuffles_[lane]++ % 2;
    std::memcpy(values_[row][lane], &value, sizeof(T));
    swapcontext(&lanes_[lane], &scheduler_);
    T result;
    std::memcpy(&result, values_[row][lane ^ other], sizeof(T));
    return result;
  }

 private:
  static constexpr std::size_t STACK_BYTES = std::size_t{64} << 10;

  void start(ucontext_t& lane, char* stack) {
    getcontext(&lane);
    lane.uc_stack.ss_sp = stack;
    lane.uc_stack.ss_size = STACK_BYTES;
    lane.uc_link = &scheduler_;
    makecontext(&lane, &Warp::enter, 0);
  }

  static void enter();

  [[noreturn]] static void fail() {
    std::fputs("not all lanes of a warp reach the same shuffle\n", stderr);
    std::abort();
  }

  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_, lanes_[LANES];
  std::unique_ptr<char[]> stacks_ = std::make_unique<char[]>(LANES * STACK_BYTES);
  unsigned lane_ = 0, shuffles_[LANES];
  bool is_done_[LANES];
  char values_[2][LANES][sizeof(double)];
};

inline Warp warp;

inline void Warp::enter() {
  (*warp.body_)();
  warp.is_done_[warp.lane_] = true;
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
  if (mask != 0xffffffffu) std::abort();
  return warp.exchange(value, static_cast<unsigned>(other));
}

/// Run a kernel to its end. There are at most MAX_BLOCKS blocks, so their loops must cover all the work.
template <class... Parameters, class... Arguments>
void cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments... arguments) {
  constexpr unsigned MAX_BLOCKS = 3;
  gridDim.x = config->gridDim.x < MAX_BLOCKS ? config->gridDim.x : MAX_BLOCKS;
  blockDim = config->blockDim;
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
    for (unsigned first = 0; first < blockDim.x; first += Warp::LANES) warp.run(first, [&] { kernel(arguments...); });
}
