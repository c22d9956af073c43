// Gaussians with full covariances (A A^T)^-1 and one latent for all components:
// log N(z; mu, (A A^T)^-1) = sum_j log A_jj - M/2 log 2 pi - 1/2 |y|^2 with y = A^T (z - mu).

/// sum_j log A_jj - M/2 log 2 pi.
template <class T>
T full_constant(const T* cholesky, int64_t M) {
  double sum = 0;
  for (int64_t m = 0; m < M; ++m) sum += std::log(static_cast<double>(cholesky[m * M + m]));
  return static_cast<T>(sum - 0.5 * static_cast<double>(M) * LOG_2PI);
}

/// z - mu for one block, (M, B).
template <class T, int V>
DEEPMIX_INLINE void center_block(const T* z, const T* mean, int64_t M, T* difference) {
  constexpr int64_t B = ROWS<T, V>;
  for (int64_t m = 0; m < M; ++m)
    for (int64_t r = 0; r < B; r += LANES<T>) store(difference + m * B + r, load(z + m * B + r) - mean[m]);
}

/// y_j = sum_{i >= j} A_ij (z_i - mu_i) for one block, as V vectors.
template <class T, int V>
DEEPMIX_INLINE void project_block(const T* difference, const T* cholesky, int64_t j, int64_t M, Vec<T>* y) {
  Vec<T> part[V] = {};
  for (int v = 0; v < V; ++v) y[v] = Vec<T>{};
  for (int64_t i = j; i < M; move_vectors(part, V, y)) {
    for (const int64_t end = group_end(i, M); i < end; ++i) {
      const Vec<T> factor = broadcast(cholesky[i * M + j]);
      for (int v = 0; v < V; ++v) part[v] += factor * load(difference + i * ROWS<T, V> + v * LANES<T>);
    }
  }
}

template <class T, int V>
void full_forward_blocks(const FullInputs<T> in, const MixtureOutputs<T> out, int64_t begin, int64_t end) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t K = in.K, M = in.M;
  const Buffer<T> z(M * B), difference(M * B), log_prob(K * B), ratio(K * B), constant(K);
  for (int64_t k = 0; k < K; ++k) constant[k] = full_constant(in.precision_cholesky + k * M * M, M);

  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    T log_normalizer[B];
    transpose_in<T, V>(in.z + row * M, count, M, z.get());
    for (int64_t k = 0; k < K; ++k) {
      center_block<T, V>(z.get(), in.mean + k * M, M, difference.get());
      Vec<T> distance[V] = {}, part[V] = {};
      for (int64_t j = 0; j < M; ++j) {
        Vec<T> y[V];
        project_block<T, V>(difference.get(), in.precision_cholesky + k * M * M, j, M, y);
        for (int v = 0; v < V; ++v) part[v] += y[v] * y[v];
        if (j % DIMENSIONS_GROUP == DIMENSIONS_GROUP - 1 || j == M - 1) move_vectors(part, V, distance);
      }
      for (int v = 0; v < V; ++v) {
        const Vec<T> value = constant[k] - T(0.5) * distance[v];
        store(log_prob.get() + k * B + v * LANES<T>, value);
        store(ratio.get() + k * B + v * LANES<T>, value + in.log_weight[k]);
      }
    }
    transpose_out<T, V>(log_prob.get(), count, K, out.log_prob + row * K);
    normalize_block<T, V>(ratio.get(), K, log_normalizer);
    transpose_out<T, V>(ratio.get(), count, K, out.log_q + row * K);
    std::copy_n(log_normalizer, count, out.log_normalizer + row);
  }
}

/// With the weight w = by_log_prob + ratio of each pair, the derivatives are -w A y with respect to z, w A y to mu, and
/// -w y_j (z_i - mu_i) + [i = j] w / A_jj to A_ij.
template <class T, int V>
void full_backward_blocks(const FullInputs<T> in, const MixtureUpstream<T> up, const FullGradients<T> out,
                          const Partial& partial, int64_t begin, int64_t end) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t K = in.K, M = in.M;
  const BlockWeights<T> weights(K * B);
  const Buffer<T> z(M * B), difference(M * B), d_difference(M * B), d_z(M * B);
  Cascade<T> z_sums(M * B, K);
  std::fill_n(d_difference.get(), M * B, T(0));
  const bool needs_difference = out.z != nullptr || out.mean != nullptr;
  const bool needs_factor = out.precision_cholesky != nullptr;

  for (int64_t row = begin; row < end; row += B) {
    const int64_t count = block_rows<T, V>(row, end);
    T ratio_sum[B];
    block_weights<T, V>(up, row, count, K, T(1), weights, ratio_sum);
    transpose_in<T, V>(in.z + row * M, count, M, z.get());
    for (int64_t k = 0; k < K; ++k) {
      const T* cholesky = in.precision_cholesky + k * M * M;
      const T* weight = weights.prior.get() + k * B;
      double* d_cholesky = partial.spread + k * M * M;
      if (out.log_weight != nullptr) partial.log_weight[k] += sum_rows<T, V>(weights.ratio.get() + k * B);
      if (!needs_difference && !needs_factor) continue;
      center_block<T, V>(z.get(), in.mean + k * M, M, difference.get());
      const T weight_sum = sum_rows<T, V>(weight);
      for (int64_t j = 0; j < M; ++j) {
        Vec<T> y[V];
        project_block<T, V>(difference.get(), cholesky, j, M, y);
        for (int v = 0; v < V; ++v) y[v] *= load(weight + v * LANES<T>);
        for (int64_t i = j; i < M; ++i) {
          Vec<T> by_factor{};
          for (int v = 0; v < V; ++v) {
            const int64_t at = i * B + v * LANES<T>;
            by_factor -= y[v] * load(difference.get() + at);
            if (needs_difference)
              store(d_difference.get() + at, load(d_difference.get() + at) - cholesky[i * M + j] * y[v]);
          }
          if (needs_factor) d_cholesky[i * M + j] += sum_lanes<T>(by_factor);
        }
        if (needs_factor) d_cholesky[j * M + j] += weight_sum / cholesky[j * M + j];
      }
      for (int64_t m = 0; out.mean != nullptr && m < M; ++m)
        partial.mean[k * M + m] -= sum_rows<T, V>(d_difference.get() + m * B);
      for (int64_t i = 0; i < M * B; i += LANES<T>) {
        store(z_sums.part() + i, load(z_sums.part() + i) + load(d_difference.get() + i));
        store(d_difference.get() + i, Vec<T>{});
      }
      z_sums.end_term();
    }
    z_sums.finish(d_z.get());
    if (out.z != nullptr) transpose_out<T, V>(d_z.get(), count, M, out.z + row * M);
  }
}
