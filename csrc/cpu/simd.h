// Vectors of one instruction set. The compiler's vector types do the arithmetic, and this file adds the rest.
// Each instruction set includes it inside its own namespace; DEEPMIX_VECTOR_BYTES is the width of its registers.

template <class T>
struct VectorOf;

template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(DEEPMIX_VECTOR_BYTES)));
  typedef uint32_t Bits __attribute__((vector_size(DEEPMIX_VECTOR_BYTES)));
};

template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(DEEPMIX_VECTOR_BYTES)));
  typedef uint64_t Bits __attribute__((vector_size(DEEPMIX_VECTOR_BYTES)));
};

template <>
struct VectorOf<BFloat16> : VectorOf<float> {
  typedef uint16_t Halves __attribute__((vector_size(DEEPMIX_VECTOR_BYTES / 2)));
};

/// A vector of T; for bfloat16, of as many floats, because kernels compute with those.
template <class T>
using Vec = typename VectorOf<T>::Type;

template <class T>
constexpr int64_t LANES = DEEPMIX_VECTOR_BYTES / static_cast<int64_t>(sizeof(T));

template <class T>
DEEPMIX_INLINE Vec<T> broadcast(T value) {
  return value - Vec<T>{};  // the compiler must compute value + 0, which turns -0 into 0, but can skip value - 0
}

template <class T>
DEEPMIX_INLINE Vec<T> load(const T* from) {
  Vec<T> value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <class T>
DEEPMIX_INLINE void store(T* to, Vec<T> value) {
  std::memcpy(to, &value, sizeof(value));
}

/// Load bfloat16 numbers as floats.
DEEPMIX_INLINE Vec<float> load(const BFloat16* from) {
  VectorOf<BFloat16>::Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(halves, VectorOf<float>::Bits) << 16);
}

/// Round floats to bfloat16, as BFloat16 does one of them.
DEEPMIX_INLINE VectorOf<BFloat16>::Halves to_bfloat16(Vec<float> value) {
  using Bits = VectorOf<float>::Bits;
  const Bits bits = reinterpret_cast<Bits>(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Bits result = value == value ? rounded : Bits{} + BFloat16::QUIET_NAN;
  return __builtin_convertvector(result, VectorOf<BFloat16>::Halves);
}

DEEPMIX_INLINE void store(BFloat16* to, Vec<float> value) {
  const auto halves = to_bfloat16(value);
  std::memcpy(to, &halves, sizeof(halves));
}

/// Load the first `count` lanes and set the others to 0.
template <class T>
DEEPMIX_INLINE Vec<T> load_some(const T* from, int64_t count) {
  constexpr int64_t N = LANES<Computed<T>>;
  if (count >= N) return load(from);
  Computed<T> lanes[N] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes);
}

template <class T>
DEEPMIX_INLINE void store_some(T* to, Vec<T> value, int64_t count) {
  constexpr int64_t N = LANES<Computed<T>>;
  if (count >= N) return store(to, value);
  Computed<T> lanes[N];
  store(lanes, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

/// Store a vector and bypass the caches, if the instruction set can; `to` must be aligned to a whole vector.
template <class T>
DEEPMIX_INLINE void stream(T* to, Vec<T> value) {
#if DEEPMIX_VECTOR_BYTES == 64
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(value));
#elif DEEPMIX_VECTOR_BYTES == 32
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(value));
#else
  store(to, value);
#endif
}

DEEPMIX_INLINE void stream(BFloat16* to, Vec<float> value) {
#if DEEPMIX_VECTOR_BYTES == 64
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(to_bfloat16(value)));
#elif DEEPMIX_VECTOR_BYTES == 32
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(to_bfloat16(value)));
#else
  store(to, value);
#endif
}

/// Make streamed stores visible to other threads.
DEEPMIX_INLINE void finish_streaming() {
#if DEEPMIX_VECTOR_BYTES >= 32
  _mm_sfence();
#endif
}

