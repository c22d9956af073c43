// KL(q(z|y_k,x) || p(z|y_k)) = 1/2 sum_m [log s_p - log s_q + (s_q + (mu_q - mu_p)^2) / s_p - 1], for one head per
// component (heads_*) and for one shared head (shared_*).

template <class R>
void heads_kl(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, Computed<R>* kl, int64_t begin,
              int64_t end) {
  using T = Computed<R>;
  const int64_t K = in.H, M = in.M;
  const Tile tile = prior.tile;
  const Buffer<T> terms(tile.pairs * M + PADDING);
  for (int64_t row = begin; row < end; row += tile.rows) {
    const int64_t n_pairs = std::min(tile.rows, end - row) * K;
    for (int64_t first = 0; first < n_pairs; first += tile.pairs) {
      const int64_t pairs = std::min(tile.pairs, n_pairs - first), offset = first * M, at = row * K * M + offset;
      over_vectors<T>(pairs * M, [&](int64_t i, auto access) {
        const Vec<T> log_ratio = access.load(in.log_var + at + i) - load(prior.log_var.get() + offset + i);
        const Vec<T> term = twice_kl<T>(log_ratio, exponential<T>(log_ratio), access.load(in.mean + at + i),
                                        load(prior.mean.get() + offset + i),
                                        load(prior.precision.get() + offset + i));
        store(terms.get() + i, T(0.5) * term);
      });
      sum_segments(terms.get(), pairs, M, kl + row * K + first);
    }
  }
}

template <class R>
void heads_kl_backward(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, const Computed<R>* by_kl,
                       const KlGradients<R> out, const Partial& partial, int64_t begin, int64_t end) {
  using T = Computed<R>;
  const int64_t K = in.H, M = in.M;
  const Tile tile = prior.tile;
  const Buffer<T> weight(tile.pairs * M + PADDING);
  TileSums<T> sums(tile, K, M);
  const bool has_prior = out.has_prior(), large = out.has_latent() && is_large<R>(2, in.N * K * M);

  for (int64_t row = begin; row < end; row += tile.rows) {
    const int64_t n_pairs = std::min(tile.rows, end - row) * K;
    for (int64_t first = 0; first < n_pairs; first += tile.pairs) {
      const int64_t pairs = std::min(tile.pairs, n_pairs - first), offset = first * M, at = row * K * M + offset;
      repeat_each(by_kl + row * K + first, pairs, M, weight.get());
      const auto element = [&](int64_t i, auto access) __attribute__((always_inline)) {
        const Vec<T> log_ratio = access.load(in.log_var + at + i) - load(prior.log_var.get() + offset + i);
        const auto gradient = kl_gradient<T>(load(weight.get() + i), exponential<T>(log_ratio),
                                             access.load(in.mean + at + i), load(prior.mean.get() + offset + i),
                                             load(prior.precision.get() + offset + i));
        if (out.mean != nullptr) access.store(out.mean + at + i, gradient.mean);
        if (out.log_var != nullptr) access.store(out.log_var + at + i, gradient.log_var);
        if (has_prior) sums.add(offset + i, -gradient.mean, gradient.prior_log_var, in_cache(access));
      };
      over_vectors_to<T>(pairs * M, large && can_stream(out.mean, at) && can_stream(out.log_var, at), element);
    }
    sums.end_tile(partial);
  }
  if (large) finish_streaming();
  sums.flush(partial);
}

template <class R, int V>
void shared_kl_blocks(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, Computed<R>* kl, int64_t begin,
                      int64_t end) {
  using T = Computed<R>;
  constexpr int64_t B = ROWS<T, V>;
  const int64_t K = in.K, M = in.M;
  const Buffer<T> mean(M * B), log_var(M * B), result(K * B);
  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    transpose_in<T, V>(in.mean + row * M, count, M, mean.get());
    transpose_in<T, V>(in.log_var + row * M, count, M, log_var.get());
    for (int64_t k = 0; k < K; ++k) {
      Vec<T> sum[V] = {}, part[V] = {};
      for (int64_t m = 0; m < M; ++m) {
        const int64_t at = k * M + m;
        const Vec<T> p_mean = broadcast(prior.mean[at]), p_precision = broadcast(prior.precision[at]);
        for (int v = 0; v < V; ++v) {
          const Vec<T> log_ratio = load(log_var.get() + m * B + v * LANES<T>) - prior.log_var[at];
          part[v] += twice_kl<T>(log_ratio, exponential<T>(log_ratio), load(mean.get() + m * B + v * LANES<T>), p_mean,
                                 p_precision);
        }
        if (m % DIMENSIONS_GROUP == DIMENSIONS_GROUP - 1 || m == M - 1) move_vectors(part, V, sum);
      }
      for (int v = 0; v < V; ++v) store(result.get() + k * B + v * LANES<T>, T(0.5) * sum[v]);
    }
    transpose_out<T, V>(result.get(), count, K, kl + row * K);
  }
}

template <class R, int V>
void shared_kl_backward_blocks(const KlInputs<R> in, const PriorTable<Computed<R>>& prior, const Computed<R>* by_kl,
                               const KlGradients<R> out, const Partial& partial, int64_t begin, int64_t end) {
  using T = Computed<R>;
  constexpr int64_t B = ROWS<T, V>;
  const int64_t K = in.K, M = in.M;
  const Buffer<T> mean(M * B), log_var(M * B), weight(K * B);
  const Buffer<T> d_mean(M * B), d_log_var(M * B);
  Cascade<T> mean_sums(M * B, K), log_var_sums(M * B, K);
  const bool has_latent = out.has_latent(), has_prior = out.has_prior();
  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    transpose_in<T, V>(in.mean + row * M, count, M, mean.get());
    transpose_in<T, V>(in.log_var + row * M, count, M, log_var.get());
    transpose_in<T, V>(by_kl + row * K, count, K, weight.get());
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t m = 0; m < M; ++m) {
        const int64_t at = k * M + m;
        const Vec<T> p_mean = broadcast(prior.mean[at]), p_precision = broadcast(prior.precision[at]);
        Vec<T> by_mean{}, by_log_var{};
        for (int64_t r = 0; r < B; r += LANES<T>) {
          const int64_t i = m * B + r;
          const Vec<T> log_ratio = load(log_var.get() + i) - prior.log_var[at];
          const auto gradient = kl_gradient<T>(load(weight.get() + k * B + r), exponential<T>(log_ratio),
                                               load(mean.get() + i), p_mean, p_precision);
          if (has_latent) {
            store(mean_sums.part() + i, load(mean_sums.part() + i) + gradient.mean);
            store(log_var_sums.part() + i, load(log_var_sums.part() + i) + gradient.log_var);
          }
          by_mean -= gradient.mean;
          by_log_var += gradient.prior_log_var;
        }
        if (!has_prior) continue;
        partial.mean[at] += sum_lanes<T>(by_mean);
        partial.spread[at] += sum_lanes<T>(by_log_var);
      }
      mean_sums.end_term();
      log_var_sums.end_term();
    }
    mean_sums.finish(d_mean.get());
    log_var_sums.finish(d_log_var.get());
    if (out.mean != nullptr) transpose_out<T, V>(d_mean.get(), count, M, out.mean + row * M);
    if (out.log_var != nullptr) transpose_out<T, V>(d_log_var.get(), count, M, out.log_var + row * M);
  }
}
