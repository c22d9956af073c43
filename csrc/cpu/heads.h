// Kernels for one encoder head per component. The arrays are (N, K, M) and are read once, in memory order.
// The terms of a tile go to scratch arrays that stay in cache; their segments of length M are then summed.

constexpr int64_t PADDING = 64;  // kernels may read or write this many elements past the end of a scratch array

/// A pass that writes more than this bypasses the caches, because its results would only evict other data.
constexpr int64_t STREAMING_BYTES = int64_t{8} << 20;

template <class T>
bool is_large(int64_t arrays, int64_t size) {
  return arrays * size * static_cast<int64_t>(sizeof(T)) > STREAMING_BYTES;
}

/// Whether whole vectors of an array can bypass the caches from an offset on; a null array is not written.
template <class T>
bool can_stream(const T* array, int64_t offset) {
  constexpr std::uintptr_t VECTOR_BYTES = LANES<Computed<T>> * sizeof(T);
  return array == nullptr || reinterpret_cast<std::uintptr_t>(array + offset) % VECTOR_BYTES == 0;
}

/// Call body for every vector of results, which bypass the caches if `streaming`.
template <class T, class Body>
DEEPMIX_INLINE void over_vectors_to(int64_t n, bool streaming, const Body& body) {
  if (streaming)
    over_vectors<T, Streaming>(n, body);
  else
    over_vectors<T>(n, body);
}

/// Sum n consecutive segments of M elements each, for a short M that the compiler knows; each uses two running sums.
template <int M, class T>
DEEPMIX_INLINE void sum_short_segments(const T* terms, int64_t n, T* sums) {
  for (int64_t segment = 0; segment < n; ++segment, terms += M) {
    T even = terms[0], odd = M > 1 ? terms[1] : T(0);
#pragma GCC unroll 16
    for (int m = 2; m < M; ++m) (m % 2 == 0 ? even : odd) += terms[m];
    sums[segment] = even + odd;
  }
}

/// Sum n consecutive segments of M elements each; `sums` may be `terms`. If `Padded`, `terms` is a padded scratch
/// array; otherwise this reads nothing past its end.
template <class T, bool Padded = true>
void sum_segments(const T* terms, int64_t n, int64_t M, T* sums) {
  switch (M) {  // the usual sizes; for these, LANES segments at a time (below) would be slower
    case 1: return sum_short_segments<1>(terms, n, sums);
    case 2: return sum_short_segments<2>(terms, n, sums);
    case 4: return sum_short_segments<4>(terms, n, sums);
    case 8: return sum_short_segments<8>(terms, n, sums);
    case 10: return sum_short_segments<10>(terms, n, sums);
    default: break;
  }
  constexpr int64_t B = LANES<T>;
  const int64_t whole = M / B * B, rest = M - whole;
  const auto mask = first_lanes<T>(rest);
  const auto lanes_of = [&](const T* start) __attribute__((always_inline)) {
    Vec<T> lanes = Padded ? keep<T>(load(start + whole), mask) : load_some(start + whole, rest);
    for (int64_t m = 0; m < whole; m += B) lanes += load(start + m);
    return lanes;
  };
  int64_t segment = 0;
  for (; segment + B <= n; segment += B, terms += B * M) {
    Vec<T> lanes[B];
    for (int64_t s = 0; s < B; ++s) lanes[s] = lanes_of(terms + s * M);
    store(sums + segment, sum_each<T>(lanes));
  }
  for (; segment < n; ++segment, terms += M) sums[segment] = sum_lanes<T>(lanes_of(terms));
}

/// Write each of n values M times; this can write up to PADDING elements past the end.
template <class T>
DEEPMIX_INLINE void repeat_each(const T* values, int64_t n, int64_t M, T* to) {
  for (int64_t i = 0; i < n; ++i, to += M) {
    const Vec<T> value = broadcast(values[i]);
    for (int64_t m = 0; m < M; m += LANES<T>) store(to + m, value);
  }
}

