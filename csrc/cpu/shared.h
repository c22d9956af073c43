// Kernels for one latent that all components share: VaDE, and the E-step of a Gaussian mixture with diagonal
// covariances. The formulas are those of heads.h.

template <class Origin, class R, int V>
void shared_forward_blocks(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior,
                           const MixtureOutputs<R> out, int64_t begin, int64_t end) {
  using T = Computed<R>;
  constexpr int64_t B = ROWS<T, V>;
  const int64_t L = in.L, K = in.K, M = in.M;
  const Buffer<T> z_buffer(L * M * B), mean(M * B), log_var(M * B), log_prob(K * B), ratio(K * B);
  T* const z = z_buffer.get();
  const T *const prior_mean = prior.mean.get(), *const prior_precision = prior.precision.get();
  const T mean_weight = T(1) / T(L), ratio_weight = in.product ? T(L) : T(1);
  const T likelihood_weight = in.product ? T(1) : mean_weight;
  T log_posterior[B] = {}, log_normalizer[B];

  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    for (int64_t l = 0; l < L; ++l) transpose_in<T, V>(in.source + (l * in.N + row) * M, count, M, z + l * M * B);
    if (Origin::IS_DRAWN || in.use_posterior) {
      transpose_in<T, V>(in.mean + row * M, count, M, mean.get());
      transpose_in<T, V>(in.log_var + row * M, count, M, log_var.get());
      for (int64_t r = 0; r < B; r += LANES<T>) {
        Vec<T> sum{};
        for (int64_t i = r; i < M * B; i += B) {
          Vec<T> distance{};
          const Vec<T> spread = exponential<T>(Origin::exponent(load(log_var.get() + i)));
          const Vec<T> center = load(mean.get() + i);
          for (int64_t l = 0; l < L; ++l) {
            T* const latent = z + l * M * B + i;
            const Vec<T> source = load(latent);
            distance += Origin::distance(source, center, spread);
            if constexpr (Origin::IS_DRAWN) store(latent, Origin::z(source, center, spread));
          }
          sum += distance * mean_weight + load(log_var.get() + i);
        }
        store(log_posterior + r, log_density<T>(sum, T(M)));
      }
    }
    if constexpr (Origin::IS_DRAWN) {
      for (int64_t l = 0; l < L; ++l) transpose_out<T, V>(z + l * M * B, count, M, out.z + (l * in.N + row) * M);
    }
    for (int64_t k = 0; k < K; ++k) {
      Vec<T> distance[V] = {}, part[V] = {};
      for (int64_t l = 0; l < L; ++l)
        for (int64_t m = 0; m < M; ++m) {
          const Vec<T> p_mean = broadcast(prior_mean[k * M + m]), p_precision = broadcast(prior_precision[k * M + m]);
          for (int v = 0; v < V; ++v)
            part[v] += scaled_distance(load(z + (l * M + m) * B + v * LANES<T>), p_mean, p_precision);
          if (m % DIMENSIONS_GROUP == DIMENSIONS_GROUP - 1 || m == M - 1) move_vectors(part, V, distance);
        }
      for (int v = 0; v < V; ++v) {
        const int64_t r = v * LANES<T>;
        const Vec<T> value = prior.constant[k] - T(0.5) * mean_weight * distance[v];
        Vec<T> log_ratio = value + in.log_weight[k];
        if (in.use_posterior) log_ratio -= load(log_posterior + r);
        store(log_prob.get() + k * B + r, value);
        store(ratio.get() + k * B + r, log_ratio * ratio_weight);
      }
    }
    if (in.log_likelihood != nullptr) {
      for (int64_t l = 0; l < L; ++l)
        for (int64_t r = 0; r < count; ++r)
          for (int64_t k = 0; k < K; ++k)
            ratio[k * B + r] += likelihood_weight * in.log_likelihood[(l * in.N + row + r) * K + k];
    }
    if (out.log_prob != nullptr) transpose_out<T, V>(log_prob.get(), count, K, out.log_prob + row * K);
    normalize_block<T, V>(ratio.get(), K, log_normalizer);
    transpose_out<T, V>(ratio.get(), count, K, out.log_q + row * K);
    std::copy_n(log_normalizer, count, out.log_normalizer + row);
  }
}

