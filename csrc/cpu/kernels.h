// Tables of the CPU kernels, one per precision and instruction set, all compiled from the same code.
// Every kernel works on rows [begin, end) and runs on the calling thread.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "../arguments.h"

namespace deepmix::cpu {

/// An uninitialised array, aligned to a cache line.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t size) : data_(allocate(size)) {}
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  static constexpr std::size_t LINE = 64;

  static T* allocate(int64_t size) {
    const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(T) + LINE) / LINE * LINE;
    void* data = std::aligned_alloc(LINE, bytes);
    if (data == nullptr) throw std::bad_alloc();
    return static_cast<T*>(data);
  }

  std::unique_ptr<T, Free> data_;
};

/// How a kernel with one head per component visits the (row, component) pairs: `rows` rows at a time and, within these,
/// `pairs` pairs at a time, so that the data it reuses stays in the first-level cache.
struct Tile {
  int64_t rows, pairs;
};

/// The prior in the form that the kernels read: repeated for every row of a tile and padded at the end.
template <class T>
struct PriorTable {
  Tile tile{};
  Buffer<T> mean, log_var, precision;  // (tile.rows, K, M)
  Buffer<T> constant;                  // (K): log N(z; mean_k, variance_k) at z = mean_k
};

/// One task's sums of the parameters' gradients, in double because a task has many rows. The shapes are (K, M), (K, M)
/// and (K); with full covariances they are (K, M), (K, M, M) and (K). The EM statistics use it too: the first and second
/// moments, and the (K) responsibilities followed by the log-likelihood. Sums that no gradient needs have no elements,
/// and `mean` is then null.
struct Partial {
  double *mean, *spread, *log_weight;
};

/// The kernels for rows that can be of type bfloat16.
template <class R>
struct RowKernels {
  using Prior = PriorTable<Computed<R>>;
  void (*mixture)(MixtureInputs<R>, const Prior&, MixtureOutputs<R>, int64_t, int64_t);
  void (*mixture_backward)(MixtureInputs<R>, const Prior&, MixtureUpstream<R>, MixtureGradients<R>, const Partial&,
                           int64_t, int64_t);
  void (*kl)(KlInputs<R>, const Prior&, Computed<R>* kl, int64_t, int64_t);
  void (*kl_backward)(KlInputs<R>, const Prior&, const Computed<R>* by_kl, KlGradients<R>, const Partial&, int64_t,
                      int64_t);
};

template <class T>
struct Kernels : RowKernels<T> {
  PriorTable<T> (*prepare)(const T* mean, const T* log_var, int64_t K, int64_t M, Tile tile);
  void (*full)(FullInputs<T>, MixtureOutputs<T>, int64_t, int64_t);
  void (*full_backward)(FullInputs<T>, MixtureUpstream<T>, FullGradients<T>, const Partial&,
                        int64_t, int64_t);
  void (*statistics)(StatisticsInputs<T>, const PriorTable<T>&, const Partial&, int64_t, int64_t);
};

/// One instruction set's kernels.
struct Level {
  const char* name;
  Kernels<float> single_precision;
  Kernels<double> double_precision;
  RowKernels<BFloat16> brain_float;
};

extern const Level BASELINE, AVX2, AVX512;

}  // namespace deepmix::cpu
