// Vec<T>: one native vector register of float or double. Everything that differs between
// instruction sets is in this file; kernels and cells are written once on top of it.
//
// The file is compiled once per ISA, inside namespace unrolled::<isa>, so that no function that
// contains AVX code can be merged by the linker with a baseline one. For the same reason nothing
// here or in any header of an ISA unit uses STL containers, algorithms or inline std functions.
//
// Native vector types are spelled outside templates because GCC 12 ignores the vector_size
// attribute on dependent types.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__GNUC__)
#error "the kernels need the vector extension of GCC or Clang (on Windows: clang-cl)"
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define UNROLLED_VECTOR_BYTES 64
#define UNROLLED_VECTOR_REGISTERS 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define UNROLLED_VECTOR_BYTES 32
#define UNROLLED_VECTOR_REGISTERS 16
#elif defined(__aarch64__)
#define UNROLLED_VECTOR_BYTES 16
#define UNROLLED_VECTOR_REGISTERS 32
#else
#define UNROLLED_VECTOR_BYTES 16
#define UNROLLED_VECTOR_REGISTERS 16
#endif

#define UNROLLED_INLINE static inline __attribute__((always_inline))
#define UNROLLED_OUTLINE static __attribute__((noinline))
#define UNROLLED_INLINE_MEMBER inline __attribute__((always_inline))
// Behind the parameters of a lambda. Without it GCC stops inlining them in a unit of this size, and
// accumulators that go through a closure go through memory.
#define UNROLLED_INLINE_LAMBDA __attribute__((always_inline))

namespace unrolled::UNROLLED_ISA {

inline constexpr int kVectorBytes = UNROLLED_VECTOR_BYTES;
inline constexpr int kVectorRegisters = UNROLLED_VECTOR_REGISTERS;

typedef float NativeF32 __attribute__((vector_size(UNROLLED_VECTOR_BYTES)));
typedef double NativeF64 __attribute__((vector_size(UNROLLED_VECTOR_BYTES)));
typedef int32_t NativeI32 __attribute__((vector_size(UNROLLED_VECTOR_BYTES)));
typedef int64_t NativeI64 __attribute__((vector_size(UNROLLED_VECTOR_BYTES)));
typedef float LooseF32 __attribute__((vector_size(UNROLLED_VECTOR_BYTES), aligned(4), may_alias));
typedef double LooseF64 __attribute__((vector_size(UNROLLED_VECTOR_BYTES), aligned(8), may_alias));

template <class T>
struct Native;
template <>
struct Native<float> {
  using Type = NativeF32;
  using Loose = LooseF32;  // the same register in memory, aligned like a single element
  using Bits = NativeI32;
};
template <>
struct Native<double> {
  using Type = NativeF64;
  using Loose = LooseF64;
  using Bits = NativeI64;
};

template <class T>
struct Vec {
  using Scalar = T;
  static constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
  typename Native<T>::Type v;

  UNROLLED_INLINE_MEMBER Vec() = default;
  UNROLLED_INLINE_MEMBER Vec(typename Native<T>::Type native) : v(native) {}
  UNROLLED_INLINE_MEMBER Vec(T scalar) : v(scalar - typename Native<T>::Type{}) {}
};

template <class T>
inline constexpr int kLanes = Vec<T>::kLanes;

// The lane numbers 0 .. L-1 as a type, for shuffles.
template <int... lane>
struct Lanes {};
template <int count, int... lane>
struct CountLanes : CountLanes<count - 1, count - 1, lane...> {};
template <int... lane>
struct CountLanes<0, lane...> {
  using Type = Lanes<lane...>;
};
template <class T>
using LanesOf = typename CountLanes<kLanes<T>>::Type;

template <class T>
UNROLLED_INLINE Vec<T> load(const T* p) {
  return Vec<T>(*reinterpret_cast<const typename Native<T>::Loose*>(p));
}

template <class T>
UNROLLED_INLINE void store(T* p, Vec<T> a) {
  *reinterpret_cast<typename Native<T>::Loose*>(p) = a.v;
}

// The first `count` lanes (0 <= count <= lanes); the other lanes are those of `rest`. Lane by lane,
// and not inlined, where no instruction takes a mask.
template <class T>
UNROLLED_OUTLINE Vec<T> load_some(const T* p, int64_t count, Vec<T> rest = Vec<T>(T(0))) {
  Vec<T> a = rest;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane)
    if (lane < count) a.v[lane] = p[lane];
  return a;
}

template <class T>
UNROLLED_OUTLINE void store_some(T* p, Vec<T> a, int64_t count) {
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane)
    if (lane < count) p[lane] = a.v[lane];
}