/// Normalise rows of K log-probabilities u in place: log_normalizer = log sum_k exp(u_k) and
/// log_q_k = u_k - log_normalizer.
template <class T>
void normalize_rows(T* log_q, T* log_normalizer, int64_t rows, int64_t K, T* scratch) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* ratio = log_q + row * K;
    T highest = ratio[0];
    for (int64_t k = 1; k < K; ++k) highest = ratio[k] > highest ? ratio[k] : highest;
    if (std::isinf(highest)) highest = 0;  // like torch.logsumexp: if all u_k are -inf, so is the result
    log_normalizer[row] = highest;
    for (int64_t k = 0; k < K; ++k) log_q[row * K + k] -= highest;
  }
  over_vectors<T>(rows * K, [&](int64_t i, auto access) {
    store(scratch + i, exponential<T>(access.load(log_q + i)));
  });
  sum_segments(scratch, rows, K, scratch);
  over_vectors<T>(rows, [&](int64_t i, auto access) {
    const Vec<T> log_sum = logarithm<T>(access.load(scratch + i));
    store(scratch + i, log_sum);
    access.store(log_normalizer + i, access.load(log_normalizer + i) + log_sum);
  });
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < K; ++k) log_q[row * K + k] -= scratch[row];
}

/// log_q is normalised from u_k = log p(y_k) + 1/L sum_l [log p(z_lk|y_k) - log q(z_lk|y_k,x) + log p(x|z_lk)], or from
/// L u_k if `product`. FIXED_L is L, so that the usual loop over one sample disappears, or 0.
template <class Origin, int FIXED_L, class R>
void heads_forward(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior, const MixtureOutputs<R> out,
                   int64_t begin, int64_t end) {
  using T = Computed<R>;
  const int64_t L = FIXED_L > 0 ? FIXED_L : in.L, K = in.K, M = in.M, sample_stride = in.N * K * M;
  const Tile tile = prior.tile;
  const int64_t scratch_size = std::max(tile.pairs * M, tile.rows * K) + PADDING;
  const Buffer<T> prior_terms(scratch_size), posterior_terms(scratch_size);
  const T mean_weight = T(1) / T(L), ratio_weight = in.product ? T(L) : T(1);
  const bool large = Origin::IS_DRAWN && L == 1 && is_large<R>(1, sample_stride);

  for (int64_t row = begin; row < end; row += tile.rows) {
    const int64_t rows = std::min(tile.rows, end - row), n_pairs = rows * K;
    for (int64_t first = 0; first < n_pairs; first += tile.pairs) {
      const int64_t pairs = std::min(tile.pairs, n_pairs - first), pair = row * K + first, at = pair * M;
      const T *prior_mean = prior.mean.get() + first * M, *prior_precision = prior.precision.get() + first * M;
      const auto element = [&](int64_t i, auto access) __attribute__((always_inline)) {
        const Vec<T> mean = access.load(in.mean + at + i), log_var = access.load(in.log_var + at + i);
        const Vec<T> spread = exponential<T>(Origin::exponent(log_var)), p_mean = load(prior_mean + i);
        const Vec<T> p_precision = load(prior_precision + i);
        Vec<T> prior_distance{}, posterior_distance{};
        for (int64_t l = 0; l < L; ++l) {
          const int64_t sample = l * sample_stride + at + i;
          const Vec<T> source = access.load(in.source + sample), z = Origin::z(source, mean, spread);
          if constexpr (Origin::IS_DRAWN) access.store(out.z + sample, z);
          prior_distance += scaled_distance(z, p_mean, p_precision);
          posterior_distance += Origin::distance(source, mean, spread);
        }
        store(prior_terms.get() + i, prior_distance);
        store(posterior_terms.get() + i, posterior_distance * mean_weight + log_var);
      };
      over_vectors_to<T>(pairs * M, large && can_stream(out.z, at), element);
      sum_segments(prior_terms.get(), pairs, M, prior_terms.get());
      if (in.use_posterior) sum_segments(posterior_terms.get(), pairs, M, posterior_terms.get());
      for (int64_t p = 0, k = first; p < pairs; ++p, ++k) {
        if (k == K) k = 0;  // the next row of the tile
        const T log_prior = prior.constant[k] - T(0.5) * mean_weight * prior_terms[p];
        T ratio = in.log_weight[k] + log_prior;
        if (in.use_posterior) ratio -= log_density<T>(posterior_terms[p], T(M));
        out.log_q[pair + p] = ratio * ratio_weight;
      }
    }
    if (in.log_likelihood != nullptr) {
      const T weight = in.product ? T(1) : mean_weight;
      for (int64_t l = 0; l < L; ++l) {
        const T* log_likelihood = in.log_likelihood + (l * in.N + row) * K;
        for (int64_t p = 0; p < n_pairs; ++p) out.log_q[row * K + p] += weight * log_likelihood[p];
      }
    }
    normalize_rows(out.log_q + row * K, out.log_normalizer + row, rows, K, prior_terms.get());
  }
  if (large) finish_streaming();
}

