// q(y|x) from one latent that all components share, and component_log_prob with diagonal covariances.
#pragma once

#include "heads.h"
#include "mixture_tile.h"

namespace deepmix::cuda {

/// Terms that are added before they join a long sum, which so stays exact.
constexpr int PART = 8;

/// How blocks of `shared_forward` cover rows, components and dimensions: `groups` warps of rows, and `components` and
/// `dimensions` at a time, whose prior is in shared memory.
struct Plan {
  int groups, components, dimensions;

  __host__ __device__ int rows() const { return groups * WARP; }

  /// Distances between neighbouring rows of the tables: padded to whole vectors, or odd, so that the lanes of a warp
  /// read from different banks.
  template <int V>
  __host__ __device__ int table_stride() const {
    return (dimensions + V - 1) / V * V;
  }
  __host__ __device__ int z_stride() const { return dimensions | 1; }
  __host__ __device__ int sum_stride() const { return components | 1; }
};

/// One latent that all components share: each lane of a warp has a row, and the warps with the same rows divide the
/// components. FIXED_M is M, so that a row's z stays in registers, or 0.
template <class Origin, int FIXED_M, class R>
__global__ void __launch_bounds__(BLOCK)
    shared_forward(MixtureInputs<R> in, MixtureOutputs<R> out, Plan plan, int row_lanes) {
  using T = Computed<R>;
  constexpr int V = WIDE<T>;
  constexpr int VECTORS = (FIXED_M + V - 1) / V;
  const int table_stride = FIXED_M > 0 ? VECTORS * V : plan.table_stride<V>();
  const int z_stride = FIXED_M > 0 ? FIXED_M | 1 : plan.z_stride(), sum_stride = plan.sum_stride();
  const int lane = static_cast<int>(threadIdx.x) % WARP, warp = static_cast<int>(threadIdx.x) / WARP;
  const int rows = plan.rows(), own_row = static_cast<int>(threadIdx.x) % rows;
  const int own_k = static_cast<int>(threadIdx.x) / rows, k_step = BLOCK / rows;
  T* const means = shared_memory<T>();
  T* const precisions = means + plan.components * table_stride;
  T* const z = precisions + plan.components * table_stride;
  T* const sums = z + rows * z_stride;
  T* const log_vars = sums + rows * sum_stride;  // each component's sum
  T* const posterior = log_vars + plan.components;
  const int64_t N = in.N, K = in.K, M = in.M;
  const bool is_whole = plan.components >= K && plan.dimensions >= M;
  const T mean_weight = T(1) / T(in.L);
  bool is_staged = false;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * rows; first < N;
       first += static_cast<int64_t>(gridDim.x) * rows) {
    const int n_rows = static_cast<int>(N - first < rows ? N - first : rows);
    if (in.use_posterior)
      for (int row = warp; row < n_rows; row += BLOCK / WARP) {
        const int64_t at = (first + row) * M;
        Sum<T> sum;
        for (int64_t m = lane; m < M; m += WARP) {
          const T mean = in.mean[at + m], log_var = in.log_var[at + m];
          const T spread = precise_exp(Origin::exponent(log_var));
          T distance = 0;
          for (int64_t l = 0; l < in.L; ++l)
            distance += Origin::distance(T(in.source[l * N * M + at + m]), mean, spread);
          sum.add(mean_weight * distance + log_var);
        }
        const T total = warp_sum(sum.value());
        if (lane == 0) posterior[row] = total;
      }
    for (int64_t first_k = 0; first_k < K; first_k += plan.components) {
      const int n_k = static_cast<int>(K - first_k < plan.components ? K - first_k : plan.components);
      for (int64_t first_m = 0; first_m < M; first_m += plan.dimensions) {
        const int left = static_cast<int>(M - first_m);
        const int n_m = FIXED_M > 0 ? FIXED_M : (left < plan.dimensions ? left : plan.dimensions);
        __syncthreads();
        if (!is_staged) {
          for (int i = static_cast<int>(threadIdx.x); i < n_k * table_stride; i += BLOCK) {
            const int m = i % table_stride;
            const int64_t at = (first_k + i / table_stride) * M + first_m + m;
            means[i] = m < n_m ? value_or_zero(in.prior_mean, at) : T(0);
            precisions[i] = m < n_m ? precise_exp(-value_or_zero(in.prior_log_var, at)) : T(0);
          }
          for (int k = warp; k < n_k; k += BLOCK / WARP) {
            T sum = 0;
            for (int m = lane; m < n_m; m += WARP)
              sum += value_or_zero(in.prior_log_var, (first_k + k) * M + first_m + m);
            sum = warp_sum(sum);
            if (lane == 0) log_vars[k] = sum;
          }
          is_staged = is_whole;
        }
        for (int64_t l = 0; l < in.L; ++l) {
          if (l > 0) __syncthreads();
          for (int i = static_cast<int>(threadIdx.x); i < n_rows * n_m; i += BLOCK) {
            const int row = i / n_m, m = i % n_m;
            const int64_t at = (first + row) * M + first_m + m;
            T value = in.source[l * N * M + at];
            if constexpr (Origin::IS_DRAWN) {
              value = Origin::z(value, T(in.mean[at]), precise_exp(Origin::exponent(T(in.log_var[at]))));
              if (first_k == 0) out.z[l * N * M + at] = value;
            }
            z[row * z_stride + m] = value;
          }
          __syncthreads();
          const T* const row_z = z + own_row * z_stride;
          const bool begins = first_m == 0 && l == 0;
          [[maybe_unused]] T kept[VECTORS * V + 1];
          if constexpr (FIXED_M > 0)
#pragma unroll
            for (int m = 0; m < VECTORS * V; ++m) kept[m] = m < FIXED_M ? row_z[m] : T(0);
          for (int k = own_k; k < n_k; k += k_step) {
            T distance = 0;  // in parts, so that it stays exact
            if constexpr (FIXED_M > 0) {
              T part = 0;
#pragma unroll
              for (int vector = 0; vector < VECTORS; ++vector) {
                const auto mean = load<V>(means + k * table_stride + vector * V);
                const auto precision = load<V>(precisions + k * table_stride + vector * V);
#pragma unroll
                for (int v = 0; v < V; ++v) part += scaled_distance(kept[vector * V + v], mean.at[v], precision.at[v]);
                if ((vector + 1) * V % PART != 0 && vector + 1 < VECTORS) continue;
                distance += part;
                part = 0;
              }
            } else {
              const T *const mean = means + k * table_stride, *const precision = precisions + k * table_stride;
              const auto part = [&](int from) {
                const int end = from + PART < n_m ? from + PART : n_m;
                T total = 0;
                for (int m = from; m < end; ++m) total += scaled_distance(row_z[m], mean[m], precision[m]);
                return total;
              };
              T others = 0;
              for (int m = 0; m < n_m; m += 2 * PART) {
                distance += part(m);
                others += part(m + PART);
              }
              distance += others;
            }
            T& sum = sums[own_row * sum_stride + k];
            sum = (begins ? T(0) : sum) + mean_weight * distance + (l == 0 ? log_vars[k] : T(0));
          }
        }
      }
      __syncthreads();
      if (in.use_posterior || plan.components < K)
        for (int i = static_cast<int>(threadIdx.x); i < n_rows * n_k; i += BLOCK) {
          const int row = i / n_k, k = i % n_k;
          T& sum = sums[row * sum_stride + k];
          if (in.use_posterior) sum -= posterior[row];
          if (plan.components < K) out.log_q[(first + row) * K + first_k + k] = sum;
        }
    }
    __syncthreads();
    if (plan.components < K)
      normalize_tile(in, out, out.log_q + first * K, K, first, n_rows, row_lanes);
    else
      normalize_tile(in, out, sums, sum_stride, first, n_rows, row_lanes);
    __syncthreads();
  }
}

