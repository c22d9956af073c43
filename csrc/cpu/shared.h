// Kernels for one latent that all components share: VaDE, and the E-step of a Gaussian mixture with diagonal
// covariances. The formulas are those of heads.h.

template <class Origin, class T, int V>
void shared_forward_blocks(const MixtureInputs<T> in, const PriorTable<T>& prior, const MixtureOutputs<T> out,
                           int64_t begin, int64_t end) {
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

template <class Origin, class T, int V>
void shared_backward_blocks(const MixtureInputs<T> in, const PriorTable<T>& prior, const MixtureUpstream<T> up,
                            const MixtureGradients<T> out, const Partial& partial, int64_t begin, int64_t end) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t L = in.L, K = in.K, M = in.M;
  const bool has_posterior = in.mean != nullptr;
  const BlockWeights<T> weights(K * B);
  const Buffer<T> source(M * B), sample(Origin::IS_DRAWN ? M * B : 0), d_z(M * B);
  const Buffer<T> mean(M * B), spread(M * B), d_mean(M * B), d_log_var(M * B);
  const T* const z = Origin::IS_DRAWN ? sample.get() : source.get();
  Cascade<T> z_sums(M * B, K);
  const T sample_weight = in.product ? T(1) : T(1) / T(L);
  const bool has_latent = out.has_latent(), has_prior = out.has_prior(), has_elements = has_latent || has_prior;

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
        if (up.by_z != nullptr) transpose_in<T, V>(up.by_z + at, count, M, z_sums.part());
      }
      for (int64_t k = 0; k < K; ++k) {
        for (int64_t m = 0; m < M; ++m) {
          const Vec<T> p_mean = broadcast(prior.mean[k * M + m]), p_precision = broadcast(prior.precision[k * M + m]);
          Vec<T> by_mean{}, by_log_var{};
          for (int64_t r = 0; r < B; r += LANES<T>) {
            const int64_t i = m * B + r;
            const auto gradient = log_density_gradient<T>(load(weights.prior.get() + k * B + r), load(z + i), p_mean,
                                                          p_precision);
            if (has_latent) store(z_sums.part() + i, load(z_sums.part() + i) - gradient.mean);
            by_mean += gradient.mean;
            by_log_var += gradient.log_var;
          }
          if (!has_prior) continue;
          partial.mean[k * M + m] += sum_lanes<T>(by_mean);
          partial.spread[k * M + m] += sum_lanes<T>(by_log_var);
        }
        z_sums.end_term();
      }
      z_sums.finish(d_z.get());
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
  }
}
