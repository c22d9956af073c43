// The EM statistics of a Gaussian mixture. One warp per task, a fixed range of rows, which it takes 32 at a time: each
// lane finds the responsibilities of one row, then each lane adds the 32 rows to its share of the sums. A warp's rows
// and responsibilities stay in the caches. A last launch adds the tasks' sums, in order, so nothing depends on how
// blocks are scheduled. No block-wide synchronisation or shared memory is needed.
#include "common.h"
#include "run.h"

namespace deepmix::cuda {
namespace {

constexpr int64_t MAX_SUM_TASKS = 4096;    // 31 warps for each of an H100's multiprocessors
constexpr int64_t ROWS_PER_SUM_TASK = 64;  // at least
constexpr int64_t MAX_SUM_BYTES = int64_t{1} << 28;

/// Sums of one component: its responsibility, M first moments, and M second moments or the M (M + 1) / 2 of the lower
/// triangle.
__host__ __device__ inline int64_t component_sums(int64_t M, bool is_full) {
  return 1 + M + (is_full ? M * (M + 1) / 2 : M);
}

/// All sums of a task; the last one is the log-likelihood.
__host__ __device__ inline int64_t task_sums(int64_t K, int64_t M, bool is_full) {
  return K * component_sums(M, is_full) + 1;
}

/// Row of the entry numbered `entry` of a lower triangle that is stored row by row.
__device__ inline int64_t triangle_row(int64_t entry) {
  int64_t row = static_cast<int64_t>((sqrtf(8.0f * static_cast<float>(entry) + 1.0f) - 1.0f) * 0.5f);
  while (row * (row + 1) / 2 > entry) --row;
  while ((row + 1) * (row + 2) / 2 <= entry) ++row;
  return row;
}

/// Precisions, (K, M), of diagonal components; one thread per entry.
template <class T>
__global__ void invert_variances(StatisticsInputs<T> in, T* precision) {
  for (int64_t i = first_item(); i < in.K * in.M; i += item_stride()) precision[i] = precise_exp(-in.spread[i]);
}

/// log w_k plus log N(z; mean_k, covariance_k) at z = mean_k, (K); one thread per component.
template <class T>
__global__ void component_constants(StatisticsInputs<T> in, T* constant) {
  for (int64_t k = first_item(); k < in.K; k += item_stride()) {
    double half_log_precision = 0;
    for (int64_t m = 0; m < in.M; ++m) {
      if (in.is_full)
        half_log_precision += log(static_cast<double>(in.spread[(k * in.M + m) * in.M + m]));
      else
        half_log_precision -= 0.5 * static_cast<double>(in.spread[k * in.M + m]);
    }
    constant[k] = in.log_weight[k] + static_cast<T>(half_log_precision - 0.5 * static_cast<double>(in.M) * LOG_2PI);
  }
}

/// The scaled squared distance of a row from component k. FIXED_M is M, so that the row stays in registers, or 0.
template <int FIXED_M, bool FULL, class T>
__device__ T squared_distance(const StatisticsInputs<T>& in, const T* precision, const T* z, int64_t k) {
  const int64_t M = FIXED_M > 0 ? FIXED_M : in.M;
  const T *mean = in.mean + k * M, *factors = FULL ? in.spread + k * M * M : precision + k * M;
  Sum<T> distance;
#pragma unroll
  for (int64_t j = 0; j < M; ++j) {
    if constexpr (FULL) {
      T y = 0;
#pragma unroll
      for (int64_t i = j; i < M; ++i) y += factors[i * M + j] * (z[i] - mean[i]);
      distance.add(y * y);
    } else {
      distance.add(scaled_distance(z[j], mean[j], factors[j]));
    }
  }
  return distance.value();
}

/// Write a row's responsibilities times its weight, with stride WARP, and return its log-likelihood times its weight.
template <int FIXED_M, bool FULL, class T>
__device__ double row_responsibilities(const StatisticsInputs<T>& in, const T* precision, const T* constant,
                                       int64_t row, T* responsibility) {
  constexpr int LOCAL = FIXED_M > 0 ? FIXED_M : 1;
  const T* z = in.z + row * in.M;
  T local[LOCAL];
  if constexpr (FIXED_M > 0) {
#pragma unroll
    for (int m = 0; m < FIXED_M; ++m) local[m] = z[m];
    z = local;
  }
  T highest = in.log_noise;
  for (int64_t k = 0; k < in.K; ++k) {
    const T value = constant[k] - T(0.5) * squared_distance<FIXED_M, FULL>(in, precision, z, k);
    responsibility[k * WARP] = value;
    highest = value > highest ? value : highest;
  }
  if (isinf(highest)) highest = 0;
  Sum<T> sum;
  sum.add(precise_exp(in.log_noise - highest));
  for (int64_t k = 0; k < in.K; ++k) {
    const T value = precise_exp(responsibility[k * WARP] - highest);
    responsibility[k * WARP] = value;
    sum.add(value);
  }
  const T weight = in.row_weight == nullptr ? T(1) : in.row_weight[row];
  const T scale = weight / sum.value();
  for (int64_t k = 0; k < in.K; ++k) responsibility[k * WARP] *= scale;
  return static_cast<double>(weight) * static_cast<double>(highest + precise_log(sum.value()));
}

/// The part of one sum that `count` rows contribute; `entry` numbers the sums of component k.
template <bool FULL, class T>
__device__ T sum_entry(const StatisticsInputs<T>& in, const T* z, const T* responsibility, int64_t count, int64_t k,
                       int64_t entry) {
  const int64_t M = in.M;
  T sum = 0;
  if (entry == 0) {
    for (int64_t n = 0; n < count; ++n) sum += responsibility[n];
    return sum;
  }
  if (entry <= M) {
    const int64_t m = entry - 1;
    const T mean = in.mean[k * M + m];
    for (int64_t n = 0; n < count; ++n) sum += responsibility[n] * (z[n * M + m] - mean);
    return sum;
  }
  const int64_t second = entry - 1 - M, i = FULL ? triangle_row(second) : second;
  const int64_t j = FULL ? second - i * (i + 1) / 2 : i;
  const T mean_i = in.mean[k * M + i], mean_j = in.mean[k * M + j];
  for (int64_t n = 0; n < count; ++n) sum += responsibility[n] * (z[n * M + i] - mean_i) * (z[n * M + j] - mean_j);
  return sum;
}

/// Sum each task's rows into `partial`, (tasks, task_sums). `responsibility`, (tasks, K, WARP), is scratch.
template <int FIXED_M, bool FULL, class T>
__global__ void sum_rows(StatisticsInputs<T> in, const T* precision, const T* constant, int64_t tasks,
                         T* responsibility, double* partial) {
  const int64_t M = in.M, per_component = component_sums(M, FULL), size = task_sums(in.K, M, FULL);
  const int64_t rows = (in.N + tasks - 1) / tasks;
  const int lane = threadIdx.x % WARP;
  for (int64_t task = first_item() / WARP; task < tasks; task += item_stride() / WARP) {
    double *sums = partial + task * size, log_likelihood = 0;
    T* weights = responsibility + task * in.K * WARP;
    const int64_t end = (task + 1) * rows < in.N ? (task + 1) * rows : in.N;
    for (int64_t i = lane; i < size; i += WARP) sums[i] = 0;
    for (int64_t row = task * rows; row < end; row += WARP) {
      const int64_t count = end - row < WARP ? end - row : WARP;
      if (lane < count)
        log_likelihood +=
            row_responsibilities<FIXED_M, FULL>(in, precision, constant, row + lane, weights + lane);
      __syncwarp();
      for (int64_t i = lane; i < size - 1; i += WARP) {
        const int64_t k = i / per_component;
        sums[i] += static_cast<double>(
            sum_entry<FULL>(in, in.z + row * M, weights + k * WARP, count, k, i - k * per_component));
      }
      __syncwarp();
    }
    log_likelihood = warp_sum(log_likelihood);
    if (lane == 0) sums[size - 1] = log_likelihood;
  }
}

/// Add the tasks' sums and write them where they belong; one warp per sum.
template <class T>
__global__ void add_tasks(StatisticsInputs<T> in, const double* partial, int64_t tasks, StatisticsOutputs out) {
  const int64_t M = in.M, per_component = component_sums(M, in.is_full), size = task_sums(in.K, M, in.is_full);
  const int lane = threadIdx.x % WARP;
  for (int64_t at = first_item() / WARP; at < size; at += item_stride() / WARP) {
    double sum = 0;
    for (int64_t task = lane; task < tasks; task += WARP) sum += partial[task * size + at];
    sum = warp_sum(sum);
    if (lane != 0) continue;
    const int64_t k = at / per_component, entry = at - k * per_component;
    if (at == size - 1) {
      *out.log_likelihood = sum;
    } else if (entry == 0) {
      out.responsibility[k] = sum;
    } else if (entry <= M) {
      out.first[k * M + entry - 1] = sum;
    } else if (!in.is_full) {
      out.second[k * M + entry - 1 - M] = sum;
    } else {
      const int64_t second = entry - 1 - M, i = triangle_row(second), j = second - i * (i + 1) / 2;
      out.second[(k * M + i) * M + j] = sum;
      out.second[(k * M + j) * M + i] = sum;
    }
  }
}

template <int FIXED_M, class T>
void launch_sum_rows(const StatisticsInputs<T>& in, const T* precision, const T* constant, int64_t tasks,
                     T* responsibility, double* partial, cudaStream_t stream) {
  const auto kernel = in.is_full ? sum_rows<FIXED_M, true, T> : sum_rows<FIXED_M, false, T>;
  launch(kernel, tasks, THREADS / WARP, stream, in, precision, constant, tasks, responsibility, partial);
}

}  // namespace

int64_t statistics_tasks(int64_t N, int64_t K, int64_t M, bool is_full) {
  const int64_t numbers = task_sums(K, M, is_full) + K * WARP;  // a task's sums and responsibilities
  const int64_t by_rows = N / ROWS_PER_SUM_TASK;
  const int64_t by_bytes = MAX_SUM_BYTES / (numbers * static_cast<int64_t>(sizeof(double)));
  int64_t tasks = by_rows < by_bytes ? by_rows : by_bytes;
  tasks = tasks < MAX_SUM_TASKS ? tasks : MAX_SUM_TASKS;
  return tasks < 1 ? 1 : tasks;
}

int64_t statistics_sums(int64_t N, int64_t K, int64_t M, bool is_full) {
  return statistics_tasks(N, K, M, is_full) * task_sums(K, M, is_full);
}

int64_t statistics_scratch(int64_t N, int64_t K, int64_t M, bool is_full) {
  return K * (M + 1) + statistics_tasks(N, K, M, is_full) * K * WARP;
}

template <class T>
void statistics(const StatisticsInputs<T>& in, const StatisticsOutputs& out, T* scratch, double* sums,
                cudaStream_t stream) {
  const int64_t tasks = statistics_tasks(in.N, in.K, in.M, in.is_full);
  T *precision = scratch, *constant = precision + in.K * in.M, *responsibility = constant + in.K;
  if (!in.is_full) launch(invert_variances<T>, in.K * in.M, THREADS, stream, in, precision);
  launch(component_constants<T>, in.K, THREADS, stream, in, constant);
  const auto launch_rows = [&](auto kernel_launcher) {
    kernel_launcher(in, static_cast<const T*>(precision), static_cast<const T*>(constant), tasks, responsibility, sums,
                    stream);
  };
  switch (in.M) {
    case 2: launch_rows(launch_sum_rows<2, T>); break;
    case 8: launch_rows(launch_sum_rows<8, T>); break;
    case 10: launch_rows(launch_sum_rows<10, T>); break;
    case 16: launch_rows(launch_sum_rows<16, T>); break;
    default: launch_rows(launch_sum_rows<0, T>);
  }
  launch(add_tasks<T>, task_sums(in.K, in.M, in.is_full), THREADS / WARP, stream, in,
         static_cast<const double*>(sums), tasks, out);
}

template void statistics<float>(const StatisticsInputs<float>&, const StatisticsOutputs&, float*, double*,
                                cudaStream_t);
template void statistics<double>(const StatisticsInputs<double>&, const StatisticsOutputs&, double*, double*,
                                 cudaStream_t);

}  // namespace deepmix::cuda