/// Gradients of z, mu_q and log s_q where all components share one latent; one thread per (row, dimension). The prior
/// of `components` components at a time is in shared memory.
template <class Origin, class R, class T = Computed<R>>
__global__ void __launch_bounds__(BLOCK)
    shared_latent_gradient(MixtureInputs<R> in, MixtureUpstream<R> up, MixtureGradients<R> out, const T* ratio_weight,
                           const T* prior_weight, int components) {
  const int64_t K = in.K, M = in.M, total = in.N * M;
  const T sample_weight = in.product ? T(1) : T(1) / T(in.L);
  const bool has_posterior = in.mean != nullptr, is_tabled = components > 0;
  T *const means = shared_memory<T>(), *const precisions = means + components * M;
  const int64_t n_k = is_tabled ? components : K;
  bool is_staged = false;
  for (int64_t base = static_cast<int64_t>(blockIdx.x) * BLOCK; base < total;
       base += static_cast<int64_t>(gridDim.x) * BLOCK) {
    const bool is_active = base + threadIdx.x < total;
    const int64_t i = is_active ? base + threadIdx.x : 0, m = i % M, row = i / M;
    T by_posterior = 0, mean = 0, spread = 0, d_mean = 0, d_log_var = 0;
    if (has_posterior) {
      Sum<T> ratio_sum;
      for (int64_t k = 0; k < K; ++k) ratio_sum.add(ratio_weight[row * K + k]);
      by_posterior = in.use_posterior ? -sample_weight * ratio_sum.value() : T(0);
      mean = in.mean[i];
      spread = precise_exp(Origin::exponent(T(in.log_var[i])));
    }
    for (int64_t l = 0; l < in.L; ++l) {
      const T source = in.source[l * total + i], z = Origin::z(source, mean, spread);
      Sum<T> by_prior;
      for (int64_t first = 0; first < K; first += n_k) {
        const int64_t end = first + n_k < K ? first + n_k : K;
        if (is_tabled && !is_staged) {
          __syncthreads();
          for (int64_t at = threadIdx.x; at < (end - first) * M; at += BLOCK) {
            means[at] = value_or_zero(in.prior_mean, first * M + at);
            precisions[at] = precise_exp(-value_or_zero(in.prior_log_var, first * M + at));
          }
          __syncthreads();
          is_staged = n_k >= K;
        }
        const T* const weights = prior_weight + row * K;
        const auto term = [&](int64_t k) {
          const int64_t at = k * M + m, in_table = at - first * M;
          const T p_mean = is_tabled ? means[in_table] : value_or_zero(in.prior_mean, at);
          const T precision = is_tabled ? precisions[in_table] : precise_exp(-value_or_zero(in.prior_log_var, at));
          return weights[k] * (z - p_mean) * precision;
        };
        int64_t k = first;
        for (; k + PART <= end; k += PART) {
          T part = 0;
#pragma unroll
          for (int j = 0; j < PART; ++j) part += term(k + j);
          by_prior.add(part);
        }
        for (; k < end; ++k) by_prior.add(term(k));
      }
      T d_z = value_or_zero(up.by_z, l * total + i) - by_prior.value();
      if (has_posterior) {
        const auto gradient = Origin::gradient(by_posterior, source, mean, spread, d_z);
        d_z = gradient.z;
        d_mean += gradient.mean;
        d_log_var += gradient.log_var;
      }
      if (out.z != nullptr && is_active) out.z[l * total + i] = d_z;
    }
    if (out.mean != nullptr && is_active) out.mean[i] = d_mean;
    if (out.log_var != nullptr && is_active) out.log_var[i] = d_log_var;
  }
}

