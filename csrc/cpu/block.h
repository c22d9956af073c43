// Blocks of rows, with one row per SIMD lane. They serve latents that all components share: the work there is
// N x K x M, but the arrays are only (N, M). A block holds V vectors, that is B = V * LANES rows.

template <class T, int V>
constexpr int64_t ROWS = V * LANES<T>;

/// Number of rows in the block that starts at `row`; the last block can be incomplete.
template <class T, int V>
DEEPMIX_INLINE int64_t block_rows(int64_t row, int64_t end) {
  return std::min(ROWS<T, V>, end - row);
}

/// In every run of 2 D lanes, swap the upper half of `a` with the lower half of `b`.
template <std::size_t D, class V, std::size_t... I>
DEEPMIX_INLINE void swap_lanes(V& a, V& b, std::index_sequence<I...>) {
  constexpr std::size_t S = sizeof...(I);
  const V first = pick_lanes<((I & D) == 0 ? I : S + I - D)...>(a, b);
  b = pick_lanes<((I & D) == 0 ? I + D : S + I)...>(a, b);
  a = first;
}

/// Transpose a square of vectors: swap its halves, then the halves of those. It is unrolled to stay in registers.
template <std::size_t D, std::size_t S, class V, std::size_t... I>
DEEPMIX_INLINE void swap_halves(V (&square)[S], std::index_sequence<I...> all) {
  if constexpr (D > 0) {
    (((I & D) == 0 ? swap_lanes<D>(square[I], square[(I + D) % S], all) : void()), ...);
    swap_halves<D / 2>(square, all);
  }
}

template <class T, std::size_t... I>
DEEPMIX_INLINE void transpose_square(const T* from, int64_t from_stride, T* to, int64_t to_stride,
                                     std::index_sequence<I...> all) {
  constexpr std::size_t S = sizeof...(I);
  typedef T Square __attribute__((vector_size(S * sizeof(T))));
  typedef Square Unaligned __attribute__((aligned(sizeof(T)), may_alias));
  Square square[S] = {*reinterpret_cast<const Unaligned*>(from + I * from_stride)...};
  swap_halves<S / 2>(square, all);
  ((*reinterpret_cast<Unaligned*>(to + I * to_stride) = square[I]), ...);
}

/// Transpose (rows, columns) into (columns, rows) by S x S squares; the last square of a side overlaps the one before.
template <class T, int64_t S = LANES<T>>
void transpose(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to, int64_t to_stride) {
  if constexpr (S == 1) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  } else {
    if (rows < S || columns < S)
      return transpose<T, S / 2>(from, from_stride, rows, columns, to, to_stride);
    for (int64_t next_row = 0; next_row < rows; next_row += S) {
      const int64_t i = std::min(next_row, rows - S);
      for (int64_t next_column = 0; next_column < columns; next_column += S) {
        const int64_t j = std::min(next_column, columns - S);
        transpose_square(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride,
                         std::make_index_sequence<S>());
      }
    }
  }
}

/// Read (count, width) from memory into a (width, B) block; missing rows become 0.
template <class T, int V>
void transpose_in(const T* rows, int64_t count, int64_t width, T* block) {
  constexpr int64_t B = ROWS<T, V>;
  if (count < B) std::fill_n(block, width * B, T(0));
  transpose(rows, width, count, width, block, B);
}

/// Write a (width, B) block to memory as (count, width).
template <class T, int V>
void transpose_out(const T* block, int64_t count, int64_t width, T* rows) {
  transpose(block, ROWS<T, V>, width, count, rows, width);
}

/// The same for rows in bfloat16, which are computed in float.
template <class T, int V>
void transpose_in(const BFloat16* rows, int64_t count, int64_t width, T* block) {
  const Buffer<T> widened(count * width);
  over_vectors<T>(count * width, [&](int64_t i, auto access) {
    access.store(widened.get() + i, access.load(rows + i));
  });
  transpose_in<T, V>(widened.get(), count, width, block);
}

template <class T, int V>
void transpose_out(const T* block, int64_t count, int64_t width, BFloat16* rows) {
  const Buffer<T> wide(count * width);
  transpose_out<T, V>(block, count, width, wide.get());
  over_vectors<T>(count * width, [&](int64_t i, auto access) { access.store(rows + i, access.load(wide.get() + i)); });
}

/// Length of the partial sums in a sum of n terms: two short sums round less than one long sum.
inline int64_t group_size(int64_t n) {
  return std::max<int64_t>(16, static_cast<int64_t>(std::sqrt(static_cast<double>(n))));
}

constexpr int64_t DIMENSIONS_GROUP = 16;  // length of the partial sums in a sum over M

/// End of the group that contains dimension m.
DEEPMIX_INLINE int64_t group_end(int64_t m, int64_t M) {
  return std::min(M, (m / DIMENSIONS_GROUP + 1) * DIMENSIONS_GROUP);
}

/// Add vectors to others, then set them to 0.
template <class V>
DEEPMIX_INLINE void move_vectors(V* from, int count, V* to) {
  for (int v = 0; v < count; ++v) {
    to[v] += from[v];
    from[v] = V{};
  }
}

/// Sums many arrays one after another: 16 arrays, then 16 of those sums, and so on, so that no sum is long.
template <class T>
class Cascade {
 public:
  Cascade(int64_t size, int64_t terms) : size_(size) {
    for (int64_t n = terms; n > FAN; n /= FAN) ++levels_;
    sums_ = Buffer<T>(levels_ * size);
    std::fill_n(sums_.get(), levels_ * size, T(0));
  }