#if defined(__AVX512F__)
UNROLLED_INLINE Vec<float> load_some(const float* p, int64_t count,
                                     Vec<float> rest = Vec<float>(0.0f)) {
  return Vec<float>(_mm512_mask_loadu_ps(rest.v, static_cast<__mmask16>((1u << count) - 1), p));
}
UNROLLED_INLINE void store_some(float* p, Vec<float> a, int64_t count) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), a.v);
}
UNROLLED_INLINE Vec<double> load_some(const double* p, int64_t count,
                                      Vec<double> rest = Vec<double>(0.0)) {
  return Vec<double>(_mm512_mask_loadu_pd(rest.v, static_cast<__mmask8>((1u << count) - 1), p));
}
UNROLLED_INLINE void store_some(double* p, Vec<double> a, int64_t count) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << count) - 1), a.v);
}
#elif defined(__AVX2__)
UNROLLED_INLINE __m256i first_floats(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
UNROLLED_INLINE __m256i first_doubles(int64_t count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
UNROLLED_INLINE Vec<float> load_some(const float* p, int64_t count,
                                     Vec<float> rest = Vec<float>(0.0f)) {
  const __m256i mask = first_floats(count);
  return Vec<float>(
      _mm256_blendv_ps(rest.v, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask)));
}
// Stores with a mask are slow on AMD's CPUs.
UNROLLED_INLINE void store_some(float* p, Vec<float> a, int64_t count) {
  if (count == 8) return store(p, a);
  __m128 rest = _mm256_castps256_ps128(a.v);
  if (count & 4) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(a.v, 1);
    p += 4;
  }
  if (count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (count & 1) _mm_store_ss(p, rest);
}
UNROLLED_INLINE Vec<double> load_some(const double* p, int64_t count,
                                      Vec<double> rest = Vec<double>(0.0)) {
  const __m256i mask = first_doubles(count);
  return Vec<double>(
      _mm256_blendv_pd(rest.v, _mm256_maskload_pd(p, mask), _mm256_castsi256_pd(mask)));
}
UNROLLED_INLINE void store_some(double* p, Vec<double> a, int64_t count) {
  if (count == 4) return store(p, a);
  __m128d rest = _mm256_castpd256_pd128(a.v);
  if (count & 2) {
    _mm_storeu_pd(p, rest);
    rest = _mm256_extractf128_pd(a.v, 1);
    p += 2;
  }
  if (count & 1) _mm_store_sd(p, rest);
}
#endif

// Loads and stores at column `column` of a row that is `width` long.
template <class T>
UNROLLED_INLINE Vec<T> load_tail(const T* row, int64_t column, int64_t width) {
  return column + kLanes<T> <= width ? load(row + column) : load_some(row + column, width - column);
}
template <class T>
UNROLLED_INLINE void store_tail(T* row, int64_t column, int64_t width, Vec<T> a) {
  if (column + kLanes<T> <= width)
    store(row + column, a);
  else
    store_some(row + column, a, width - column);
}

template <class T>
UNROLLED_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return Vec<T>(a.v + b.v);
}
template <class T>
UNROLLED_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return Vec<T>(a.v - b.v);
}
template <class T>
UNROLLED_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return Vec<T>(a.v * b.v);
}
template <class T>
UNROLLED_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return Vec<T>(a.v / b.v);
}
template <class T>
UNROLLED_INLINE Vec<T> operator-(Vec<T> a) {
  return Vec<T>(-a.v);
}

// a * b + c; fused where the ISA has FMA (the units are compiled with -ffp-contract=fast).
template <class T>
UNROLLED_INLINE Vec<T> multiply_add(Vec<T> a, Vec<T> b, Vec<T> c) {
  return Vec<T>(a.v * b.v + c.v);
}

// sum += a * b, fused like multiply_add, for chains that stay in registers: with the 16 of AVX2,
// GCC moves accumulators about and through memory unless the form that writes to the sum is spelled
// out.
template <class T>
UNROLLED_INLINE void accumulate(Vec<T>& sum, Vec<T> a, Vec<T> b) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    asm volatile("vfmadd231ps %2, %1, %0" : "+x"(sum.v) : "x"(a.v), "x"(b.v));
  else
    asm volatile("vfmadd231pd %2, %1, %0" : "+x"(sum.v) : "x"(a.v), "x"(b.v));
#else
  sum = multiply_add(a, b, sum);
#endif
}

// Lane-wise `a` where x > 0, else `b`; a NaN in x selects b.
template <class T>
UNROLLED_INLINE Vec<T> where_positive(Vec<T> x, Vec<T> a, Vec<T> b) {
  return Vec<T>(x.v > typename Native<T>::Type{} ? a.v : b.v);
}