/// Gradients of mu_p, log s_p and the log-weight where all components share one latent, summed over a task's rows,
/// (tasks, 2 K M + K), or (tasks, K) if the prior needs none. A thread handles one dimension of COMPONENTS neighbouring
/// components, for which it reads z once, or one component's log-weight.
template <class Origin, int COMPONENTS, class R, class T = Computed<R>>
__global__ void shared_prior_gradient(MixtureInputs<R> in, const T* ratio_weight, const T* prior_weight, int64_t tasks,
                                      bool has_prior, T* partial) {
  const int64_t N = in.N, K = in.K, M = in.M, groups = (K + COMPONENTS - 1) / COMPONENTS;
  const int64_t width = has_prior ? K * M : 0, columns = (width == 0 ? 0 : groups * M) + K;
  for (int64_t i = first_item(); i < tasks * columns; i += item_stride()) {
    const int64_t task = i / columns, column = i % columns;
    const TaskRows rows(task, tasks, N);
    T* const result = partial + task * (2 * width + K);
    if (column >= columns - K) {
      const int64_t k = column - (columns - K);
      result[2 * width + k] = sum_column(ratio_weight + k, K, rows);
      continue;
    }
    const int64_t first_k = column / M * COMPONENTS, m = column % M;
    const int n_k = static_cast<int>(K - first_k < COMPONENTS ? K - first_k : COMPONENTS);
    T p_mean[COMPONENTS]{}, p_precision[COMPONENTS]{}, by_mean[COMPONENTS]{}, by_log_var[COMPONENTS]{};
#pragma unroll
    for (int k = 0; k < COMPONENTS; ++k) {
      if (k >= n_k) break;
      p_mean[k] = in.prior_mean[(first_k + k) * M + m];
      p_precision[k] = precise_exp(-in.prior_log_var[(first_k + k) * M + m]);
    }
    for (int64_t first = rows.begin; first < rows.end; first += PART) {
      const int count = static_cast<int>(rows.end - first < PART ? rows.end - first : PART);
      T mean_part[COMPONENTS]{}, log_var_part[COMPONENTS]{}, weight[PART][COMPONENTS]{};
#pragma unroll
      for (int j = 0; j < PART; ++j)
#pragma unroll
        for (int k = 0; k < COMPONENTS; ++k)
          if (j < count && k < n_k) weight[j][k] = prior_weight[(first + j) * K + first_k + k];
      for (int64_t l = 0; l < in.L; ++l) {
        T z[PART]{};  // a row that does not exist has weight 0
#pragma unroll
        for (int j = 0; j < PART; ++j) {
          const int64_t at = (first + j) * M + m;
          if (j >= count) continue;
          z[j] = in.source[l * N * M + at];
          if constexpr (Origin::IS_DRAWN)
            z[j] = Origin::z(z[j], T(in.mean[at]), precise_exp(Origin::exponent(T(in.log_var[at]))));
        }
#pragma unroll
        for (int j = 0; j < PART; ++j)
#pragma unroll
          for (int k = 0; k < COMPONENTS; ++k) {
            const auto gradient = log_density_gradient<T>(weight[j][k], z[j], p_mean[k], p_precision[k]);
            mean_part[k] += gradient.mean;
            log_var_part[k] += gradient.log_var;
          }
      }
#pragma unroll
      for (int k = 0; k < COMPONENTS; ++k) {
        by_mean[k] += mean_part[k];
        by_log_var[k] += log_var_part[k];
      }
    }
#pragma unroll
    for (int k = 0; k < COMPONENTS; ++k) {
      if (k >= n_k) break;
      result[(first_k + k) * M + m] = by_mean[k];
      result[width + (first_k + k) * M + m] = by_log_var[k];
    }
  }
}

