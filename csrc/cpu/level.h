// All CPU kernels for one instruction set. Each level_*.cpp sets DEEPMIX_LEVEL (a namespace), DEEPMIX_VECTOR_BYTES and
// the compiler's target, then includes this file. It includes the standard headers before that; otherwise their inline
// functions would be compiled for an instruction set that the machine may lack.

namespace deepmix::cpu::DEEPMIX_LEVEL {

#include "../math.h"
#include "simd.h"

constexpr int64_t SCRATCH_ELEMENTS = 1 << 16;  // scratch that stays in the second-level cache

#include "heads.h"
#include "block.h"
#include "shared.h"
#include "full.h"
#include "divergence.h"
#include "statistics.h"

/// Vectors per wide block. Wide blocks read the prior less often; narrow ones serve few rows, or a K for which the wide
/// (K, B) scratch would outgrow the second-level cache.
constexpr int WIDE = 4;

template <class T>
bool is_wide(int64_t rows, int64_t K) {
  return rows > LANES<T> && K * ROWS<T, WIDE> <= SCRATCH_ELEMENTS;
}

template <class R>
bool is_shared(const MixtureInputs<R>& in) {
  return in.mean == nullptr || in.H < in.K;
}

/// Call body with a value whose type says where z comes from.
template <class T, class Body>
void with_origin(bool is_drawn, const Body& body) {
  if (is_drawn) return body(NoiseOrigin<T>{});
  body(SampleOrigin<T>{});
}

/// Tabulate the prior; null pointers stand for N(0, I).
template <class T>
PriorTable<T> prepare(const T* mean, const T* log_var, int64_t K, int64_t M, Tile tile) {
  const int64_t size = K * M, total = tile.rows * size + PADDING;
  PriorTable<T> table{tile, Buffer<T>(total), Buffer<T>(total), Buffer<T>(total), Buffer<T>(K)};
  if (mean == nullptr) {
    std::fill_n(table.mean.get(), total, T(0));
    std::fill_n(table.log_var.get(), total, T(0));
    std::fill_n(table.precision.get(), total, T(1));
    std::fill_n(table.constant.get(), K, T(-0.5) * T(M) * T(LOG_2PI));
    return table;
  }
  for (int64_t i = 0; i < size; ++i)  // in double, because its errors affect every row
    table.precision[i] = static_cast<T>(std::exp(-static_cast<double>(log_var[i])));
  std::copy_n(mean, size, table.mean.get());
  std::copy_n(log_var, size, table.log_var.get());
  for (T* array : {table.mean.get(), table.log_var.get(), table.precision.get()}) {
    for (int64_t row = 1; row < tile.rows; ++row) std::copy_n(array, size, array + row * size);
    std::fill_n(array + tile.rows * size, PADDING, T(0));
  }
  for (int64_t k = 0; k < K; ++k) {
    double sum = 0;
    for (int64_t m = 0; m < M; ++m) sum += static_cast<double>(log_var[k * M + m]);
    table.constant[k] = static_cast<T>(log_density<double>(sum, static_cast<double>(M)));
  }
  return table;
}

template <class R>
void mixture(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior, const MixtureOutputs<R> out,
             int64_t begin, int64_t end) {
  using T = Computed<R>;
  with_origin<T>(in.is_drawn, [&](auto origin) {
    using Origin = decltype(origin);
    if (!is_shared(in) && in.L == 1) return heads_forward<Origin, 1>(in, prior, out, begin, end);
    if (!is_shared(in)) return heads_forward<Origin, 0>(in, prior, out, begin, end);
    if (is_wide<T>(end - begin, in.K)) return shared_forward_blocks<Origin, R, WIDE>(in, prior, out, begin, end);
    shared_forward_blocks<Origin, R, 1>(in, prior, out, begin, end);
  });
}

template <class R>
void mixture_backward(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior, const MixtureUpstream<R> up,
                      const MixtureGradients<R> out, const Partial& partial, int64_t begin, int64_t end) {
  using T = Computed<R>;
  with_origin<T>(in.is_drawn, [&](auto origin) {
    using Origin = decltype(origin);
    if (!is_shared(in) && in.L == 1) return heads_backward<Origin, 1>(in, prior, up, out, partial, begin, end);
    if (!is_shared(in)) return heads_backward<Origin, 0>(in, prior, up, out, partial, begin, end);
    if (is_wide<T>(end - begin, in.K))
      return shared_backward_blocks<Origin, R, WIDE>(in, prior, up, out, partial, begin, end);
    shared_backward_blocks<Origin, R, 1>(in, prior, up, out, partial, begin, end);
  });
}

template <class T>
void full(const FullInputs<T> in, const MixtureOutputs<T> out, int64_t begin, int64_t end) {
  if (is_wide<T>(end - begin, in.K)) return full_forward_blocks<T, WIDE>(in, out, begin, end);
  full_forward_blocks<T, 1>(in, out, begin, end);
}

template <class T>
void full_backward(const FullInputs<T> in, const MixtureUpstream<T> up, const FullGradients<T> out,
                   const Partial& partial, int64_t begin, int64_t end) {
  if (is_wide<T>(end - begin, in.K)) return full_backward_blocks<T, WIDE>(in, up, out, partial, begin, end);
  full_backward_blocks<T, 1>(in, up, out, partial, begin, end);
}

template <class R>
void kl(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, Computed<R>* result, int64_t begin, int64_t end) {
  if (in.H == in.K) return heads_kl(in, prior, result, begin, end);
  if (is_wide<Computed<R>>(end - begin, in.K)) return shared_kl_blocks<R, WIDE>(in, prior, result, begin, end);
  shared_kl_blocks<R, 1>(in, prior, result, begin, end);
}

template <class R>
void kl_backward(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, const Computed<R>* by_kl,
                 const KlGradients<R> out, const Partial& partial, int64_t begin, int64_t end) {
  if (in.H == in.K) return heads_kl_backward(in, prior, by_kl, out, partial, begin, end);
  if (is_wide<Computed<R>>(end - begin, in.K))
    return shared_kl_backward_blocks<R, WIDE>(in, prior, by_kl, out, partial, begin, end);
  shared_kl_backward_blocks<R, 1>(in, prior, by_kl, out, partial, begin, end);
}

template <class T>
void statistics(const StatisticsInputs<T> in, const PriorTable<T>& prior, const Partial& partial, int64_t begin,
                int64_t end) {
  const bool wide = is_wide<T>(end - begin, in.K);
  if (in.is_full && wide) return statistics_blocks<T, WIDE, true>(in, prior, partial, begin, end);
  if (in.is_full) return statistics_blocks<T, 1, true>(in, prior, partial, begin, end);
  if (wide) return statistics_blocks<T, WIDE, false>(in, prior, partial, begin, end);
  statistics_blocks<T, 1, false>(in, prior, partial, begin, end);
}

template <class R>
constexpr RowKernels<R> ROW_KERNELS{mixture<R>, mixture_backward<R>, kl<R>, kl_backward<R>};

template <class T>
constexpr Kernels<T> KERNELS{ROW_KERNELS<T>, prepare<T>, full<T>, full_backward<T>, statistics<T>};

}  // namespace deepmix::cpu::DEEPMIX_LEVEL