// min and max keep a NaN that is in `a`: the comparison is false and `a` is returned. That is what
// the x86 instructions do with their second operand, but GCC does not use them for this by itself.
template <class T>
UNROLLED_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_min_ps(0xffff, b.v, a.v));
  else
    return Vec<T>(_mm512_maskz_min_pd(0xff, b.v, a.v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_min_ps(b.v, a.v));
  else
    return Vec<T>(_mm256_min_pd(b.v, a.v));
#else
  return Vec<T>(a.v > b.v ? b.v : a.v);
#endif
}
template <class T>
UNROLLED_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_max_ps(0xffff, b.v, a.v));
  else
    return Vec<T>(_mm512_maskz_max_pd(0xff, b.v, a.v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_max_ps(b.v, a.v));
  else
    return Vec<T>(_mm256_max_pd(b.v, a.v));
#else
  return Vec<T>(a.v < b.v ? b.v : a.v);
#endif
}

// min and max that keep a NaN of either.
template <class T>
UNROLLED_INLINE Vec<T> minimum(Vec<T> a, Vec<T> b) {
  return Vec<T>(b.v != b.v ? b.v : min(a, b).v);
}
template <class T>
UNROLLED_INLINE Vec<T> maximum(Vec<T> a, Vec<T> b) {
  return Vec<T>(b.v != b.v ? b.v : max(a, b).v);
}

// 1 / a for a normal positive `a` with a normal reciprocal. Max error: 2 ULP. NaN gives NaN.
template <class T>
UNROLLED_INLINE Vec<T> reciprocal(Vec<T> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    // 14 bits from the table and one step of Newton's method: a third of the time of a division.
    const Vec<T> r(_mm512_maskz_rcp14_ps(0xffff, a.v));
    return multiply_add(r, multiply_add(-a, r, Vec<T>(T(1))), r);
  }
#endif
  return Vec<T>(T(1)) / a;
}

template <class T>
UNROLLED_INLINE Vec<T> sqrt(Vec<T> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm512_maskz_sqrt_ps(0xffff, a.v));
  else
    return Vec<T>(_mm512_maskz_sqrt_pd(0xff, a.v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return Vec<T>(_mm256_sqrt_ps(a.v));
  else
    return Vec<T>(_mm256_sqrt_pd(a.v));
#else
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane) {
    if constexpr (sizeof(T) == 4)
      a.v[lane] = __builtin_sqrtf(a.v[lane]);
    else
      a.v[lane] = __builtin_sqrt(a.v[lane]);
  }
  return a;
#endif
}

// Lane `lane` of the result of an exchange at `distance`, as an index into (a, b); see below.
template <class T>
constexpr int exchanged_lane(int lane, int distance, bool high) {
  const bool from_b = (lane & distance) != 0;
  if (high) return from_b ? lane + kLanes<T> : lane + distance;
  return from_b ? lane - distance + kLanes<T> : lane;
}

// Exchanges between `a` and `b` the lanes that differ in bit `distance`: one stage of a transpose.
template <int distance, class T, int... lane>
UNROLLED_INLINE void exchange_lanes(Vec<T>& a, Vec<T>& b, Lanes<lane...>) {
#if __has_builtin(__builtin_shufflevector)
  const auto low = __builtin_shufflevector(a.v, b.v, exchanged_lane<T>(lane, distance, false)...);
  const auto high = __builtin_shufflevector(a.v, b.v, exchanged_lane<T>(lane, distance, true)...);
#else  // GCC before 12
  using Bits = typename Native<T>::Bits;
  const auto low = __builtin_shuffle(a.v, b.v, Bits{exchanged_lane<T>(lane, distance, false)...});
  const auto high = __builtin_shuffle(a.v, b.v, Bits{exchanged_lane<T>(lane, distance, true)...});
#endif
  a.v = low;
  b.v = high;
}

// Transposes the square of all lanes of L vectors.
template <class T, int distance = 1>
UNROLLED_INLINE void transpose(Vec<T> (&rows)[kLanes<T>]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes<T>; ++i)
    if ((i & distance) == 0) exchange_lanes<distance>(rows[i], rows[i + distance], LanesOf<T>{});
  if constexpr (2 * distance < kLanes<T>) transpose<T, 2 * distance>(rows);
}

// Sum of all lanes, in lane order: the same bits whatever the compiler does.
template <class T>
UNROLLED_INLINE T sum_lanes(Vec<T> a) {
  T total = T(0);
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane) total += a.v[lane];
  return total;
}

template <class T>
UNROLLED_INLINE T max_lane(Vec<T> a) {
  T best = a.v[0];
#pragma GCC unroll 16
  for (int lane = 1; lane < kLanes<T>; ++lane) best = a.v[lane] > best ? a.v[lane] : best;
  return best;
}

}  // namespace unrolled::UNROLLED_ISA