template <class T>
__global__ void likelihood_gradient(const T* ratio_weight, int64_t pairs, int64_t L, T sample_weight, T* out) {
  for (int64_t i = first_item(); i < L * pairs; i += item_stride()) out[i] = sample_weight * ratio_weight[i % pairs];
}

template <class Origin, int FIXED_M, class R>
void launch_shared(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, cudaStream_t stream) {
  using T = Computed<R>;
  constexpr int64_t TABLE_ELEMENTS = (26 << 10) / sizeof(T), ROW_ELEMENTS = (18 << 10) / sizeof(T);
  constexpr int64_t MOST_COMPONENTS = 400 / sizeof(T);
  Plan plan{};
  plan.dimensions = in.M < 64 ? static_cast<int>(in.M) : 64;
  const int table_stride = plan.table_stride<WIDE<T>>();
  const int64_t by_table = TABLE_ELEMENTS / (2 * table_stride);
  const int64_t most = by_table < MOST_COMPONENTS ? by_table : MOST_COMPONENTS;
  plan.components = static_cast<int>(in.K < most ? in.K : most);
  const int64_t per_row = plan.z_stride() + plan.sum_stride() + 1;
  // More rows to a block while there are enough rows for all multiprocessors and enough memory for the block.
  plan.groups = 1;
  while (plan.groups < BLOCK / WARP && in.N >= 2 * plan.rows() * (PERSISTENT_BLOCKS / 4) &&
         2 * plan.rows() * per_row <= ROW_ELEMENTS)
    plan.groups *= 2;
  const int64_t elements = plan.components * (2 * table_stride + 1) + plan.rows() * per_row;
  const int64_t tiles = (in.N + plan.rows() - 1) / plan.rows();
  launch_blocks(shared_forward<Origin, FIXED_M, R>, tiles < PERSISTENT_BLOCKS ? tiles : PERSISTENT_BLOCKS, BLOCK,
                elements * sizeof(T), stream, in, out, plan, lanes_for_terms(in.K));
}