  /// The caller adds the next array to this one, then calls `end_term`.
  T* part() const { return sums_.get(); }

  void end_term() {
    ++count_;
    int64_t full = count_;
    for (int level = 0; level + 1 < levels_ && full % FAN == 0; ++level, full /= FAN) carry(level);
  }

  /// Write the total and start again from 0.
  void finish(T* total) {
    for (int level = 0; level + 1 < levels_; ++level) carry(level);
    T* top = sums_.get() + (levels_ - 1) * size_;
    std::copy_n(top, size_, total);
    std::fill_n(top, size_, T(0));
    count_ = 0;
  }

 private:
  static constexpr int64_t FAN = 16;

  void carry(int level) {
    T *from = sums_.get() + level * size_, *to = from + size_;
    for (int64_t i = 0; i < size_; i += LANES<T>) {
      store(to + i, load(to + i) + load(from + i));
      store(from + i, Vec<T>{});
    }
  }

  int64_t size_, count_ = 0;
  int levels_ = 1;
  Buffer<T> sums_;
};

/// Sum one row of a block over its B lanes.
template <class T, int V>
DEEPMIX_INLINE T sum_rows(const T* block) {
  Vec<T> sum = load(block);
  for (int v = 1; v < V; ++v) sum += load(block + v * LANES<T>);
  return sum_lanes<T>(sum);
}

/// Normalise (K, B) log-probabilities u in place: log_normalizer = log sum_k exp(u_k), (B), and
/// log_q_k = u_k - log_normalizer.
template <class T, int V>
void normalize_block(T* log_q, int64_t K, T* log_normalizer) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t group = group_size(K);
  for (int v = 0; v < V; ++v) {
    T* lane = log_q + v * LANES<T>;
    Vec<T> highest = load(lane);
    for (int64_t k = 1; k < K; ++k) highest = larger<T>(load(lane + k * B), highest);
    const Vec<T> infinity = broadcast(std::numeric_limits<T>::infinity());
    highest = highest == infinity ? Vec<T>{} : highest;  // like torch.logsumexp: if all u_k are -inf, so is the result
    highest = highest == -infinity ? Vec<T>{} : highest;
    Vec<T> sum{};
    for (int64_t first = 0; first < K; first += group) {
      Vec<T> part{};
      for (int64_t k = first; k < std::min(K, first + group); ++k) part += exponential<T>(load(lane + k * B) - highest);
      sum += part;
    }
    const Vec<T> log_sum = logarithm<T>(sum);
    for (int64_t k = 0; k < K; ++k) store(lane + k * B, load(lane + k * B) - highest - log_sum);
    store(log_normalizer + v * LANES<T>, highest + log_sum);
  }
}

/// Gradients of a block, each (K, B): of the log-ratios u_k, of each sample's log p(z|y_k) and of log_q.
template <class T>
struct BlockWeights {
  Buffer<T> ratio, prior, by_log_q;

  explicit BlockWeights(int64_t size) : ratio(size), prior(size), by_log_q(size) {}
};

/// Fill a block's weights (see `normalizer_gradient`). `ratio_sum`, (B), becomes the sum of `ratio` over components,
/// which is the normaliser's gradient: the gradients through log_q sum to 0.
template <class T, int V, class R>
void block_weights(const MixtureUpstream<R> up, int64_t row, int64_t count, int64_t K, T sample_weight,
                   const BlockWeights<T>& weights, T* ratio_sum) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t at = row * K;
  T *ratio = weights.ratio.get(), *prior = weights.prior.get(), *by_log_q = weights.by_log_q.get();
  T by_normalizer[B] = {}, row_sum[B] = {}, correction[B];
  Cascade<T> sums(B, K);
  if (up.by_log_normalizer != nullptr) std::copy_n(up.by_log_normalizer + row, count, by_normalizer);
  if (up.by_log_q != nullptr) {
    transpose_in<T, V>(up.by_log_q + at, count, K, by_log_q);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t r = 0; r < B; ++r) sums.part()[r] += by_log_q[k * B + r];
      sums.end_term();
    }
    sums.finish(row_sum);
  } else {
    std::fill_n(by_log_q, K * B, T(0));
  }
  transpose_in<T, V>(up.log_q + at, count, K, ratio);
  if (up.by_log_prob != nullptr)
    transpose_in<T, V>(up.by_log_prob + at, count, K, prior);
  else
    std::fill_n(prior, K * B, T(0));
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t r = 0; r < B; r += LANES<T>) {
      const Vec<T> q = exponential<T>(load(ratio + k * B + r));
      store(ratio + k * B + r, q);
      store(sums.part() + r, load(sums.part() + r) + q);
    }
    sums.end_term();
  }
  sums.finish(correction);  // 1, apart from the rounding of log_q
  for (T& sum : correction) sum = T(1) / sum;
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t r = 0; r < B; r += LANES<T>) {
      const int64_t i = k * B + r;
      const Vec<T> value = normalizer_gradient<Vec<T>>(load(by_log_q + i), load(ratio + i) * load(correction + r),
                                                       load(by_normalizer + r), load(row_sum + r));
      store(ratio + i, value);
      store(prior + i, load(prior + i) + sample_weight * value);
    }
  }
  for (int64_t r = 0; r < B; ++r) ratio_sum[r] = by_normalizer[r] + T(0) * correction[r];  // NaN if the row has NaN
}
