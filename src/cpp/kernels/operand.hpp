// In which numbers a product multiplies. An operand says how the packed matrix and the rows beside
// it are stored; sums, biases and results are T for all of them.
//
//   Full<T>  both in T; rows are used where they lie
//   Bf16     both rounded to bfloat16; the matrix in words of two
//   Int8     both in int8 with one scale a row: of the matrix when it is packed, of the others when
//            they are prepared (dynamic quantisation). Sums are exact integers.
//
// Each has
//   kGroup               elements of a packed column that share a word of the size of T
//   kRowGroup            the same of a prepared row
//   kOuterGroup          rows that share a word of an outer product (not for Int8)
//   kInPlace             rows need not be prepared
//   kRoundedInPlace      rows of `rounded` elements need not be prepared
//   kOnePass             a product must not be cut along k
//   kTileRegisters       sums are made by `tiles` and not by `tile`; see kernels/tile_registers.hpp
//   kInParts             elements become parts; see kernels/split.hpp
//   begin(), end()       what a thread calls before its products and after them
//   depth(K)             elements of a packed column or a prepared row, K with its filling
//   words(K)             words of a packed column of length K
//   row_words(K)         words of a prepared row
//   rounded(vector)      elements in the operand's precision, still as T (not for Int8)
//   prepare(row, K, to)  copies a row of K elements in the form that `tile` reads
//   outer_depth(rows)    rows of an outer product with their filling (not for Int8)
//   outer_word(rows)     a vector of words of kOuterGroup vectors of rows (not for Int8)
//   strip_words(rows)    words of a column of X's copy in an outer product (not for Int8)
//   tile<NV>(a, stride, packed, K, sum, ahead)
//                        sum[r][v] += row r of a times TV columns of a panel
//   outer_tile<NV>(a, row stride, k stride, packed, count, sum)
//                        the same of `count` outer words
// and, for packing, Column: made of the rows of the matrix that become L columns of a panel, it
// turns kGroup vectors (k, k + 1, ...) into a vector of words and `finish` stores what comes last.
#pragma once

#include "kernels/tile.hpp"
#include "simd/narrow.hpp"

namespace unrolled::UNROLLED_ISA {

template <class T>
struct Full {
  static constexpr int kGroup = 1, kRowGroup = 1, kOuterGroup = 1;
  static constexpr bool kInPlace = true, kRoundedInPlace = true, kOnePass = false;
  static constexpr bool kTileRegisters = false, kInParts = false;
  UNROLLED_INLINE void begin() {}
  UNROLLED_INLINE void end() {}
  UNROLLED_INLINE int64_t depth(int64_t K) { return K; }
  UNROLLED_INLINE int64_t words(int64_t K) { return K; }
  UNROLLED_INLINE int64_t row_words(int64_t) { return 0; }
  UNROLLED_INLINE Vec<T> rounded(Vec<T> a) { return a; }
  UNROLLED_INLINE void prepare(const T*, int64_t, T*) {}
  UNROLLED_INLINE int64_t outer_depth(int64_t rows) { return rows; }
  UNROLLED_INLINE int64_t strip_words(int64_t rows) { return rows; }
  UNROLLED_INLINE Vec<T> outer_word(const Vec<T>* rows) { return rows[0]; }
  template <int NV, int MR, int TV>
  UNROLLED_INLINE void outer_tile(const T* a, int64_t row_stride, int64_t k_stride, const T* packed,
                                  int64_t count, Vec<T> (&sum)[MR][TV]) {
    multiply_tile<NV>(a, row_stride, k_stride, packed, count, sum);
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const T* a, int64_t stride, const T* packed, int64_t K,
                            Vec<T> (&sum)[MR][TV], Ahead ahead) {
    multiply_tile<NV>(a, stride, 1, packed, K, sum, ahead);
  }