template <class Origin, class R>
void launch_shared_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                            Computed<R> sample_weight, Computed<R>* scratch, cudaStream_t stream) {
  using T = Computed<R>;
  const int64_t pairs = in.N * in.K, tasks = tasks_for(in.N, in.K * in.M);
  T *ratio = scratch, *prior = ratio + pairs, *partial = prior + pairs;
  const T *read_ratio = ratio, *read_prior = prior, *read_partial = partial;
  launch_pair_weights(up, in.N, in.K, sample_weight, ratio, prior, stream);
  if (out.has_latent()) {
    const int64_t table = SHARED_BYTES / static_cast<int64_t>(2 * sizeof(T)) / in.M;
    const int64_t components = table < in.K ? table : in.K;
    const int64_t blocks = (in.N * in.M + BLOCK - 1) / BLOCK;
    launch_blocks(shared_latent_gradient<Origin, R>, blocks < PERSISTENT_BLOCKS ? blocks : PERSISTENT_BLOCKS, BLOCK,
                  2 * components * in.M * sizeof(T), stream, in, up, out, read_ratio, read_prior,
                  static_cast<int>(components));
  }
  const Totals<T> sums = totals(in, out);
  if (!sums.is_empty()) {
    const int64_t per_thread = in.K * in.M < 1024 ? 1 : 4;  // fewer columns need a thread each to fill the GPU
    const int64_t columns = out.has_prior() ? (in.K + per_thread - 1) / per_thread * in.M : 0;
    launch(per_thread == 1 ? shared_prior_gradient<Origin, 1, R> : shared_prior_gradient<Origin, 4, R>,
           tasks * (columns + in.K), THREADS, stream, in, read_ratio, read_prior, tasks, out.has_prior(), partial);
    launch_sum_tasks(read_partial, tasks, sums.size(), sums, stream);
  }
  if (out.log_likelihood != nullptr)
    launch(likelihood_gradient<T>, in.L * pairs, THREADS, stream, read_ratio, pairs, in.L, sample_weight,
           out.log_likelihood);
}

}  // namespace deepmix::cuda
