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
//   kInPlace             rows need not be prepared
//   kOnePass             a product must not be cut along k
//   words(K)             words of a packed column of length K
//   row_words(K)         words of a prepared row
//   rounded(vector)      elements in the operand's precision, still as T (not for Int8)
//   prepare(row, K, to)  copies a row of K elements in the form that `tile` reads
//   tile<NV>(a, stride, packed, K, sum)   sum[r][v] += row r of a times TV columns of a panel
// and, for packing, Column: made of the rows of the matrix that become L columns of a panel, it
// turns kGroup vectors (k, k + 1, ...) into a vector of words and `finish` stores what comes last.
#pragma once

#include "kernels/tile.hpp"
#include "simd/narrow.hpp"

namespace unrolled::UNROLLED_ISA {

template <class T>
struct Full {
  static constexpr int kGroup = 1;
  static constexpr bool kInPlace = true, kOnePass = false;
  UNROLLED_INLINE int64_t words(int64_t K) { return K; }
  UNROLLED_INLINE int64_t row_words(int64_t) { return 0; }
  UNROLLED_INLINE Vec<T> rounded(Vec<T> a) { return a; }
  UNROLLED_INLINE void prepare(const T*, int64_t, T*) {}

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const T* a, int64_t stride, const T* packed, int64_t K,
                            Vec<T> (&sum)[MR][TV]) {
    multiply_tile<NV>(a, stride, 1, packed, K, sum);
  }

  struct Column {
    UNROLLED_INLINE_MEMBER Column(const T* const*, int64_t) {}
    UNROLLED_INLINE_MEMBER Vec<T> word(const Vec<T>* k) const { return k[0]; }
    UNROLLED_INLINE_MEMBER void finish(T*) const {}
  };
};

// The bits of a packed word on all lanes.
UNROLLED_INLINE Vec<float> broadcast_word(const float* p) {
  int32_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return of_bits(broadcast_bits(bits));
}

struct Bf16 {
  static constexpr int kGroup = 2;
  static constexpr bool kInPlace = false, kOnePass = false;
  UNROLLED_INLINE int64_t words(int64_t K) { return ceil_div(K, 2); }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return ceil_div(K, 2) * 2; }

  UNROLLED_INLINE Vec<float> rounded(Vec<float> a) { return round_bf16(a); }

  // Rows stay floats: without an instruction for bfloat16 they are multiplied as such.
  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    for (int64_t k = 0; k < K; k += kLanes<float>)
      store_tail(to, k, K, round_bf16(load_tail(row, k, K)));
    if (K % 2 != 0) to[K] = 0.0f;
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const float* a, int64_t stride, const float* packed, int64_t K,
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
    UNROLLED_INLINE_MEMBER void finish(float*) const {}
  };
};

struct Int8 {
  static constexpr int kGroup = 4;
  static constexpr bool kInPlace = false, kOnePass = true;
  // The last word is the scale.
  UNROLLED_INLINE int64_t words(int64_t K) { return ceil_div(K, 4) + 1; }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return words(K); }

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
    unsigned char* bytes = reinterpret_cast<unsigned char*>(to);
    const int64_t end = 4 * ceil_div(K, 4);
    for (int64_t k = 0; k < end; k += L) {
      const NativeI32 q = round_to_int(load_tail(row, k, K), steps);
      for (int lane = 0; lane < L; ++lane)
        if (k + lane < end) bytes[k + lane] = static_cast<unsigned char>(q[lane]);
    }
    to[ceil_div(K, 4)] = most * (1.0f / 127.0f);
  }

  template <int NV, int MR, int TV>
  UNROLLED_INLINE void tile(const float* a, int64_t stride, const float* packed, int64_t K,
                            Vec<float> (&sum)[MR][TV]) {
    constexpr int L = kLanes<float>;
    NativeI32 total[MR][TV] = {};
    const int64_t count = ceil_div(K, 4);
    for (int64_t k = 0; k < count; ++k, packed += NV * L) {
      Vec<float> column[TV];
#pragma GCC unroll 8
      for (int v = 0; v < TV; ++v) column[v] = load(packed + v * L);
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        const Vec<float> value = broadcast_word(a + r * stride + k);
#pragma GCC unroll 8
        for (int v = 0; v < TV; ++v) total[r][v] = dot_int8(total[r][v], value, column[v]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < TV; ++v)
        sum[r][v] =
            multiply_add(to_float(total[r][v]),
                         load(packed + v * L) * Vec<float>(a[r * stride + count]), sum[r][v]);
  }

  struct Column {
    Vec<float> most, steps;
    UNROLLED_INLINE_MEMBER Column(const float* const* rows, int64_t K) : most(0.0f), steps(0.0f) {
      for (int lane = 0; lane < kLanes<float>; ++lane)
        if (rows[lane] != nullptr) {
          most.v[lane] = largest(rows[lane], K);
          steps.v[lane] = steps_per_unit(most.v[lane]);
        }
    }
    UNROLLED_INLINE_MEMBER Vec<float> word(const Vec<float>* k) const {
      return quad_int8(round_to_int(k[0], steps), round_to_int(k[1], steps),
                       round_to_int(k[2], steps), round_to_int(k[3], steps));
    }
    UNROLLED_INLINE_MEMBER void finish(float* to) const {
      store(to, most * Vec<float>(1.0f / 127.0f));
    }
  };
};

}  // namespace unrolled::UNROLLED_ISA