/// Carry the upstream gradients back through the normalisation, to each pair's log-ratio (see `normalizer_gradient`).
template <class R>
void pair_weights(const MixtureUpstream<R> up, int64_t row, int64_t rows, int64_t K, Computed<R>* ratio) {
  using T = Computed<R>;
  const int64_t at = row * K;
  over_vectors<T>(rows * K, [&](int64_t i, auto access) {
    access.store(ratio + i, exponential<T>(access.load(up.log_q + at + i)));
  });
  for (int64_t r = 0; r < rows; ++r) {
    T sum = 0, q_sum = 0;
    if (up.by_log_q != nullptr) sum_segments<T, false>(up.by_log_q + at + r * K, 1, K, &sum);
    sum_segments(ratio + r * K, 1, K, &q_sum);  // 1, apart from the rounding of log_q
    const T correction = T(1) / q_sum;
    const T by_normalizer = up.by_log_normalizer != nullptr ? up.by_log_normalizer[row + r] : T(0);
    for (int64_t p = r * K; p < (r + 1) * K; ++p) {
      const T by_log_q = up.by_log_q != nullptr ? up.by_log_q[at + p] : T(0);
      ratio[p] = normalizer_gradient(by_log_q, ratio[p] * correction, by_normalizer, sum);
    }
  }
}

/// Add the rows of an array, one after another, to sums in double.
template <class T>
void fold_rows(const T* values, int64_t rows, int64_t size, double* total) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < size; ++i) total[i] += values[row * size + i];
}

/// The prior's gradients, summed tile by tile: one sum per element of a tile. After TILES_BETWEEN tiles they are added
/// to the task's sums, so that no sum in single precision is long.
template <class T>
class TileSums {
 public:
  TileSums(const Tile& tile, int64_t K, int64_t M)
      : rows_(tile.rows), size_(K * M), mean_(rows_ * size_ + PADDING), log_var_(rows_ * size_ + PADDING) {
    clear();
  }

  /// Add to a vector of both sums.
  template <class Access>
  DEEPMIX_INLINE void add(int64_t i, Vec<T> mean, Vec<T> log_var, Access access) const {
    access.store(mean_.get() + i, load(mean_.get() + i) + mean);
    access.store(log_var_.get() + i, load(log_var_.get() + i) + log_var);
  }

  void end_tile(const Partial& partial) {
    if (++tiles_ == TILES_BETWEEN) flush(partial);
  }

  void flush(const Partial& partial) {
    tiles_ = 0;
    if (partial.mean == nullptr) return;
    fold_rows(mean_.get(), rows_, size_, partial.mean);
    fold_rows(log_var_.get(), rows_, size_, partial.spread);
    clear();
  }

 private:
  static constexpr int TILES_BETWEEN = 64;

  void clear() {
    std::fill_n(mean_.get(), rows_ * size_ + PADDING, T(0));
    std::fill_n(log_var_.get(), rows_ * size_ + PADDING, T(0));
  }

  int64_t rows_, size_;
  Buffer<T> mean_, log_var_;
  int tiles_ = 0;
};