  struct Column {
    UNROLLED_INLINE_MEMBER Column(const T* const*, int64_t) {}
    UNROLLED_INLINE_MEMBER Vec<T> word(const Vec<T>* k) const { return k[0]; }
    UNROLLED_INLINE_MEMBER void finish(T*, int64_t) const {}
  };
};

struct MultiplyBf16 {
  template <class V>
  UNROLLED_INLINE void add(V& sum, V row, V column) {
    accumulate_bf16(sum, row, column);
  }
};

// Where there are no products of bfloat16, rows stay floats, and columns become floats in the tile.
struct Bf16 {
  static constexpr int kGroup = 2, kRowGroup = kNarrowProducts ? 2 : 1, kOuterGroup = kRowGroup;
  static constexpr bool kInPlace = false, kRoundedInPlace = !kNarrowProducts, kOnePass = false;
  static constexpr bool kTileRegisters = false, kInParts = false;
  UNROLLED_INLINE void begin() {}
  UNROLLED_INLINE void end() {}
  UNROLLED_INLINE int64_t depth(int64_t K) { return words(K) * 2; }
  UNROLLED_INLINE int64_t words(int64_t K) { return ceil_div(K, 2); }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return words(K) * (2 / kRowGroup); }

  UNROLLED_INLINE Vec<float> rounded(Vec<float> a) { return round_bf16(a); }

  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    constexpr int L = kLanes<float>;
    if constexpr (kNarrowProducts) {
      int64_t k = 0;
      for (; k + L <= K; k += L) store_bf16(to + k / 2, round_bf16(load(row + k)));
      if (k == K) return;
      float last[L / 2];
      store_bf16(last, round_bf16(load_tail(row, k, K)));
      for (int64_t i = 0; i < words(K - k); ++i) to[k / 2 + i] = last[i];
    } else {
      for (int64_t k = 0; k < K; k += L) store_tail(to, k, K, round_bf16(load_tail(row, k, K)));
      if (K % 2 != 0) to[K] = 0.0f;
    }
  }

  UNROLLED_INLINE int64_t outer_depth(int64_t rows) {
    return ceil_div(rows, kOuterGroup) * kOuterGroup;
  }
  UNROLLED_INLINE int64_t strip_words(int64_t rows) { return ceil_div(rows, kOuterGroup); }
  UNROLLED_INLINE Vec<float> outer_word(const Vec<float>* rows) {
    if constexpr (kNarrowProducts)
      return pair_bf16(round_bf16(rows[0]), round_bf16(rows[1]));
    else
      return round_bf16(rows[0]);
  }
  template <int NV, int MR, int TV>
  UNROLLED_INLINE void outer_tile(const float* a, int64_t row_stride, int64_t k_stride,
                                  const float* packed, int64_t count, Vec<float> (&sum)[MR][TV]) {
    if constexpr (kNarrowProducts)
      multiply_tile<NV, MultiplyBf16>(a, row_stride, k_stride, packed, count, sum);
    else
      multiply_tile<NV>(a, row_stride, k_stride, packed, count, sum);
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const float* a, int64_t stride, const float* packed, int64_t K,
                            Vec<float> (&sum)[MR][TV], Ahead ahead) {
    if constexpr (kNarrowProducts)
      multiply_tile<NV, MultiplyBf16>(a, stride, 1, packed, words(K), sum, ahead);
    else
      float_tile<NV>(a, stride, packed, K, sum);
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void float_tile(const float* a, int64_t stride, const float* packed, int64_t K,
                                  Vec<float> (&sum)[MR][TV]) {
    constexpr int L = kLanes<float>;
    for (int64_t k = 0; k < K; k += 2, packed += NV * L) {
      Vec<float> column[TV];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 8
        for (int v = 0; v < TV; ++v) {
          const Vec<float> word = load(packed + v * L);
          column[v] = half == 0 ? first_bf16(word) : second_bf16(word);
        }
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r) {
          const Vec<float> value(a[r * stride + k + half]);
#pragma GCC unroll 8
          for (int v = 0; v < TV; ++v) accumulate(sum[r][v], value, column[v]);
        }
      }
    }
  }

  struct Column {
    UNROLLED_INLINE_MEMBER Column(const float* const*, int64_t) {}
    UNROLLED_INLINE_MEMBER Vec<float> word(const Vec<float>* k) const {
      return pair_bf16(round_bf16(k[0]), round_bf16(k[1]));
    }
    UNROLLED_INLINE_MEMBER void finish(float*, int64_t) const {}
  };
};

