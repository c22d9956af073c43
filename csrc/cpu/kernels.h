// The CPU kernels behind one table a precision: the same code compiled for several instruction sets.
// Every function works on rows [begin, end), on the calling thread.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "../arguments.h"

namespace deepmix::cpu {

/// Uninitialised numbers, aligned to a cache line.
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

/// How a kernel with one head per component walks its (row, component) pairs: `rows` at a time, and within
/// them `pairs` at a time, so that what it reuses stays in the first-level cache.
struct Tile {
  int64_t rows, pairs;
};

/// The prior as the kernels read it: repeated for every row of a tile and padded by one vector.
template <class T>
struct PriorTable {
  Tile tile;
  Buffer<T> mean, log_var, precision;  // (tile.rows, K, M)
  Buffer<T> constant;                  // (K): log N(z; ...) where z is the mean
};

/// Where a task sums the parameters' gradients, in double for the many rows: (K, M), (K, M) and (K), or with
/// full covariances (K, M), (K, M, M) and (K).
struct Partial {
  double *mean, *spread, *log_weight;
};

template <class T>
struct Kernels {
  PriorTable<T> (*prepare)(const T* mean, const T* log_var, int64_t K, int64_t M, Tile tile);
  void (*mixture)(MixtureInputs<T>, const PriorTable<T>&, MixtureOutputs<T>, int64_t, int64_t);
  void (*mixture_backward)(MixtureInputs<T>, const PriorTable<T>&, MixtureUpstream<T>,
                           MixtureGradients<T>, const Partial&, int64_t, int64_t);
  void (*full)(FullInputs<T>, MixtureOutputs<T>, int64_t, int64_t);
  void (*full_backward)(FullInputs<T>, MixtureUpstream<T>, FullGradients<T>, const Partial&,
                        int64_t, int64_t);
  void (*kl)(KlInputs<T>, const PriorTable<T>&, T* kl, int64_t, int64_t);
  void (*kl_backward)(KlInputs<T>, const PriorTable<T>&, const T* by_kl, KlGradients<T>,
                      const Partial&, int64_t, int64_t);
};

/// One instruction set's kernels.
struct Level {
  const char* name;
  Kernels<float> single;
  Kernels<double> twice;
};

extern const Level BASELINE, AVX2, AVX512;

}  // namespace deepmix::cpu
