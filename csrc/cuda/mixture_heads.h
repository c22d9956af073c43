// q(y|x) from one latent per component.
#pragma once

#include "heads.h"
#include "mixture_tile.h"

namespace deepmix::cuda {

/// One latent per component, SAMPLES samples (0: any number). A tile's sums are in shared memory, or in log_q where
/// they don't fit.
template <class Origin, int SAMPLES, int V, class R>
__global__ void __launch_bounds__(BLOCK)
    heads_forward(MixtureInputs<R> in, MixtureOutputs<R> out, Cover cover, int lanes, int row_lanes, bool is_staged) {
  using T = Computed<R>;
  T* const terms = shared_memory<T>();
  T* const staged = terms + cover.rows() * cover.columns * V;
  const int width = cover.width, K = static_cast<int>(in.K), M = static_cast<int>(in.M);
  const int64_t L = SAMPLES > 0 ? SAMPLES : in.L;
  const T mean_weight = T(1) / T(L);
  for (int64_t tile = blockIdx.x; tile < cover.tiles(); tile += gridDim.x) {
    const int64_t first = tile * cover.rows();
    const int n_rows = static_cast<int>(in.N - first < cover.rows() ? in.N - first : cover.rows());
    T* const sums = is_staged ? staged : out.log_q + first * K;
    for (int chunk = 0; chunk < cover.chunks; ++chunk) {
      const Place<V> place(cover, chunk, M);
      if (place.is_active) {
        const PriorColumns<T, V> prior(in.prior_mean, in.prior_log_var, place.at, true);
        Vector<T, V> mean[PASSES]{}, log_var[PASSES]{}, spread[PASSES], source[PASSES]{};
        Vector<T, V> by_prior[PASSES]{}, by_posterior[PASSES]{};
        if (in.use_posterior || Origin::IS_DRAWN) {
          read_rows<V>(in.mean + first * width, 0, n_rows, cover.step, width, place, mean);
          read_rows<V>(in.log_var + first * width, 0, n_rows, cover.step, width, place, log_var);
        }
        for (int64_t l = 0; l < L; ++l) {
          const int64_t start = (l * in.N + first) * width;
          read_rows<V>(in.source + start, 0, n_rows, cover.step, width, place, source);
#pragma unroll
          for (int pass = 0; pass < PASSES; ++pass) {
            const int row = place.row + pass * cover.step;
            if (row >= n_rows) continue;
            Vector<T, V> z;
#pragma unroll
            for (int v = 0; v < V; ++v) {
              if (l == 0) spread[pass].at[v] = precise_exp(Origin::exponent(log_var[pass].at[v]));
              z.at[v] = Origin::z(source[pass].at[v], mean[pass].at[v], spread[pass].at[v]);
              by_prior[pass].at[v] += scaled_distance(z.at[v], prior.mean.at[v], prior.precision.at[v]);
              by_posterior[pass].at[v] +=
                  Origin::distance(source[pass].at[v], mean[pass].at[v], spread[pass].at[v]);
            }
            if constexpr (Origin::IS_DRAWN) store(out.z + start + static_cast<int64_t>(row) * width + place.at, z);
          }
        }
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
          const int row = place.row + pass * cover.step;
          if (row >= n_rows) continue;
          Vector<T, V> term;
#pragma unroll
          for (int v = 0; v < V; ++v) {
            term.at[v] = mean_weight * by_prior[pass].at[v] + prior.log_var.at[v];
            if (in.use_posterior) term.at[v] -= mean_weight * by_posterior[pass].at[v] + log_var[pass].at[v];
          }
          store(terms + (row * cover.columns + place.column) * V, term);
        }
      }
      __syncthreads();
      sum_components<V>(terms, cover.columns * V, place, M, K, n_rows, lanes, sums);
      __syncthreads();
    }
    normalize_tile(in, out, sums, K, first, n_rows, row_lanes);
  }
}

/// The rule of `heads_gradients` for q(y|x).
template <class Origin, int SAMPLES, class R>
struct MixtureRule {
  using T = Computed<R>;
  MixtureInputs<R> in;
  MixtureUpstream<R> up;
  MixtureGradients<R> out;
  T sample_weight;

  __device__ const T* prior_mean() const { return in.prior_mean; }
  __device__ const T* prior_log_var() const { return in.prior_log_var; }

  template <int V>
  __device__ void read(int64_t first, int start, int n_rows, const Cover& cover, const Place<V>& place,
                       Reads<T, V>& reads) const {
    const int64_t at = first * cover.width;
    read_rows<V>(in.mean + at, start, n_rows, cover.step, cover.width, place, reads.mean);
    read_rows<V>(in.log_var + at, start, n_rows, cover.step, cover.width, place, reads.log_var);
    read_sample(0, first, start, n_rows, cover, place, reads);
  }

  template <int V>
  __device__ void read_sample(int64_t l, int64_t first, int start, int n_rows, const Cover& cover,
                              const Place<V>& place, Reads<T, V>& reads) const {
    const int64_t at = (l * in.N + first) * cover.width;
    read_rows<V>(in.source + at, start, n_rows, cover.step, cover.width, place, reads.source);
    if (up.by_z != nullptr)
      read_rows<V>(up.by_z + at, start, n_rows, cover.step, cover.width, place, reads.upstream);
  }

