// The part of CUDA that csrc/cuda needs to run on a CPU. Kernels become functions; the threads of a block run one after
// another, and take turns where they shuffle or wait for each other. This tests what the kernels compute, without a GPU;
// it tests neither their speed nor the device itself.
#pragma once

#include <sanitizer/asan_interface.h>
#include <ucontext.h>

#include <cmath>
#include <cstddef>
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
#define __shared__
#define __align__(bytes)
#define __launch_bounds__(threads)

using std::isinf;

struct dim3 {
  unsigned x = 1;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

/// The threads of a block, each with its own stack. A warp's lanes stop at every shuffle until all have reached it, and
/// all threads stop at __syncthreads.
class Block {
 public:
  static constexpr unsigned LANES = 32, MOST = 1024;

  /// Run `body` in every thread.
  void run(unsigned threads, const std::function<void()>& body) {
    body_ = &body;
    for (unsigned i = 0; i < threads; ++i) {
      start(threads_[i], stacks_.get() + i * STACK_BYTES);
      shuffles_[i] = barriers_[i] = 0;
      is_done_[i] = false;
    }
    while (!is_done_[0]) {
      const unsigned reached = barriers_[0];
      for (unsigned first = 0; first < threads; first += LANES) run_warp(first, reached);
      for (unsigned i = 0; i < threads; ++i)
        if (is_done_[i] != is_done_[0] || barriers_[i] != barriers_[0]) fail("not all threads reach the same barrier");
    }
  }

  /// Return the value of the lane numbered `lane ^ other`. Shuffles alternate between two rows of values, because a
  /// lane may reach the next shuffle before another lane has read its value in this one.
  template <class T>
  T exchange(T value, unsigned other) {
    const unsigned thread = threadIdx.x, row = shuffles_[thread]++ % 2;
    std::memcpy(values_[row][thread % LANES], &value, sizeof(T));
    stop();
    T result;
    std::memcpy(&result, values_[row][thread % LANES ^ other], sizeof(T));
    return result;
  }

  void wait() {
    ++barriers_[threadIdx.x];
    stop();
  }

 private:
  static constexpr std::size_t STACK_BYTES = std::size_t{64} << 10;

  void start(ucontext_t& thread, char* stack) {
    getcontext(&thread);
    thread.uc_stack.ss_sp = stack;
    thread.uc_stack.ss_size = STACK_BYTES;
    thread.uc_link = &scheduler_;
    makecontext(&thread, &Block::enter, 0);
  }

  /// Run a warp to its next barrier or its end.
  void run_warp(unsigned first, unsigned reached) {
    do {
      for (unsigned thread = first; thread < first + LANES; ++thread) {
        threadIdx.x = thread;
        swapcontext(&scheduler_, &threads_[thread]);
        if (is_done_[thread] != is_done_[first] || barriers_[thread] != barriers_[first] ||
            shuffles_[thread] != shuffles_[first])
          fail("not all lanes of a warp reach the same shuffle");
      }
    } while (!is_done_[first] && barriers_[first] == reached);
  }

  void stop() {
    const unsigned thread = threadIdx.x;
    swapcontext(&threads_[thread], &scheduler_);
  }

  static void enter();

  [[noreturn]] static void fail(const char* reason) {
    std::fprintf(stderr, "%s\n", reason);
    std::abort();
  }

  const std::function<void()>* body_ = nullptr;
  ucontext_t scheduler_, threads_[MOST];
  std::unique_ptr<char[]> stacks_ = std::make_unique<char[]>(MOST * STACK_BYTES);
  unsigned shuffles_[MOST], barriers_[MOST];
  bool is_done_[MOST];
  char values_[2][LANES][sizeof(double)];
};

inline Block block;

inline void Block::enter() {
  (*block.body_)();
  block.is_done_[threadIdx.x] = true;
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
  if (mask != 0xffffffffu) std::abort();
  return block.exchange(value, static_cast<unsigned>(other));
}

inline void __syncthreads() { block.wait(); }

/// Wait for all lanes of the warp; a shuffle does that here.
inline void __syncwarp() { block.exchange(0, 0); }

namespace deepmix::cuda {

/// What the threads of a block share. A launch may ask for all of it, and its blocks may use no more than it asked for.
alignas(16) inline unsigned char shared_bytes[48 << 10];

}  // namespace deepmix::cuda

/// Run a kernel to its end. There are at most MAX_BLOCKS blocks, so their loops must cover all the work.
template <class... Parameters, class... Arguments>
void cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments... arguments) {
  constexpr unsigned MAX_BLOCKS = 3;
  unsigned char* const bytes = deepmix::cuda::shared_bytes;
  const std::size_t most_bytes = sizeof(deepmix::cuda::shared_bytes), n_bytes = config->dynamicSmemBytes;
  if (n_bytes > most_bytes) std::abort();
  gridDim.x = config->gridDim.x < MAX_BLOCKS ? config->gridDim.x : MAX_BLOCKS;
  blockDim = config->blockDim;
  for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
    std::memset(bytes, 0xff, n_bytes);  // NaN, so that a value read before it is written shows
    ASAN_POISON_MEMORY_REGION(bytes + n_bytes, most_bytes - n_bytes);
    block.run(blockDim.x, [&] { kernel(arguments...); });
    ASAN_UNPOISON_MEMORY_REGION(bytes + n_bytes, most_bytes - n_bytes);
  }
}