template <class T>
DEEPMIX_INLINE T sum_lanes(Vec<T> value) {
  T lanes[LANES<T>];
  store(lanes, value);
  for (int64_t half = LANES<T> / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

/// A mask with every bit of the first `count` lanes and none of the others.
template <class T>
DEEPMIX_INLINE typename VectorOf<T>::Bits first_lanes(int64_t count) {
  typename VectorOf<T>::Bits bits{};
  for (int64_t i = 0; i < count; ++i) bits[i] = ~decltype(+bits[0]){0};
  return bits;
}

/// Keep the lanes of a mask and set the others to 0, even if they hold NaN.
template <class T>
DEEPMIX_INLINE Vec<T> keep(Vec<T> value, typename VectorOf<T>::Bits mask) {
  return reinterpret_cast<Vec<T>>(reinterpret_cast<typename VectorOf<T>::Bits>(value) & mask);
}

/// Pick the lanes numbered I, where the lanes of b are numbered after those of a.
template <std::size_t... I, class V>
DEEPMIX_INLINE V pick_lanes(V a, V b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, I...);
#else  // gcc has __builtin_shufflevector only since version 12
  using Bits = decltype(a < b);
  return __builtin_shuffle(a, b, Bits{I...});
#endif
}

/// Lanes in 16 bytes, within which shuffles are cheap.
template <class T>
constexpr int64_t GROUP = 16 / static_cast<int64_t>(sizeof(T));

/// Sum each pair of neighbouring lanes; in each group, the sums of a fill the lower half of the result, those of b the
/// upper half.
template <class T, std::size_t... I>
DEEPMIX_INLINE Vec<T> sum_lane_pairs(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
  constexpr std::size_t N = LANES<T>, G = GROUP<T>;
  return pick_lanes<(I % G < G / 2 ? I / G * G + 2 * (I % G) : N + I / G * G + 2 * (I % G) - G)...>(a, b) +
         pick_lanes<(I % G < G / 2 ? I / G * G + 2 * (I % G) + 1 : N + I / G * G + 2 * (I % G) + 1 - G)...>(a, b);
}

/// Sum each pair of neighbouring groups; the sums of a fill the lower half of the result, those of b the upper half.
template <class T, std::size_t... I>
DEEPMIX_INLINE Vec<T> sum_group_pairs(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
  constexpr std::size_t G = GROUP<T>;  // where lanes are numbered through a and b, the pairs are in order
  return pick_lanes<(I / G * 2 * G + I % G)...>(a, b) + pick_lanes<(I / G * 2 * G + G + I % G)...>(a, b);
}

/// Sum the lanes of each of LANES vectors, pair by pair: lane s of the result is the sum of vectors[s].
template <class T>
DEEPMIX_INLINE Vec<T> sum_each(Vec<T>* vectors) {
  const auto all = std::make_index_sequence<LANES<T>>();
  int64_t n = LANES<T>;
  for (int64_t size = 1; size < GROUP<T>; size *= 2, n /= 2)
    for (int64_t i = 0; i < n; i += 2) vectors[i / 2] = sum_lane_pairs<T>(vectors[i], vectors[i + 1], all);
  for (; n > 1; n /= 2)
    for (int64_t i = 0; i < n; i += 2) vectors[i / 2] = sum_group_pairs<T>(vectors[i], vectors[i + 1], all);
  return vectors[0];
}

template <class T>
DEEPMIX_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;
}

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  static constexpr float HIGHEST = 88.7228394f, LOWEST = -86.9f;  // e^x is infinite above HIGHEST, 0 below LOWEST
  static constexpr float ROUND = 12582912.0f;                     // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
  static constexpr int MANTISSA = 23, BIAS = 127;
  static constexpr float SERIES[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                     4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
};

template <>
struct Exponential<double> {
  static constexpr double HIGHEST = 709.782712893384, LOWEST = -708.0;
  static constexpr double ROUND = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double LN2_HIGH = 6.93145751953125e-1, LN2_LOW = 1.42860682030941723212e-6;
  static constexpr int MANTISSA = 52, BIAS = 1023;
  static constexpr double SERIES[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                      1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                      1.0 / 120,        1.0 / 24,        1.0 / 6,        0.5};
};

/// e^x to about one unit in the last place. NaN stays NaN, and results below the normal range become 0.
/// With x = n ln 2 + r and |r| <= ln 2 / 2, e^x = 2^n e^r: a polynomial gives e^r, and the exponent bits give 2^n.
template <class T>
DEEPMIX_INLINE Vec<T> exponential(Vec<T> x) {
  using E = Exponential<T>;
  using Bits = typename VectorOf<T>::Bits;
  const Vec<T> n_plus_round = x * T(1.44269504088896340736) + E::ROUND;
  const Vec<T> n = n_plus_round - E::ROUND;
  const Vec<T> r = x - n * E::LN2_HIGH - n * E::LN2_LOW;
  Vec<T> series = broadcast<T>(E::SERIES[0]);
  for (std::size_t i = 1; i < std::size(E::SERIES); ++i) series = series * r + E::SERIES[i];
  const Vec<T> mantissa = series * r * r + r + T(1);
  const Bits exponent = (reinterpret_cast<Bits>(n_plus_round) + (E::BIAS - 1)) << E::MANTISSA;  // 2^(n - 1)
  const Vec<T> value = mantissa * reinterpret_cast<Vec<T>>(exponent) * T(2);
  const Vec<T> value_or_zero = x < broadcast<T>(E::LOWEST) ? Vec<T>{} : value;
  return x > broadcast<T>(E::HIGHEST) ? broadcast<T>(std::numeric_limits<T>::infinity()) : value_or_zero;
}