struct MultiplyInt8 {
  UNROLLED_INLINE void add(NativeI32& sum, Vec<float> row, Vec<float> column) {
    accumulate_int8(sum, row, column);
  }
};

struct Int8 {
  static constexpr int kGroup = 4, kRowGroup = 4;
  static constexpr bool kInPlace = false, kRoundedInPlace = true, kOnePass = true;
  static constexpr bool kTileRegisters = false, kInParts = false;
  UNROLLED_INLINE void begin() {}
  UNROLLED_INLINE void end() {}
  UNROLLED_INLINE int64_t depth(int64_t K) { return ceil_div(K, 4) * 4; }
  // The last words are the scale and what makes up for the bias of the rows.
  UNROLLED_INLINE int64_t words(int64_t K) { return ceil_div(K, 4) + (kInt8Bias != 0 ? 2 : 1); }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return ceil_div(K, 4) + 1; }

  // The largest magnitude of a row. NaN where the row holds a NaN or an infinity, so that its
  // results are NaN as well.
  UNROLLED_INLINE float largest(const float* row, int64_t K) {
    Vec<float> most(0.0f), poison(0.0f);
    for (int64_t k = 0; k < K; k += kLanes<float>) {
      const Vec<float> a = load_tail(row, k, K);
      most = max(most, max(a, -a));
      poison = multiply_add(a, Vec<float>(0.0f), poison);
    }
    return max_lane(most) + sum_lanes(poison);
  }
  UNROLLED_INLINE float steps_per_unit(float largest) {
    return largest > 1e-30f ? 127.0f / largest : 0.0f;  // below: zeros
  }

  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    constexpr int L = kLanes<float>;
    const float most = largest(row, K);
    const Vec<float> steps(steps_per_unit(most));
    const int64_t end = 4 * ceil_div(K, 4);
    for (int64_t k = 0; k < end; k += L) {
      unsigned char bytes[L];
      store_bytes(bytes, round_to_int(load_tail(row, k, K), steps) + kInt8Bias);
      __builtin_memcpy(to + k / 4, bytes, static_cast<size_t>(smaller(L, end - k)));
    }
    to[ceil_div(K, 4)] = most * (1.0f / 127.0f);
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const float* a, int64_t stride, const float* packed, int64_t K,
                            Vec<float> (&sum)[MR][TV], Ahead ahead) {
    constexpr int L = kLanes<float>;
    const int64_t count = ceil_div(K, 4);
    const float* scales = packed + count * NV * L;
    NativeI32 total[MR][TV] = {};
    if constexpr (kInt8Bias != 0)
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < TV; ++v) total[r][v] = bits_of(load(scales + (NV + v) * L));
    multiply_tile<NV, MultiplyInt8>(a, stride, 1, packed, count, total, ahead);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < TV; ++v)
        sum[r][v] =
            multiply_add(to_float(total[r][v]),
                         load(scales + v * L) * Vec<float>(a[r * stride + count]), sum[r][v]);
  }

  struct Column {
    Vec<float> most, steps;
    NativeI32 total = {};
    UNROLLED_INLINE_MEMBER Column(const float* const* rows, int64_t K) : most(0.0f), steps(0.0f) {
      for (int lane = 0; lane < kLanes<float>; ++lane)
        if (rows[lane] != nullptr) {
          most.v[lane] = largest(rows[lane], K);
          steps.v[lane] = steps_per_unit(most.v[lane]);
        }
    }
    UNROLLED_INLINE_MEMBER Vec<float> word(const Vec<float>* k) {
      const NativeI32 q[] = {round_to_int(k[0], steps), round_to_int(k[1], steps),
                             round_to_int(k[2], steps), round_to_int(k[3], steps)};
      total += q[0] + q[1] + q[2] + q[3];
      return quad_int8(q[0], q[1], q[2], q[3]);
    }
    UNROLLED_INLINE_MEMBER void finish(float* to, int64_t width) const {
      store(to, most * Vec<float>(1.0f / 127.0f));
      if constexpr (kInt8Bias != 0) store(to + width, of_bits(total * -kInt8Bias));
    }
  };
};

}  // namespace unrolled::UNROLLED_ISA
