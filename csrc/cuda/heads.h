// Kernels for arrays with one latent per component, (N, K, M). A row of such an array has K M neighbouring elements,
// its columns, and each thread of a block keeps V of them, which it reads 16 bytes at a time, in one row after the
// other. So what depends on the column alone stays in registers: the prior, and the sums over the rows.
#pragma once

#include <type_traits>

#include "common.h"

namespace deepmix::cuda {

/// Rows that a thread reads before it uses the first.
constexpr int PASSES = 2;

template <class T, int V>
struct alignas(V * sizeof(T)) Vector {
  T at[V];
};

template <int V, class R>
__device__ Vector<Computed<R>, V> load(const R* from) {
  const auto stored = *reinterpret_cast<const Vector<R, V>*>(from);
  if constexpr (std::is_same_v<R, Computed<R>>) {
    return stored;
  } else {
    Vector<Computed<R>, V> value;
    for (int v = 0; v < V; ++v) value.at[v] = stored.at[v];
    return value;
  }
}

template <int V, class R>
__device__ void store(R* to, const Vector<Computed<R>, V>& value) {
  Vector<R, V> stored;
  for (int v = 0; v < V; ++v) stored.at[v] = value.at[v];
  *reinterpret_cast<Vector<R, V>*>(to) = stored;
}

/// Elements in 16 bytes: how many a thread reads at once. Of bfloat16, these are 8 bytes.
template <class T>
constexpr int WIDE = 16 / static_cast<int>(sizeof(T));

/// Whether rows of `width` elements can be read WIDE at a time from every one of these arrays (null ones too).
template <class T, class... Arrays>
bool is_wide(int64_t width, const Arrays*... arrays) {
  const auto fits = [](const auto* array) {
    return reinterpret_cast<std::uintptr_t>(array) % (WIDE<T> * sizeof(*array)) == 0;
  };
  return width % WIDE<T> == 0 && (fits(arrays) && ...);
}

/// What a thread reads of a latent's arrays in PASSES rows.
template <class T, int V>
struct Reads {
  Vector<T, V> mean[PASSES]{}, log_var[PASSES]{}, source[PASSES]{}, upstream[PASSES]{};
};

/// Read a thread's columns in PASSES rows of an array whose first row is `from`.
template <int V, class R, class PlaceInRow>
__device__ void read_rows(const R* from, int first_row, int n_rows, int step, int width, const PlaceInRow& place,
                          Vector<Computed<R>, V>* values) {
#pragma unroll
  for (int pass = 0; pass < PASSES; ++pass) {
    const int row = first_row + place.row + pass * step;
    if (row < n_rows) values[pass] = load<V>(from + static_cast<int64_t>(row) * width + place.at);
  }
}

/// How a block covers rows of `width` columns: `columns` threads side by side, each with V columns, and `step` such rows
/// of threads. A row with more columns than a block has threads for is divided into chunks.
struct Cover {
  int64_t N;
  int width, columns, chunks, step;

  __host__ Cover(int64_t N, int64_t width, int V) : N(N), width(static_cast<int>(width)) {
    const int vectors = this->width / V;
    chunks = (vectors + BLOCK - 1) / BLOCK;
    columns = (vectors + chunks - 1) / chunks;
    step = BLOCK / columns;
  }

  __host__ __device__ int rows() const { return step * PASSES; }
  __host__ __device__ int64_t tiles() const { return (N + rows() - 1) / rows(); }
};

/// A thread's place in a chunk, and the components that the chunk reaches.
template <int V>
struct Place {
  int column, row, first_k, n_k;
  int begin, end, at;  // the chunk's columns, and the thread's first
  int reached[V];      // the component of each of the thread's columns, from first_k on
  bool is_active;

  __device__ Place(const Cover& cover, int chunk, int M) {
    column = static_cast<int>(threadIdx.x) % cover.columns;
    row = static_cast<int>(threadIdx.x) / cover.columns;
    begin = chunk * cover.columns * V;
    end = begin + cover.columns * V < cover.width ? begin + cover.columns * V : cover.width;
    at = begin + column * V;
    is_active = row < cover.step && at < end;
    first_k = begin / M;
    n_k = (end - 1) / M - first_k + 1;
    for (int v = 0; v < V; ++v) reached[v] = (at + v) / M - first_k;
  }
};

/// The prior of a thread's columns; null pointers stand for N(0, I).
template <class T, int V>
struct PriorColumns {
  Vector<T, V> mean{}, log_var{}, precision;

