// Blocks of rows with one row a SIMD lane: for latents that all components share, where the work is
// N x K x M but the arrays are only (N, M). A block holds V vectors, B = V * LANES rows.

template <class T, int V>
constexpr int64_t ROWS = V * LANES<T>;

/// Rows that exist of a block starting at `row`.
template <class T, int V>
DEEPMIX_INLINE int64_t block_rows(int64_t row, int64_t end) {
  return std::min(ROWS<T, V>, end - row);
}

/// Swap the upper of two halves of `a` with the lower of `b`, in every run of 2 D lanes.
template <std::size_t D, class V, std::size_t... I>
DEEPMIX_INLINE void swap_lanes(V& a, V& b, std::index_sequence<I...>) {
  constexpr std::size_t S = sizeof...(I);
  const V first = pick_lanes<((I & D) == 0 ? I : S + I - D)...>(a, b);
  b = pick_lanes<((I & D) == 0 ? I + D : S + I)...>(a, b);
  a = first;
}

/// Swap halves of a square of vectors, then halves of those: its transpose. Unrolled, so that it stays in registers.
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

/// (rows, columns) to (columns, rows), by squares of S elements a side; the last one of a side overlaps the one before.
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

/// (count, width) in memory to (width, B); rows that don't exist become 0.
template <class T, int V>
void transpose_in(const T* rows, int64_t count, int64_t width, T* block) {
  constexpr int64_t B = ROWS<T, V>;
  if (count < B) std::fill_n(block, width * B, T(0));
  transpose(rows, width, count, width, block, B);
}

/// (width, B) to (count, width) in memory.
template <class T, int V>
void transpose_out(const T* block, int64_t count, int64_t width, T* rows) {
  transpose(block, ROWS<T, V>, width, count, rows, width);
}

/// How many terms are summed before they join a sum of n: two short sums round less than one long one.
inline int64_t group_size(int64_t n) {
  return std::max<int64_t>(16, static_cast<int64_t>(std::sqrt(static_cast<double>(n))));
}

constexpr int64_t DIMENSIONS_GROUP = 16;  // the same for a sum over M

/// Where the group of dimension m ends.
DEEPMIX_INLINE int64_t group_end(int64_t m, int64_t M) {
  return std::min(M, (m / DIMENSIONS_GROUP + 1) * DIMENSIONS_GROUP);
}

/// Add some vectors to others and make them 0.
template <class V>
DEEPMIX_INLINE void move_vectors(V* from, int count, V* to) {
  for (int v = 0; v < count; ++v) {
    to[v] += from[v];
    from[v] = V{};
  }
}

/// Sums of many arrays, added one after another: 16 at a time, then 16 of those sums, and so on, so that
/// no sum is long.
template <class T>
class Cascade {
 public:
  Cascade(int64_t size, int64_t terms) : size_(size) {
    for (int64_t n = terms; n > FAN; n /= FAN) ++levels_;
    sums_ = Buffer<T>(levels_ * size);
    std::fill_n(sums_.get(), levels_ * size, T(0));
  }

  /// Where the next array is to be added.
  T* part() const { return sums_.get(); }

  void end_term() {
    ++count_;
    int64_t full = count_;
    for (int level = 0; level + 1 < levels_ && full % FAN == 0; ++level, full /= FAN) carry(level);
  }

  /// Write the sums and start again from 0.
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

/// Sum of a row of a block over its B lanes.
template <class T, int V>
DEEPMIX_INLINE T sum_rows(const T* block) {
  Vec<T> sum = load(block);
  for (int v = 1; v < V; ++v) sum += load(block + v * LANES<T>);
  return sum_lanes<T>(sum);
}

/// Turn (K, B) unnormalised log-probabilities into log_q in place and write the log normaliser of each row, (B).
template <class T, int V>
void normalize_block(T* log_q, int64_t K, T* log_normalizer) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t group = group_size(K);
  for (int v = 0; v < V; ++v) {
    T* lane = log_q + v * LANES<T>;
    Vec<T> highest = load(lane);
    for (int64_t k = 1; k < K; ++k) highest = larger<T>(load(lane + k * B), highest);
    const Vec<T> infinity = broadcast(std::numeric_limits<T>::infinity());
    highest = highest == infinity ? Vec<T>{} : highest;  // as torch.logsumexp: all -inf stays -inf
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

/// What a block's pairs get from upstream, (K, B): its log-ratios, and each sample's log p(z|y).
template <class T>
struct BlockWeights {
  Buffer<T> ratio, prior, upstream;

  explicit BlockWeights(int64_t size) : ratio(size), prior(size), upstream(size) {}
};

/// Fill a block's weights. `ratio_sum` (B) becomes the sum of `ratio` over components: what the normaliser gets,
/// since a gradient through log_q sums to 0.
template <class T, int V>
void block_weights(const MixtureUpstream<T> up, int64_t row, int64_t count, int64_t K, T sample_weight,
                   const BlockWeights<T>& weights, T* ratio_sum) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t at = row * K;
  T *ratio = weights.ratio.get(), *prior = weights.prior.get(), *by_log_q = weights.upstream.get();
  T by_normalizer[B] = {}, row_sum[B] = {}, correction[B];
  Cascade<T> sums(B, K);
  if (up.log_normalizer != nullptr) std::copy_n(up.log_normalizer + row, count, by_normalizer);
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
  if (up.log_prob != nullptr)
    transpose_in<T, V>(up.log_prob + at, count, K, prior);
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
  sums.finish(correction);  // 1 but for the rounding of log_q
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
  for (int64_t r = 0; r < B; ++r) ratio_sum[r] = by_normalizer[r] + T(0) * correction[r];  // NaN stays NaN
}