  /// Write the gradients of the log-ratios u_k (see `normalizer_gradient`) and of each sample's log p(z|y_k).
  template <int V>
  __device__ void weigh(int64_t first, int n_rows, const Place<V>& place, int M, int lanes, T* ratio,
                        T* prior) const {
    const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes;
    const int K = static_cast<int>(in.K), warp_group = group - group % (WARP / lanes);
    const int end_k = place.first_k + place.n_k;
    for (int start = 0; start + warp_group < n_rows; start += BLOCK / lanes) {  // as often in every lane of a warp
      const int row = start + group, n_k = row < n_rows ? K : 0;
      ratio_gradients(up, first + row, n_k, lane, lanes, place.first_k, end_k, [&](int k, T value) {
        const int i = row * place.n_k + k - place.first_k;
        ratio[i] = value;
        prior[i] = sample_weight * value;
        if (out.log_likelihood != nullptr && static_cast<int64_t>(k) * M >= place.begin)
          for (int64_t l = 0; l < in.L; ++l)
            out.log_likelihood[((l * in.N) + first + row) * K + k] = sample_weight * value;
      });
    }
  }

  template <int V>
  __device__ void step(int64_t first, int start, int n_rows, const Cover& cover, const Place<V>& place,
                       const PriorColumns<T, V>& prior, const T* ratio, const T* weight, Reads<T, V>& reads,
                       Vector<T, V>& by_prior_mean, Vector<T, V>& by_prior_log_var) const {
    const int width = cover.width;
    const int64_t L = SAMPLES > 0 ? SAMPLES : in.L;
    Vector<T, V> by_mean[PASSES]{}, by_log_var[PASSES]{};
    for (int64_t l = 0; l < L; ++l) {
      if (l > 0) read_sample(l, first, start, n_rows, cover, place, reads);
      R* const by_sample = out.z == nullptr ? nullptr : out.z + (l * in.N + first) * width + place.at;
#pragma unroll
      for (int pass = 0; pass < PASSES; ++pass) {
        const int row = start + place.row + pass * cover.step;
        if (row >= n_rows) continue;
        Vector<T, V> by_z;
#pragma unroll
        for (int v = 0; v < V; ++v) {
          const int i = row * place.n_k + place.reached[v];
          const T source = reads.source[pass].at[v], mean = reads.mean[pass].at[v];
          const T spread = precise_exp(Origin::exponent(reads.log_var[pass].at[v]));
          const T z = Origin::z(source, mean, spread);
          const auto density = log_density_gradient<T>(weight[i], z, prior.mean.at[v], prior.precision.at[v]);
          const T by_posterior = in.use_posterior ? -sample_weight * ratio[i] : T(0);
          const auto gradient =
              Origin::gradient(by_posterior, source, mean, spread, reads.upstream[pass].at[v] - density.mean);
          by_prior_mean.at[v] += density.mean;
          by_prior_log_var.at[v] += density.log_var;
          by_z.at[v] = gradient.z;
          by_mean[pass].at[v] += gradient.mean;
          by_log_var[pass].at[v] += gradient.log_var;
        }
        if constexpr (!Origin::IS_DRAWN)
          if (by_sample != nullptr) store(by_sample + static_cast<int64_t>(row) * width, by_z);
      }
    }
#pragma unroll
    for (int pass = 0; pass < PASSES; ++pass) {
      const int row = start + place.row + pass * cover.step;
      if (row >= n_rows) continue;
      const int64_t at = (first + row) * width + place.at;
      if (out.mean != nullptr) store(out.mean + at, by_mean[pass]);
      if (out.log_var != nullptr) store(out.log_var + at, by_log_var[pass]);
    }
  }
};

template <class Origin, int SAMPLES, int V, class R>
void launch_heads(const MixtureInputs<R>& in, const MixtureOutputs<R>& out, cudaStream_t stream) {
  using T = Computed<R>;
  const Cover cover(in.N, in.K * in.M, V);
  const int64_t terms = static_cast<int64_t>(cover.rows()) * cover.columns * V, sums = cover.rows() * in.K;
  const bool is_staged = (terms + sums) * static_cast<int64_t>(sizeof(T)) <= SHARED_BYTES;
  launch_blocks(heads_forward<Origin, SAMPLES, V, R>, blocks_for(cover.tiles(), 1), BLOCK,
                (terms + (is_staged ? sums : 0)) * sizeof(T), stream, in, out, cover, lanes_for(in.M / 8),
                lanes_for_terms(in.K), is_staged);
}

template <class Origin, int SAMPLES, int V, class R>
void launch_heads_backward(const MixtureInputs<R>& in, const MixtureUpstream<R>& up, const MixtureGradients<R>& out,
                           Computed<R> sample_weight, Computed<R>* scratch, cudaStream_t stream) {
  const MixtureRule<Origin, SAMPLES, R> rule{in, up, out, sample_weight};
  launch_heads_gradients<MixtureRule<Origin, SAMPLES, R>, V>(rule, in.N, in.K, in.M, totals(in, out), scratch, stream);
}

}  // namespace deepmix::cuda
