#include "run.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "kernels.h"

namespace deepmix::cpu {
namespace {

constexpr int64_t TILE_ELEMENTS = 1024;   // a tile's streams and scratch fit in the first-level cache
constexpr int64_t LINE_ELEMENTS = 16;     // only stores of whole cache lines can bypass the caches
constexpr int64_t TASK_WORK = 8192;       // element visits that justify a separate task
constexpr int64_t ROWS_PER_PARTIAL = 64;  // keeps the partial gradients small compared with the inputs
constexpr int64_t MAX_TASKS = 64;

const Level& choose_level() {
#if defined(DEEPMIX_ONLY_LEVEL)  // a library compiled on first use holds this machine's level alone
  return DEEPMIX_ONLY_LEVEL;
#else
#if defined(__x86_64__)
  const char* name = std::getenv("DEEPMIX_SIMD");
  const auto may_use = [&](const Level& level) { return name == nullptr || std::strcmp(name, level.name) == 0; };
  if (may_use(AVX512) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return AVX512;
  if (may_use(AVX2) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
  return BASELINE;
#endif
}

const Level& level() {
  static const Level& level = choose_level();
  return level;
}

template <class T>
const Kernels<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return level().single_precision;
  else
    return level().double_precision;
}

template <class R>
const RowKernels<R>& row_kernels() {
  if constexpr (std::is_same_v<R, BFloat16>)
    return level().brain_float;
  else
    return kernels<R>();
}

Tile choose_tile(int64_t N, int64_t K, int64_t M) {
  const int64_t row = K * M;
  if (row > TILE_ELEMENTS) return {1, std::max<int64_t>(1, TILE_ELEMENTS / M)};
  int64_t rows = TILE_ELEMENTS / row;
  const int64_t whole_lines = LINE_ELEMENTS / std::gcd(row, LINE_ELEMENTS);
  if (rows >= whole_lines) rows -= rows % whole_lines;
  rows = std::max<int64_t>(1, std::min(rows, N));
  return {rows, rows * K};
}

/// A division of N rows into tasks, each a multiple of `unit` rows; `work` is a row's cost in element visits.
struct Tasks {
  int64_t count, rows;

  Tasks(int64_t N, int64_t unit, int64_t work, int64_t min_rows) {
    const int64_t by_work = std::max<int64_t>(1, N * work / TASK_WORK);
    const int64_t by_rows = std::max<int64_t>(1, N / min_rows);
    const int64_t n_tasks = std::min({by_work, by_rows, MAX_TASKS});
    rows = (N + n_tasks - 1) / n_tasks;
    rows = std::max<int64_t>(1, (rows + unit - 1) / unit) * unit;
    count = (N + rows - 1) / rows;
  }

  /// A thread that finishes a task takes the next one, so that no thread waits for a slower or busier core.
  template <class F>
  void run(int64_t N, Parallel parallel, const F& kernel) const {
    std::atomic<int64_t> next{0};
    parallel(count, [&](int64_t, int64_t) {
      for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;)
        kernel(task, task * rows, std::min(N, (task + 1) * rows));
    });
  }
};

/// One set of partial sums per task, which start at 0, and their total over the tasks.
class Partials {
 public:
  Partials(int64_t tasks, int64_t mean, int64_t spread, int64_t weight)
      : tasks_(tasks), mean_(mean), spread_(spread), weight_(weight), data_(tasks * stride()) {
    std::fill_n(data_.get(), tasks * stride(), 0.0);
  }

  Partial of(int64_t task) const {
    double* start = data_.get() + task * stride();
    return {mean_ == 0 ? nullptr : start, start + mean_, start + mean_ + spread_};
  }

  /// Write the totals, except to arrays that are null.
  template <class T>
  void sum(T* mean, T* spread, T* weight) const {
    sum_one(0, mean_, mean);
    sum_one(mean_, spread_, spread);
    sum_one(mean_ + spread_, weight_, weight);
  }

 private:
  int64_t stride() const { return mean_ + spread_ + weight_; }

