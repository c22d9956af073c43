// One pass of EM for a Gaussian mixture, with one row per SIMD lane: the responsibilities of a block of rows stay in
// cache, and only sums leave the kernel. The moments are about the components' current means, so they don't cancel.

/// Sums of a block's rows: vectors of lanes, which move to a task's double sums before they grow long. Each component
/// has its responsibility, M first moments and M second moments or, for full covariances, M (M + 1) / 2.
template <class T>
class LaneSums {
 public:
  static constexpr int64_t MOST_ROWS = 64 * LANES<T>;  // rows that are added to the lanes before they move

  LaneSums(int64_t K, int64_t M, bool is_full)
      : K_(K), M_(M), is_full_(is_full), size_(1 + M + (is_full ? M * (M + 1) / 2 : M)), sums_(K * size_ * LANES<T>) {
    std::fill_n(sums_.get(), K * size_ * LANES<T>, T(0));
  }

  /// Whether the sums of all components would not stay in the second-level cache from one block to the next.
  bool is_large() const { return K_ * size_ * LANES<T> > SCRATCH_ELEMENTS; }

  T* of(int64_t k) const { return sums_.get() + k * size_ * LANES<T>; }

  void move_to(const Partial& total) const {
    for (int64_t k = 0; k < K_; ++k) {
      const T* from = of(k);
      const auto take = [&](double* to) {
        *to += static_cast<double>(sum_lanes<T>(load(from)));
        from += LANES<T>;
      };
      take(total.log_weight + k);
      for (int64_t m = 0; m < M_; ++m) take(total.mean + k * M_ + m);
      for (int64_t i = 0; i < M_; ++i) {
        if (!is_full_) take(total.spread + k * M_ + i);
        for (int64_t j = 0; is_full_ && j <= i; ++j) take(total.spread + (k * M_ + i) * M_ + j);
      }
    }
    std::fill_n(sums_.get(), K_ * size_ * LANES<T>, T(0));
  }

 private:
  int64_t K_, M_;
  bool is_full_;
  int64_t size_;
  Buffer<T> sums_;
};

/// |A^T d|^2 of one block, as V vectors. Two columns of A share each load of d.
template <class T, int V>
DEEPMIX_INLINE void full_distance(const T* difference, const T* cholesky, int64_t M, Vec<T>* distance) {
  constexpr int64_t B = ROWS<T, V>;
  for (int v = 0; v < V; ++v) distance[v] = Vec<T>{};
  int64_t j = 0;
  for (; j + 1 < M; j += 2) {
    Vec<T> y[V], next[V] = {};
    for (int v = 0; v < V; ++v) y[v] = cholesky[j * M + j] * load(difference + j * B + v * LANES<T>);
    for (int64_t i = j + 1; i < M; ++i) {
      const Vec<T> factor = broadcast(cholesky[i * M + j]), next_factor = broadcast(cholesky[i * M + j + 1]);
      for (int v = 0; v < V; ++v) {
        const Vec<T> d = load(difference + i * B + v * LANES<T>);
        y[v] += factor * d;
        next[v] += next_factor * d;
      }
    }
    for (int v = 0; v < V; ++v) distance[v] += y[v] * y[v] + next[v] * next[v];
  }
  for (int v = 0; j < M && v < V; ++v) {
    const Vec<T> y = cholesky[j * M + j] * load(difference + j * B + v * LANES<T>);
    distance[v] += y * y;
  }
}

/// sum_m d_m^2 / variance_m of one block, as V vectors.
template <class T, int V>
DEEPMIX_INLINE void diagonal_distance(const T* z, const T* mean, const T* precision, int64_t M, Vec<T>* distance) {
  constexpr int64_t B = ROWS<T, V>;
  for (int v = 0; v < V; ++v) distance[v] = Vec<T>{};
  for (int64_t m = 0; m < M;) {
    Vec<T> part[V] = {};
    for (const int64_t end = group_end(m, M); m < end; ++m) {
      const Vec<T> center = broadcast(mean[m]), scale = broadcast(precision[m]);
      for (int v = 0; v < V; ++v) part[v] += scaled_distance(load(z + m * B + v * LANES<T>), center, scale);
    }
    move_vectors(part, V, distance);
  }
}