/// Each of the L samples receives the gradient of its pair's log-ratio, divided by L unless `product`.
template <class Origin, int FIXED_L, class R>
void heads_backward(const MixtureInputs<R> in, const PriorTable<Computed<R>>& prior, const MixtureUpstream<R> up,
                    const MixtureGradients<R> out, const Partial& partial, int64_t begin, int64_t end) {
  using T = Computed<R>;
  const int64_t L = FIXED_L > 0 ? FIXED_L : in.L, K = in.K, M = in.M, sample_stride = in.N * K * M;
  const Tile tile = prior.tile;
  const Buffer<T> ratio(tile.rows * K + PADDING), weight(tile.pairs * M + PADDING);
  const T sample_weight = in.product ? T(1) : T(1) / T(L);
  TileSums<T> sums(tile, K, M);
  const bool has_prior = out.has_prior(), has_elements = has_prior || out.has_latent();
  const bool large = L == 1 && out.has_latent() && is_large<R>(Origin::IS_DRAWN ? 2 : 3, sample_stride);

  for (int64_t row = begin; row < end; row += tile.rows) {
    const int64_t rows = std::min(tile.rows, end - row), n_pairs = rows * K;
    pair_weights(up, row, rows, K, ratio.get());
    if (out.log_weight != nullptr) fold_rows(ratio.get(), rows, K, partial.log_weight);
    for (int64_t p = 0; p < n_pairs; ++p) ratio[p] *= sample_weight;
    if (out.log_likelihood != nullptr) {
      for (int64_t l = 0; l < L; ++l)
        for (int64_t p = 0; p < n_pairs; ++p)
          out.log_likelihood[(l * in.N + row) * K + p] = ratio[p];
    }
    for (int64_t first = 0; has_elements && first < n_pairs; first += tile.pairs) {
      const int64_t pairs = std::min(tile.pairs, n_pairs - first), offset = first * M, at = row * K * M + offset;
      repeat_each(ratio.get() + first, pairs, M, weight.get());
      const auto element = [&](int64_t i, auto access) __attribute__((always_inline)) {
        const Vec<T> mean = access.load(in.mean + at + i), log_var = access.load(in.log_var + at + i);
        const Vec<T> spread = exponential<T>(Origin::exponent(log_var)), p_mean = load(prior.mean.get() + offset + i);
        const Vec<T> p_precision = load(prior.precision.get() + offset + i);
        const Vec<T> by_prior = load(weight.get() + i), by_posterior = in.use_posterior ? T(0) - by_prior : Vec<T>{};
        Vec<T> d_mean{}, d_log_var{}, d_prior_mean{}, d_prior_log_var{};
        for (int64_t l = 0; l < L; ++l) {
          const int64_t sample = l * sample_stride + at + i;
          const Vec<T> source = access.load(in.source + sample), z = Origin::z(source, mean, spread);
          const auto of_prior = log_density_gradient<T>(by_prior, z, p_mean, p_precision);
          Vec<T> by_z = -of_prior.mean;
          if constexpr (Origin::IS_DRAWN) {
            if (up.by_z != nullptr) by_z += access.load(up.by_z + sample);
          }
          const auto gradient = Origin::gradient(by_posterior, source, mean, spread, by_z);
          if constexpr (!Origin::IS_DRAWN) {
            if (out.z != nullptr) access.store(out.z + sample, gradient.z);
          }
          d_mean += gradient.mean;
          d_log_var += gradient.log_var;
          d_prior_mean += of_prior.mean;
          d_prior_log_var += of_prior.log_var;
        }
        if (out.mean != nullptr) access.store(out.mean + at + i, d_mean);
        if (out.log_var != nullptr) access.store(out.log_var + at + i, d_log_var);
        if (has_prior) sums.add(offset + i, d_prior_mean, d_prior_log_var, in_cache(access));
      };
      const bool fits = can_stream(out.z, at) && can_stream(out.mean, at) && can_stream(out.log_var, at);
      over_vectors_to<T>(pairs * M, large && fits, element);
    }
    sums.end_tile(partial);
  }
  if (large) finish_streaming();
  sums.flush(partial);
}