/// A prior's gradients where all components share a latent, and their part of the latent's. With the weight w_rk of
/// log p(z_r|y_k) and d_rkm = z_rm - mean_km, they are
///   by mean_km:     precision_km sum_r w_rk d_rkm
///   by log_var_km:  1/2 (precision_km sum_r w_rk d_rkm^2 - sum_r w_rk)
///   by z_rm:        -sum_k w_rk precision_km d_rkm
/// The two sums over rows are kept for every dimension and component, and go to the task's sums after BLOCKS_BETWEEN
/// blocks, so that no sum in single precision is long.
template <class T, int V>
class SharedGradient {
 public:
  SharedGradient(const PriorTable<T>& prior, int64_t K, int64_t M, bool has_latent, bool has_prior)
      : K_(K), M_(M), stride_((K + LANES<T> - 1) / LANES<T> * LANES<T>), has_latent_(has_latent), has_prior_(has_prior),
        mean_(M * stride_), precision_(M * stride_), first_(M * stride_), second_(M * stride_), weight_(K) {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t m = 0; m < M; ++m) {
        mean_[m * stride_ + k] = prior.mean[k * M + m];
        precision_[m * stride_ + k] = prior.precision[k * M + m];
      }
    clear();
  }

  /// Handle one sample of a block: add to the sums, and subtract the latent's gradient, (M, B), from `by_z`.
  void add_block(const T* z, const T* weight, T* by_z) {
    if (has_prior_)
      for (int64_t k = 0; k < K_; ++k) weight_[k] += sum_rows<T, V>(weight + k * B);
    for (int64_t first_k = 0; first_k < K_; first_k += CHUNK)
      for (int64_t m = 0; m < M_; ++m) add_chunk(z + m * B, weight, first_k, m, by_z + m * B);
  }

  void end_block(const Partial& partial) {
    if (++blocks_ == BLOCKS_BETWEEN) flush(partial);
  }

  void flush(const Partial& partial) {
    blocks_ = 0;
    if (!has_prior_) return;
    for (int64_t k = 0; k < K_; ++k)
      for (int64_t m = 0; m < M_; ++m) {
        const int64_t i = m * stride_ + k;
        const double precision = static_cast<double>(precision_[i]);
        partial.mean[k * M_ + m] += precision * static_cast<double>(first_[i]);
        partial.spread[k * M_ + m] +=
            0.5 * (precision * static_cast<double>(second_[i]) - static_cast<double>(weight_[k]));
      }
    clear();
  }

 private:
  static constexpr int64_t B = ROWS<T, V>;
  static constexpr int64_t CHUNK = 64;  // components whose weights stay in the first-level cache
  static constexpr int64_t PART = 16;   // components whose terms are added before they join a longer sum
  static constexpr int BLOCKS_BETWEEN = 16;

  /// Handle one dimension of a chunk of components.
  DEEPMIX_INLINE void add_chunk(const T* z, const T* weight, int64_t first_k, int64_t m, T* by_z) {
    const int64_t end = std::min(K_, first_k + CHUNK), row = m * stride_;
    Vec<T> latent[V], sum[V] = {}, part[V] = {};
    for (int v = 0; v < V; ++v) latent[v] = load(z + v * LANES<T>);
    for (int64_t group = first_k; group < end; group += LANES<T>) {
      Vec<T> first[LANES<T>], second[LANES<T>];
      for (int64_t j = 0; j < LANES<T>; ++j) {
        const int64_t k = group + j;
        Vec<T> weighted_sum{}, square_sum{};
        if (k >= end) {
          first[j] = second[j] = Vec<T>{};
          continue;
        }
        const Vec<T> mean = broadcast(mean_[row + k]), precision = broadcast(precision_[row + k]);
        for (int v = 0; v < V; ++v) {
          const Vec<T> difference = latent[v] - mean, weighted = load(weight + k * B + v * LANES<T>) * difference;
          weighted_sum += weighted;
          square_sum += weighted * difference;
          part[v] += weighted * precision;
        }
        first[j] = weighted_sum;
        second[j] = square_sum;
      }
      if (has_prior_) {
        store(first_.get() + row + group, load(first_.get() + row + group) + sum_each<T>(first));
        store(second_.get() + row + group, load(second_.get() + row + group) + sum_each<T>(second));
      }
      if ((group + LANES<T>) % PART == 0) move_vectors(part, V, sum);
    }
    move_vectors(part, V, sum);
    for (int v = 0; has_latent_ && v < V; ++v) {
      T* const total = by_z + v * LANES<T>;
      store(total, load(total) - sum[v]);
    }
  }

  void clear() {
    std::fill_n(first_.get(), M_ * stride_, T(0));
    std::fill_n(second_.get(), M_ * stride_, T(0));
    std::fill_n(weight_.get(), K_, T(0));
  }

  int64_t K_, M_, stride_;
  bool has_latent_, has_prior_;
  Buffer<T> mean_, precision_;  // (M, stride)
  Buffer<T> first_, second_;    // (M, stride): sum_r w_rk d_rkm and sum_r w_rk d_rkm^2
  Buffer<T> weight_;            // (K): sum_r w_rk
  int blocks_ = 0;
};