/// Turn (K, B) log-probabilities u in place into responsibilities times the rows' weights, (B), and write each row's
/// log-likelihood log [exp(log_noise) + sum_k exp(u_k)], (B).
template <class T, int V>
void weigh_block(T* values, int64_t K, T log_noise, const T* row_weight, T* log_likelihood) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t group = group_size(K);
  const Vec<T> infinity = broadcast(std::numeric_limits<T>::infinity()), noise = broadcast(log_noise);
  for (int v = 0; v < V; ++v) {
    T* lane = values + v * LANES<T>;
    Vec<T> highest = noise;
    for (int64_t k = 0; k < K; ++k) highest = larger<T>(load(lane + k * B), highest);
    highest = highest == -infinity ? Vec<T>{} : highest;
    Vec<T> sum = exponential<T>(noise - highest);
    for (int64_t first = 0; first < K; first += group) {
      Vec<T> part{};
      for (int64_t k = first; k < std::min(K, first + group); ++k) {
        const Vec<T> value = exponential<T>(load(lane + k * B) - highest);
        store(lane + k * B, value);
        part += value;
      }
      sum += part;
    }
    store(log_likelihood + v * LANES<T>, highest + logarithm<T>(sum));
    const Vec<T> scale = load(row_weight + v * LANES<T>) / sum;
    for (int64_t k = 0; k < K; ++k) store(lane + k * B, load(lane + k * B) * scale);
  }
}

/// Add r d and r d^2, or r d d^T, of one block and component to its sums.
template <class T, int V, bool FULL>
DEEPMIX_INLINE void add_moments(const T* difference, const T* weight, int64_t M, T* sums) {
  constexpr int64_t B = ROWS<T, V>;
  Vec<T> r[V], total = load(sums);
  for (int v = 0; v < V; ++v) {
    r[v] = load(weight + v * LANES<T>);
    total += r[v];
  }
  store(sums, total);
  T *first = sums + LANES<T>, *second = first + M * LANES<T>;
  for (int64_t i = 0; i < M; ++i) {
    Vec<T> weighted[V], sum = load(first + i * LANES<T>);
    for (int v = 0; v < V; ++v) {
      weighted[v] = r[v] * load(difference + i * B + v * LANES<T>);
      sum += weighted[v];
    }
    store(first + i * LANES<T>, sum);
    for (int64_t j = FULL ? 0 : i; j <= i; ++j, second += LANES<T>) {
      Vec<T> product = load(second);
      for (int v = 0; v < V; ++v) product += weighted[v] * load(difference + j * B + v * LANES<T>);
      store(second, product);
    }
  }
}

template <class T, int V, bool FULL>
void statistics_blocks(const StatisticsInputs<T> in, const PriorTable<T>& prior, const Partial& partial, int64_t begin,
                       int64_t end) {
  constexpr int64_t B = ROWS<T, V>;
  const int64_t K = in.K, M = in.M;
  const LaneSums<T> sums(K, M, FULL);
  const int64_t group = sums.is_large() ? LaneSums<T>::MOST_ROWS / B : 1;  // blocks that each component's sums add
  const Buffer<T> z(group * M * B), difference(M * B), responsibility(group * K * B), constant(K);
  for (int64_t k = 0; k < K; ++k)
    constant[k] = in.log_weight[k] + (FULL ? full_constant(in.spread + k * M * M, M) : prior.constant[k]);

  int64_t n_summed = 0;
  for (int64_t row = begin; row < end; row += group * B) {
    const int64_t blocks = std::min(group, (end - row + B - 1) / B);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = row + block * B, count = block_rows<T, V>(first, end);
      T *const rows = z.get() + block * M * B, *const values = responsibility.get() + block * K * B;
      T row_weight[B] = {}, log_likelihood[B];
      if (in.row_weight != nullptr)
        std::copy_n(in.row_weight + first, count, row_weight);
      else
        std::fill_n(row_weight, count, T(1));
      transpose_in<T, V>(in.z + first * M, count, M, rows);
      for (int64_t k = 0; k < K; ++k) {
        Vec<T> distance[V];
        if constexpr (FULL) {
          center_block<T, V>(rows, in.mean + k * M, M, difference.get());
          full_distance<T, V>(difference.get(), in.spread + k * M * M, M, distance);
        } else {
          diagonal_distance<T, V>(rows, in.mean + k * M, prior.precision.get() + k * M, M, distance);
        }
        for (int v = 0; v < V; ++v) store(values + k * B + v * LANES<T>, constant[k] - T(0.5) * distance[v]);
      }
      weigh_block<T, V>(values, K, in.log_noise, row_weight, log_likelihood);
      for (int64_t r = 0; r < count; ++r)
        partial.log_weight[K] += static_cast<double>(row_weight[r]) * static_cast<double>(log_likelihood[r]);
    }
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t block = 0; block < blocks; ++block) {
        const T* weight = responsibility.get() + block * K * B + k * B;
        if (sum_rows<T, V>(weight) == T(0)) continue;  // no row of the block is near this component
        center_block<T, V>(z.get() + block * M * B, in.mean + k * M, M, difference.get());
        add_moments<T, V, FULL>(difference.get(), weight, M, sums.of(k));
      }
    }
    n_summed += group * B;
    if (n_summed >= LaneSums<T>::MOST_ROWS || row + group * B >= end) {
      sums.move_to(partial);
      n_summed = 0;
    }
  }
}