  template <class T>
  void sum_one(int64_t offset, int64_t size, T* total) const {
    if (total == nullptr) return;
    for (int64_t i = 0; i < size; ++i) {
      double sum = 0.0;
      for (int64_t task = 0; task < tasks_; ++task) sum += data_[task * stride() + offset + i];
      total[i] = static_cast<T>(sum);
    }
  }

  int64_t tasks_, mean_, spread_, weight_;
  Buffer<double> data_;
};

constexpr int64_t ROWS_PER_SUM = 512;      // at least; a task's sums are then small compared with its work
constexpr int64_t MAX_SUMS = 1 << 22;      // of all tasks together, if there are more than MIN_SUM_TASKS
constexpr int64_t MIN_SUM_TASKS = 4;

constexpr int64_t BLOCK = 64;  // unit of the tasks in kernels with one row per lane

bool per_head(const int64_t H, const int64_t K, bool has_posterior) { return has_posterior && H == K; }

}  // namespace

const char* level_name() { return level().name; }

template <class R>
void mixture(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, Parallel parallel) {
  const bool heads = per_head(in.H, in.K, in.mean != nullptr);
  const Tile tile = heads ? choose_tile(in.N, in.K, in.M) : Tile{1, in.K};
  const auto prior = kernels<Computed<R>>().prepare(in.prior_mean, in.prior_log_var, in.K, in.M, tile);
  const Tasks tasks(in.N, heads ? tile.rows : BLOCK, in.L * in.K * in.M, 1);
  tasks.run(in.N, parallel,
            [&](int64_t, int64_t begin, int64_t end) { row_kernels<R>().mixture(in, prior, out, begin, end); });
}

template <class R>
void mixture_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                      Parallel parallel) {
  const bool heads = per_head(in.H, in.K, in.mean != nullptr);
  const Tile tile = heads ? choose_tile(in.N, in.K, in.M) : Tile{1, in.K};
  const auto prior = kernels<Computed<R>>().prepare(in.prior_mean, in.prior_log_var, in.K, in.M, tile);
  const Tasks tasks(in.N, heads ? tile.rows : BLOCK, in.L * in.K * in.M, ROWS_PER_PARTIAL);
  const int64_t sums = out.has_prior() ? in.K * in.M : 0;
  const Partials partials(tasks.count, sums, sums, out.log_weight == nullptr ? 0 : in.K);
  tasks.run(in.N, parallel, [&](int64_t task, int64_t begin, int64_t end) {
    row_kernels<R>().mixture_backward(in, prior, up, out, partials.of(task), begin, end);
  });
  partials.sum<Computed<R>>(out.prior_mean, out.prior_log_var, out.log_weight);
  if (in.product && out.log_weight != nullptr)
    for (int64_t k = 0; k < in.K; ++k) out.log_weight[k] *= Computed<R>(in.L);
}

template <class T>
void full(const FullInputs<T>& in, const MixtureOutputs<T>& out, Parallel parallel) {
  const Tasks tasks(in.N, BLOCK, in.K * in.M * in.M, 1);
  tasks.run(in.N, parallel, [&](int64_t, int64_t begin, int64_t end) { kernels<T>().full(in, out, begin, end); });
}

template <class T>
void full_backward(const FullInputs<T>& in, const MixtureUpstream<T>& up, const FullGradients<T>& out,
                   Parallel parallel) {
  const Tasks tasks(in.N, BLOCK, in.K * in.M * in.M, ROWS_PER_PARTIAL * in.M);
  const int64_t means = out.mean == nullptr ? 0 : in.K * in.M;
  const int64_t factors = out.precision_cholesky == nullptr ? 0 : in.K * in.M * in.M;
  const Partials partials(tasks.count, means, factors, out.log_weight == nullptr ? 0 : in.K);
  tasks.run(in.N, parallel, [&](int64_t task, int64_t begin, int64_t end) {
    kernels<T>().full_backward(in, up, out, partials.of(task), begin, end);
  });
  partials.sum<T>(out.mean, out.precision_cholesky, out.log_weight);
}