template <class Origin, class R, int V>
void shared_backward_blocks(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior,
                            const MixtureUpstream<R> up, const MixtureGradients<R> out, const Partial& partial,
                            int64_t begin, int64_t end) {
  using T = Computed<R>;
  constexpr int64_t B = ROWS<T, V>;
  const int64_t L = in.L, K = in.K, M = in.M;
  const bool has_posterior = in.mean != nullptr;
  const BlockWeights<T> weights(K * B);
  const Buffer<T> source(M * B), sample(Origin::IS_DRAWN ? M * B : 0), d_z(M * B);
  const Buffer<T> mean(M * B), spread(M * B), d_mean(M * B), d_log_var(M * B);
  const T* const z = Origin::IS_DRAWN ? sample.get() : source.get();
  const T sample_weight = in.product ? T(1) : T(1) / T(L);
  const bool has_elements = out.has_latent() || out.has_prior();
  SharedGradient<T, V> prior_gradient(prior, K, M, out.has_latent(), out.has_prior());

  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    T ratio_sum[B], posterior_weight[B];
    block_weights<T, V>(up, row, count, K, sample_weight, weights, ratio_sum);
    for (int64_t k = 0; out.log_weight != nullptr && k < K; ++k)
      partial.log_weight[k] += sum_rows<T, V>(weights.ratio.get() + k * B);
    if (out.log_likelihood != nullptr) {
      for (int64_t l = 0; l < L; ++l)
        for (int64_t r = 0; r < count; ++r)
          for (int64_t k = 0; k < K; ++k)
            out.log_likelihood[(l * in.N + row + r) * K + k] = sample_weight * weights.ratio[k * B + r];
    }
    if (has_posterior) {
      for (int64_t r = 0; r < B; ++r) posterior_weight[r] = in.use_posterior ? -sample_weight * ratio_sum[r] : T(0);
      transpose_in<T, V>(in.mean + row * M, count, M, mean.get());
      transpose_in<T, V>(in.log_var + row * M, count, M, spread.get());
      for (int64_t i = 0; i < M * B; i += LANES<T>)
        store(spread.get() + i, exponential<T>(Origin::exponent(load(spread.get() + i))));
      std::fill_n(d_mean.get(), M * B, T(0));
      std::fill_n(d_log_var.get(), M * B, T(0));
    }
    for (int64_t l = 0; has_elements && l < L; ++l) {
      const int64_t at = (l * in.N + row) * M;
      transpose_in<T, V>(in.source + at, count, M, source.get());
      if constexpr (Origin::IS_DRAWN) {
        for (int64_t i = 0; i < M * B; i += LANES<T>)
          store(sample.get() + i,
                Origin::z(load(source.get() + i), load(mean.get() + i), load(spread.get() + i)));
      }
      if (up.by_z != nullptr)
        transpose_in<T, V>(up.by_z + at, count, M, d_z.get());
      else
        std::fill_n(d_z.get(), M * B, T(0));
      prior_gradient.add_block(z, weights.prior.get(), d_z.get());
      if (has_posterior) {
        for (int64_t i = 0; i < M * B; i += LANES<T>) {
          const auto gradient = Origin::gradient(load(posterior_weight + i % B), load(source.get() + i),
                                                 load(mean.get() + i), load(spread.get() + i), load(d_z.get() + i));
          store(d_z.get() + i, gradient.z);
          store(d_mean.get() + i, load(d_mean.get() + i) + gradient.mean);
          store(d_log_var.get() + i, load(d_log_var.get() + i) + gradient.log_var);
        }
      }
      if constexpr (!Origin::IS_DRAWN) {
        if (out.z != nullptr) transpose_out<T, V>(d_z.get(), count, M, out.z + at);
      }
    }
    if (out.mean != nullptr) transpose_out<T, V>(d_mean.get(), count, M, out.mean + row * M);
    if (out.log_var != nullptr) transpose_out<T, V>(d_log_var.get(), count, M, out.log_var + row * M);
    prior_gradient.end_block(partial);
  }
  prior_gradient.flush(partial);
}