template <class T>
struct Logarithm;

template <>
struct Logarithm<float> {
  static constexpr uint32_t ROOT_HALF = 0x3f3504f3, INTEGERS = 0x4b000000;  // bits of sqrt(1/2), 2^23
  static constexpr int TERMS = 5;
};

template <>
struct Logarithm<double> {
  static constexpr uint64_t ROOT_HALF = 0x3fe6a09e667f3bcd, INTEGERS = 0x4330000000000000;  // bits of sqrt(1/2), 2^52
  static constexpr int TERMS = 11;
};

/// log x to about two units in the last place, for x = 0 and for positive x not below the normal range.
/// With x = 2^n m, sqrt(1/2) <= m < sqrt(2) and s = (m - 1) / (m + 1), log x = n log 2 + 2 artanh s, a series in s.
template <class T>
DEEPMIX_INLINE Vec<T> logarithm(Vec<T> x) {
  using E = Exponential<T>;
  using L = Logarithm<T>;
  using Bits = typename VectorOf<T>::Bits;
  using Bit = decltype(L::ROOT_HALF);
  const Bits bits = reinterpret_cast<Bits>(x);
  const Bits exponent = (bits + ((Bit{E::BIAS} << E::MANTISSA) - L::ROOT_HALF)) >> E::MANTISSA;  // n + BIAS
  const Vec<T> n = reinterpret_cast<Vec<T>>(exponent | L::INTEGERS) - (T(Bit{1} << E::MANTISSA) + E::BIAS);
  const Vec<T> m = reinterpret_cast<Vec<T>>(bits - ((exponent - E::BIAS) << E::MANTISSA));
  const Vec<T> s = (m - T(1)) / (m + T(1)), square = s * s;
  Vec<T> series = broadcast<T>(T(2) / (2 * L::TERMS + 1));
  for (int i = L::TERMS - 1; i > 0; --i) series = series * square + T(2) / (2 * i + 1);
  const Vec<T> value = n * E::LN2_HIGH + (n * E::LN2_LOW + s * square * series + T(2) * s);
  const Vec<T> infinity = broadcast<T>(std::numeric_limits<T>::infinity());
  const Vec<T> of_zero = x == Vec<T>{} ? -infinity : value;
  return x < infinity ? of_zero : x;  // NaN stays NaN
}

/// Access to whole vectors, for `over_vectors`.
struct Whole {
  template <class T>
  DEEPMIX_INLINE Vec<T> load(const T* from) const { return DEEPMIX_LEVEL::load(from); }
  template <class T>
  DEEPMIX_INLINE void store(T* to, Vec<T> value) const { DEEPMIX_LEVEL::store(to, value); }
};

/// Access to whole vectors that stores past the caches.
struct Streaming {
  template <class T>
  DEEPMIX_INLINE Vec<T> load(const T* from) const { return DEEPMIX_LEVEL::load(from); }
  template <class T>
  DEEPMIX_INLINE void store(T* to, Vec<T> value) const { stream(to, value); }
};

/// Access to the part of a vector that remains at the end of an array.
struct Part {
  int64_t count;
  template <class T>
  DEEPMIX_INLINE Vec<T> load(const T* from) const { return load_some(from, count); }
  template <class T>
  DEEPMIX_INLINE void store(T* to, Vec<T> value) const { store_some(to, value, count); }
};

/// Call body(i, access) for every vector of an array of n elements.
template <class T, class Access = Whole, class Body>
DEEPMIX_INLINE void over_vectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + LANES<T> <= n; i += LANES<T>) body(i, Access{});
  if (i < n) body(i, Part{n - i});
}

/// The same access for arrays that stay in cache: it never bypasses them.
DEEPMIX_INLINE Whole in_cache(Whole) { return {}; }
DEEPMIX_INLINE Whole in_cache(Streaming) { return {}; }
DEEPMIX_INLINE Part in_cache(Part part) { return part; }
