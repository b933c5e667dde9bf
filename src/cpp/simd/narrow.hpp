// bfloat16 and int8 numbers in vectors: conversions, and products of words that hold several.
//
// A word is a float's 32 bits: two bfloat16 (the first in the low half), or four int8 (the first in
// the lowest byte). They travel as floats, so that loads, stores and layouts are those of floats.
#pragma once

#include "simd/vec.hpp"

namespace unrolled::UNROLLED_ISA {

typedef uint32_t NativeU32 __attribute__((vector_size(UNROLLED_VECTOR_BYTES)));
typedef uint16_t NativeHalfWords __attribute__((vector_size(UNROLLED_VECTOR_BYTES / 2)));
typedef uint8_t NativeBytes __attribute__((vector_size(UNROLLED_VECTOR_BYTES / 4)));

UNROLLED_INLINE NativeI32 bits_of(Vec<float> a) { return reinterpret_cast<NativeI32>(a.v); }
UNROLLED_INLINE Vec<float> of_bits(NativeI32 bits) {
  return Vec<float>(reinterpret_cast<NativeF32>(bits));
}
UNROLLED_INLINE NativeI32 broadcast_bits(int32_t bits) { return bits - NativeI32{}; }

// `a` rounded to the nearest bfloat16, ties to even, as a float. Infinities stay; a NaN stays one.
UNROLLED_INLINE Vec<float> round_bf16(Vec<float> a) {
  const NativeI32 bits = bits_of(a);
  const NativeI32 rounded = bits + 0x7fff + ((bits >> 16) & 1);
  // A NaN might overflow into zero: it is quieted and cut instead.
  const NativeI32 nan = a.v != a.v;
  return of_bits(((rounded & ~nan) | ((bits | 0x400000) & nan)) & broadcast_bits(-0x10000));
}

// Words of two bfloat16 from two vectors of floats that round_bf16 returned.
UNROLLED_INLINE Vec<float> pair_bf16(Vec<float> first, Vec<float> second) {
  return of_bits(((bits_of(first) >> 16) & 0xffff) | bits_of(second));
}
// The floats in the low halves of words, and in the high ones.
UNROLLED_INLINE Vec<float> first_bf16(Vec<float> word) { return of_bits(bits_of(word) << 16); }
UNROLLED_INLINE Vec<float> second_bf16(Vec<float> word) {
  return of_bits(bits_of(word) & broadcast_bits(-0x10000));
}

// Whether products of two bfloat16 and of four int8 are instructions (Zen 4, Cooper Lake and
// later).
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
inline constexpr bool kNarrowProducts = true;

// Adds to each lane of `sum` the product of that lane's second bfloat16 of `a` and of `b`, then
// that of the first. Subnormal numbers count as zero.
UNROLLED_INLINE void accumulate_bf16(Vec<float>& sum, Vec<float> a, Vec<float> b) {
  sum.v = _mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v));
}
#else
inline constexpr bool kNarrowProducts = false;
#endif

// Writes the upper halves of the lanes, one after the other: bfloat16 of floats that round_bf16
// returned.
UNROLLED_INLINE void store_bf16(void* to, Vec<float> a) {
  const auto halves =
      __builtin_convertvector(reinterpret_cast<NativeU32>(a.v) >> 16, NativeHalfWords);
  __builtin_memcpy(to, &halves, sizeof halves);
}

// a * scale rounded to the nearest integer, ties to even, for |a * scale| < 2^22: in all 32 bits.
UNROLLED_INLINE NativeI32 round_to_int(Vec<float> a, Vec<float> scale) {
  const Vec<float> magic(12582912.0f);  // 1.5 * 2^23: adding it leaves the integer in the low bits
  return bits_of(multiply_add(a, scale, magic)) - bits_of(magic);
}

// Writes the low bytes of the lanes, one after the other.
UNROLLED_INLINE void store_bytes(void* to, NativeI32 a) {
  const auto bytes = __builtin_convertvector(a, NativeBytes);
  __builtin_memcpy(to, &bytes, sizeof bytes);
}

// Words of four int8 from integers in -127 .. 127.
UNROLLED_INLINE Vec<float> quad_int8(NativeI32 a, NativeI32 b, NativeI32 c, NativeI32 d) {
  return of_bits((a & 255) | (b & 255) << 8 | (c & 255) << 16 | d << 24);
}

// What is added to the int8 of the left factor of accumulate_int8: the instruction takes bytes
// without a sign there. The right factor's sums have to make up for it.
inline constexpr int kInt8Bias = kNarrowProducts ? 128 : 0;

// Adds to each lane of `sum` the dot product of that lane's four int8 (biased) of `a` and int8 of
// `b`. All are in -127 .. 127, so that nothing saturates on the way: exact.
UNROLLED_INLINE void accumulate_int8(NativeI32& sum, Vec<float> a, Vec<float> b) {
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
  sum = reinterpret_cast<NativeI32>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                        reinterpret_cast<__m512i>(a.v),
                                                        reinterpret_cast<__m512i>(b.v)));
#elif defined(__AVX512BW__)
  const __m512i x = reinterpret_cast<__m512i>(a.v), y = reinterpret_cast<__m512i>(b.v);
  // |x| * (y with the sign of x): the instruction wants one factor without a sign.
  const __m512i signed_y = _mm512_mask_sub_epi8(y, _mm512_movepi8_mask(x), __m512i{}, y);
  const __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(x), signed_y);
  sum += reinterpret_cast<NativeI32>(_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
#elif defined(__AVX2__)
  const __m256i x = reinterpret_cast<__m256i>(a.v), y = reinterpret_cast<__m256i>(b.v);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
  sum += reinterpret_cast<NativeI32>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#else
  const NativeI32 x = bits_of(a), y = bits_of(b);
  sum += (x << 24 >> 24) * (y << 24 >> 24);
  sum += (x << 16 >> 24) * (y << 16 >> 24);
  sum += (x << 8 >> 24) * (y << 8 >> 24);
  sum += (x >> 24) * (y >> 24);
#endif
}

UNROLLED_INLINE Vec<float> to_float(NativeI32 a) {
  return Vec<float>(__builtin_convertvector(a, NativeF32));
}

}  // namespace unrolled::UNROLLED_ISA