  __device__ PriorColumns(const T* means, const T* log_vars, int at, bool is_active) {
    if (means != nullptr && is_active) {
      mean = load<V>(means + at);
      log_var = load<V>(log_vars + at);
    }
    for (int v = 0; v < V; ++v) precision.at[v] = precise_exp(-log_var.at[v]);
  }
};

/// Sum terms over each component's dimensions. `terms` are those of a chunk, `stride` columns in each of `n_rows` rows;
/// `sums`, (n_rows, K), receives the sums of the components that begin in this chunk, and is added to for one that began
/// in the chunk before. `lanes` lanes share each sum.
template <int V, class T>
__device__ void sum_components(const T* terms, int stride, const Place<V>& place, int M, int K, int n_rows, int lanes,
                               T* sums) {
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes;
  const int items = n_rows * place.n_k, warp_group = group - group % (WARP / lanes);
  for (int start = 0; start + warp_group < items; start += BLOCK / lanes) {  // as often in every lane of a warp
    const int item = start + group, row = item / place.n_k, k = place.first_k + item % place.n_k;
    const int from = k * M > place.begin ? k * M : place.begin, next = (k + 1) * M;
    const int to = item >= items ? from : (next < place.end ? next : place.end);
    const T* const first = terms + row * stride - place.begin;
    T sum = 0;
    for (int i = from + lane; i < to; i += lanes) sum += first[i];
    sum = warp_sum(sum, lanes);
    if (lane != 0 || item >= items) continue;
    T* const result = sums + static_cast<int64_t>(row) * K + k;
    *result = k * M >= place.begin ? sum : *result + sum;
  }
}

/// Shared memory that every GPU grants without being asked.
constexpr int64_t SHARED_BYTES = 48 << 10;

/// Tasks of `heads_gradients`: their rows are a whole number of tiles, whose rows are a multiple of the cover's, and at
/// least 32 where the weights of that many fit in shared memory. The tasks' numbers of tiles differ by at most one.
struct HeadTasks {
  int64_t count, tiles;
  int tile_rows;

  template <class T>
  __host__ HeadTasks(const Cover& cover, int V, int64_t K, int64_t M, T) {
    const int64_t weights = SHARED_BYTES / (2 * static_cast<int64_t>(sizeof(T)) * components(cover, V, K, M));
    const int64_t fitting = weights / cover.rows(), wanted = (WARP + cover.rows() - 1) / cover.rows();
    tile_rows = static_cast<int>(fitting < 1 ? 1 : (fitting < wanted ? fitting : wanted)) * cover.rows();
    tiles = (cover.N + tile_rows - 1) / tile_rows;
    const int64_t blocks = PERSISTENT_BLOCKS / 2 / cover.chunks, most = blocks < tiles ? blocks : tiles;
    count = most < 1 ? 1 : most;
  }

  /// The first row of a task; that of the task after the last may lie behind the last row.
  __host__ __device__ int64_t begin(int64_t task) const { return task * tiles / count * tile_rows; }