template <class R>
void kl(const KlInputs<R>& in, Computed<R>* result, Parallel parallel) {
  const bool heads = in.H == in.K;
  const Tile tile = heads ? choose_tile(in.N, in.K, in.M) : Tile{1, in.K};
  const auto prior = kernels<Computed<R>>().prepare(in.prior_mean, in.prior_log_var, in.K, in.M, tile);
  const Tasks tasks(in.N, heads ? tile.rows : BLOCK, in.K * in.M, 1);
  tasks.run(in.N, parallel,
            [&](int64_t, int64_t begin, int64_t end) { row_kernels<R>().kl(in, prior, result, begin, end); });
}

template <class R>
void kl_backward(const KlInputs<R>& in, const Computed<R>* by_kl, const KlGradients<R>& out, Parallel parallel) {
  const bool heads = in.H == in.K;
  const Tile tile = heads ? choose_tile(in.N, in.K, in.M) : Tile{1, in.K};
  const auto prior = kernels<Computed<R>>().prepare(in.prior_mean, in.prior_log_var, in.K, in.M, tile);
  const Tasks tasks(in.N, heads ? tile.rows : BLOCK, in.K * in.M, ROWS_PER_PARTIAL);
  const int64_t sums = out.has_prior() ? in.K * in.M : 0;
  const Partials partials(tasks.count, sums, sums, 0);
  tasks.run(in.N, parallel, [&](int64_t task, int64_t begin, int64_t end) {
    row_kernels<R>().kl_backward(in, prior, by_kl, out, partials.of(task), begin, end);
  });
  partials.sum<Computed<R>>(out.prior_mean, out.prior_log_var, nullptr);
}

template <class T>
void statistics(const StatisticsInputs<T>& in, const StatisticsOutputs& out, Parallel parallel) {
  const int64_t K = in.K, M = in.M, means = K * M, seconds = in.is_full ? means * M : means;
  const int64_t most_tasks = std::clamp<int64_t>(MAX_SUMS / (means + seconds + K + 1), MIN_SUM_TASKS, MAX_TASKS);
  const int64_t min_rows = std::max(ROWS_PER_SUM, (in.N + most_tasks - 1) / most_tasks);
  const Tasks tasks(in.N, BLOCK, in.is_full ? means * M : means, min_rows);
  const auto prior = in.is_full ? PriorTable<T>{} : kernels<T>().prepare(in.mean, in.spread, K, M, Tile{1, K});
  const Partials partials(tasks.count, means, seconds, K + 1);
  tasks.run(in.N, parallel, [&](int64_t task, int64_t begin, int64_t end) {
    kernels<T>().statistics(in, prior, partials.of(task), begin, end);
  });
  const Buffer<double> weights(K + 1);
  partials.sum<double>(out.first, out.second, weights.get());
  std::copy_n(weights.get(), K, out.responsibility);
  *out.log_likelihood = weights[K];
  for (int64_t k = 0; in.is_full && k < K; ++k)
    for (int64_t i = 0; i < M; ++i)
      for (int64_t j = i + 1; j < M; ++j) out.second[(k * M + i) * M + j] = out.second[(k * M + j) * M + i];
}

#define DEEPMIX_INSTANTIATE_ROWS(R)                                                                                 \
  template void mixture<R>(const MixtureInputs<R>&, const MixtureOutputs<R>&, Parallel);                            \
  template void mixture_backward<R>(const MixtureInputs<R>&, const MixtureUpstream<R>&, const MixtureGradients<R>&, \
                                    Parallel);                                                                      \
  template void kl<R>(const KlInputs<R>&, Computed<R>*, Parallel);                                                  \
  template void kl_backward<R>(const KlInputs<R>&, const Computed<R>*, const KlGradients<R>&, Parallel);

#define DEEPMIX_INSTANTIATE(T)                                                                                        \
  DEEPMIX_INSTANTIATE_ROWS(T)                                                                                         \
  template void full<T>(const FullInputs<T>&, const MixtureOutputs<T>&, Parallel);                                    \
  template void full_backward<T>(const FullInputs<T>&, const MixtureUpstream<T>&, const FullGradients<T>&, Parallel); \
  template void statistics<T>(const StatisticsInputs<T>&, const StatisticsOutputs&, Parallel);

DEEPMIX_INSTANTIATE(float)
DEEPMIX_INSTANTIATE(double)
DEEPMIX_INSTANTIATE_ROWS(BFloat16)

}  // namespace deepmix::cpu