  /// The most components that a chunk reaches.
  __host__ static int64_t components(const Cover& cover, int V, int64_t K, int64_t M) {
    const int64_t reached = (static_cast<int64_t>(cover.columns) * V + M - 1) / M + 1;
    return reached < K ? reached : K;
  }
};

/// Gradients of arrays with one latent per component, and their sums over each task's rows for the prior: (tasks,
/// 2 K M + K), or (tasks, K) if the prior needs none. A `Rule` holds the arrays and has three functions: `read` reads a
/// thread's columns in PASSES rows, `weigh` writes the weights of a tile's rows and a chunk's components, and `step`
/// handles what was read.
template <class Rule, int V, class T>
__global__ void __launch_bounds__(BLOCK)
    heads_gradients(Rule rule, Cover cover, HeadTasks tasks, int K, int M, int lanes, T* partial) {
  T* const shared = shared_memory<T>();
  const int width = cover.width;
  const bool has_prior = rule.out.has_prior(), has_elements = has_prior || rule.out.has_latent();
  const int64_t prior_size = has_prior ? 2 * static_cast<int64_t>(width) : 0;
  for (int64_t item = blockIdx.x; item < tasks.count * cover.chunks; item += gridDim.x) {
    const int64_t task = item / cover.chunks;
    const Place<V> place(cover, static_cast<int>(item % cover.chunks), M);
    const PriorColumns<T, V> prior(rule.prior_mean(), rule.prior_log_var(), place.at, place.is_active);
    T* const result = partial + task * (prior_size + K);
    const int tile_rows = tasks.tile_rows;
    T *const ratio = shared, *const weight = shared + tile_rows * place.n_k;
    const int64_t next = tasks.begin(task + 1), end = next < cover.N ? next : cover.N;
    Vector<T, V> by_mean{}, by_log_var{}, mean_part{}, log_var_part{};
    double by_log_weight[V] = {};  // of up to V components, because a chunk reaches at most V BLOCK
    int count = 0;
    for (int64_t first = tasks.begin(task); first < end; first += tile_rows) {
      const int n_rows = static_cast<int>(end - first < tile_rows ? end - first : tile_rows);
      Reads<T, V> reads;
      if (has_elements && place.is_active) rule.read(first, 0, n_rows, cover, place, reads);
      rule.weigh(first, n_rows, place, M, lanes, ratio, weight);
      __syncthreads();
      for (int v = 0; v < V; ++v) {
        const int k = static_cast<int>(threadIdx.x) + v * BLOCK;
        if (k < place.n_k)
          for (int row = 0; row < n_rows; ++row) by_log_weight[v] += static_cast<double>(ratio[row * place.n_k + k]);
      }
      if (has_elements && place.is_active)
        for (int start = 0; start < n_rows; start += cover.rows()) {
          if (start > 0) rule.read(first, start, n_rows, cover, place, reads);
          rule.step(first, start, n_rows, cover, place, prior, ratio, weight, reads, mean_part, log_var_part);
          if (++count % 16 == 0)  // few terms in each sum, so that it stays exact
            for (int v = 0; v < V; ++v) {
              by_mean.at[v] += mean_part.at[v];
              by_log_var.at[v] += log_var_part.at[v];
              mean_part.at[v] = log_var_part.at[v] = 0;
            }
        }
      __syncthreads();
    }
    for (int v = 0; v < V; ++v) {
      const int k = static_cast<int>(threadIdx.x) + v * BLOCK;
      if (k < place.n_k && static_cast<int64_t>(place.first_k + k) * M >= place.begin)
        result[prior_size + place.first_k + k] = static_cast<T>(by_log_weight[v]);
    }
    if (!has_prior) continue;
    for (int half = 0; half < 2; ++half) {
      const Vector<T, V>&total = half == 0 ? by_mean : by_log_var, &part = half == 0 ? mean_part : log_var_part;
      if (place.is_active)
        for (int v = 0; v < V; ++v)
          shared[(place.row * cover.columns + place.column) * V + v] = total.at[v] + part.at[v];
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < place.end - place.begin; i += BLOCK) {
        double sum = 0;
        for (int row = 0; row < cover.step; ++row) sum += static_cast<double>(shared[row * cover.columns * V + i]);
        result[static_cast<int64_t>(half) * width + place.begin + i] = static_cast<T>(sum);
      }
      __syncthreads();
    }
  }
}

/// Launch `heads_gradients` and the sum over its tasks.
template <class Rule, int V, class T>
void launch_heads_gradients(const Rule& rule, int64_t N, int64_t K, int64_t M, const Totals<T>& totals, T* scratch,
                            cudaStream_t stream) {
  const Cover cover(N, K * M, V);
  const HeadTasks tasks(cover, V, K, M, T{});
  const int64_t items = tasks.count * cover.chunks;
  const int64_t weights = 2 * tasks.tile_rows * HeadTasks::components(cover, V, K, M);
  const int64_t sums = static_cast<int64_t>(cover.step) * cover.columns * V;
  launch_blocks(heads_gradients<Rule, V, T>, items < MAX_BLOCKS ? items : MAX_BLOCKS, BLOCK,
                (weights > sums ? weights : sums) * sizeof(T), stream, rule, cover, tasks, static_cast<int>(K),
                static_cast<int>(M), lanes_for_terms(K), scratch);
  launch_sum_tasks(static_cast<const T*>(scratch), tasks.count, (rule.out.has_prior() ? 2 * K * M : 0) + K,
                   totals, stream);
}

/// Elements of the scratch that `launch_heads_gradients` needs, however many elements it reads at a time.
template <class T>
__host__ int64_t heads_scratch(int64_t N, int64_t K, int64_t M) {
  int64_t tasks = HeadTasks(Cover(N, K * M, 1), 1, K, M, T{}).count;
  if (K * M % WIDE<T> == 0) {
    const int64_t wide = HeadTasks(Cover(N, K * M, WIDE<T>), WIDE<T>, K, M, T{}).count;
    tasks = wide > tasks ? wide : tasks;
  }
  return tasks * (2 * K * M + K);
}

}  // namespace deepmix::cuda
