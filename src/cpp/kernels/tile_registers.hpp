// Operands whose products are made in AMX's tile registers: sixteen rows of 64 bytes each.
//
// A packed panel is what the instruction wants as its second factor already: its words of two
// bfloat16 or four int8 stand in rows of columns. So the layouts are those of Bf16 and Int8, with K
// rounded up to whole tiles, filled with zeros. Prepared rows are read sixteen at a time, whatever
// lies behind the last one: a row of the result depends on its own row alone, and an instruction
// takes as long for one row as for all. Every tile is whole, so that one configuration serves all
// products.
//
// Each sum is made over k in ascending order, 32 bfloat16 (or 64 int8) an instruction, whatever the
// rows beside it.
#pragma once

#include "kernels/operand.hpp"

namespace unrolled::UNROLLED_ISA {

inline constexpr int kTileWords = 16;  // of 4 bytes, in a row of a tile
// Rows are an odd number of cache lines long, so that sixteen of them do not meet in one set of L1.
UNROLLED_INLINE int64_t odd_tiles(int64_t words) { return words | kTileWords; }

// Rows of a product in tile registers that share each load of its columns.
inline constexpr int64_t kTileRowsAtOnce = 2 * kOperandRows;

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)

// The compiler does not know what loads of tiles read: it may not leave out or delay what they
// need.
UNROLLED_INLINE void finish_stores() { asm volatile("" ::: "memory"); }

// Sums begin with zeros.
UNROLLED_INLINE void zero_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// All eight registers with sixteen rows of 64 bytes. The operating system has allowed their use;
// see runtime/dispatch.cpp.
struct alignas(64) TileConfiguration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
inline constexpr TileConfiguration kWholeTiles = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// Literal register numbers: the compiler wants them so.
#define UNROLLED_TILE_MULTIPLY(sum, row, column) \
  if constexpr (int8)                            \
    _tile_dpbusd(sum, row, column);              \
  else                                           \
    _tile_dpbf16ps(sum, row, column)
#define UNROLLED_TILE_COLUMN(v, column)                           \
  if constexpr (NV > v) {                                         \
    _tile_loadd(column, packed + v * kLanes<float>, kPanelBytes); \
    UNROLLED_TILE_MULTIPLY(v, 4, column);                         \
  }

// sum[r][v] = sum over k < words of row r (16 of them, `stride` words apart) times vector v of a
// panel of NV; int8 rows are without a sign. `words` are whole tiles. Tile registers 0 .. 3 hold
// the sums, 4 the rows, and 5 to 7 the columns in turns.
template <int NV, bool int8>
UNROLLED_INLINE void multiply_tile_row(const float* a, int64_t stride, const float* packed,
                                       int64_t words, Vec<float> (*sum)[NV]) {
  static_assert(NV <= 4 && sizeof(Vec<float>) == 64);
  constexpr int64_t kWidth = NV * kLanes<float>, kPanelBytes = kWidth * sizeof(float);
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
  zero_tiles();
  for (int64_t k = 0; k < words; k += kTileWords, packed += kTileWords * kWidth) {
    _tile_loadd(4, a + k, row_bytes);
    UNROLLED_TILE_COLUMN(0, 5)
    UNROLLED_TILE_COLUMN(1, 6)
    UNROLLED_TILE_COLUMN(2, 7)
    UNROLLED_TILE_COLUMN(3, 5)
  }
  _tile_stored(0, &sum[0][0], kPanelBytes);
  if constexpr (NV > 1) _tile_stored(1, &sum[0][1], kPanelBytes);
  if constexpr (NV > 2) _tile_stored(2, &sum[0][2], kPanelBytes);
  if constexpr (NV > 3) _tile_stored(3, &sum[0][3], kPanelBytes);
}

// The same of 32 rows and the first two vectors, or without `second` the first, from `packed` on.
template <int NV, bool int8, bool second, class Look>
UNROLLED_INLINE void multiply_tile_square(const float* a, int64_t stride, const float* packed,
                                          int64_t words, Vec<float> (*sum)[NV], Look& ahead) {
  constexpr int64_t kWidth = NV * kLanes<float>, kPanelBytes = kWidth * sizeof(float);
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
  const float* below = a + kOperandRows * stride;
  zero_tiles();
  for (int64_t k = 0; k < words; k += kTileWords, packed += kTileWords * kWidth) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) ahead.ask();
    _tile_loadd(4, a + k, row_bytes);
    _tile_loadd(6, packed, kPanelBytes);
    UNROLLED_TILE_MULTIPLY(0, 4, 6);
    _tile_loadd(5, below + k, row_bytes);
    UNROLLED_TILE_MULTIPLY(2, 5, 6);
    if constexpr (second) {
      _tile_loadd(7, packed + kLanes<float>, kPanelBytes);
      UNROLLED_TILE_MULTIPLY(1, 4, 7);
      UNROLLED_TILE_MULTIPLY(3, 5, 7);
    }
  }
  _tile_stored(0, &sum[0][0], kPanelBytes);
  _tile_stored(2, &sum[kOperandRows][0], kPanelBytes);
  if constexpr (second) {
    _tile_stored(1, &sum[0][1], kPanelBytes);
    _tile_stored(3, &sum[kOperandRows][1], kPanelBytes);
  }
}
#undef UNROLLED_TILE_MULTIPLY
#undef UNROLLED_TILE_COLUMN

// The same of `rows` rows, as far as whole tiles go.
template <int NV, bool int8, class Look>
UNROLLED_INLINE void multiply_tile_registers(const float* a, int64_t stride, const float* packed,
                                             int64_t words, int64_t rows,
                                             Vec<float> (&sum)[kTileRowsAtOnce][NV], Look ahead) {
  finish_stores();
  if (rows <= kOperandRows) {
    multiply_tile_row<NV, int8>(a, stride, packed, words, sum);
    return;
  }
  multiply_tile_square<NV, int8, (NV > 1)>(a, stride, packed, words, sum, ahead);
  if constexpr (NV > 2)
    multiply_tile_square<NV, int8, (NV > 3)>(a, stride, packed + 2 * kLanes<float>, words,
                                             reinterpret_cast<Vec<float>(*)[NV]>(&sum[0][2]),
                                             ahead);
}

// In place of `tile` and `outer_tile` these operands have
//   kDepth   elements along k of a pass, unless it is one: 256 rows of them are a part of L2
//   row_word(k)   where an element that begins a pass stands in a prepared row
//   Panel<NV>(packed, K, rows, parts)   a panel for `rows` rows that follow; `parts` are null, or
//                the same columns in parts, row_word(K) words each
//   tiles<NV>(a, stride, panel, rows, sum, ahead)   sum[r][v] = row r < rows times vector v
// and outer products, whose panels are K = outer_depth long, read rows that are D's transposed:
//   outer_row_words(rows)   words of such a row
//   store_outer(row, n, words)   writes to it, those from outer word n on
// In parts, store_outer takes two vectors, those from n and from n + kTileWords on, as
//   store_strip<NV>(panel, n, v, low, high)
// does, which writes to vector v of a panel of a strip.
template <int NV>
struct TilePanel {
  const float* packed;
  int64_t K;
  UNROLLED_INLINE_MEMBER TilePanel(const float* columns, int64_t depth, int64_t, const float*)
      : packed(columns), K(depth) {}
};

struct Bf16Tiles : Bf16 {
  static constexpr bool kTileRegisters = true;
  static constexpr int64_t kDepth = 1024;
  template <int NV>
  using Panel = TilePanel<NV>;
  UNROLLED_INLINE void begin() { _tile_loadconfig(&kWholeTiles); }
  UNROLLED_INLINE void end() { _tile_release(); }
  UNROLLED_INLINE int64_t depth(int64_t K) { return ceil_div(K, 2 * kTileWords) * 2 * kTileWords; }
  UNROLLED_INLINE int64_t words(int64_t K) { return depth(K) / 2; }
  UNROLLED_INLINE int64_t row_word(int64_t k) { return k / 2; }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return odd_tiles(words(K)); }

  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    Bf16::prepare(row, K, to);
    for (int64_t i = Bf16::words(K); i < words(K); ++i) to[i] = 0.0f;
  }

  template <int NV, class Look>
  UNROLLED_INLINE void tiles(const float* a, int64_t stride, const Panel<NV>& panel, int64_t rows,
                             Vec<float> (&sum)[kTileRowsAtOnce][NV], Look ahead) {
    multiply_tile_registers<NV, false>(a, stride, panel.packed, words(panel.K), rows, sum, ahead);
  }

  UNROLLED_INLINE int64_t outer_depth(int64_t rows) { return depth(rows); }
  UNROLLED_INLINE int64_t strip_words(int64_t rows) { return words(rows); }
  UNROLLED_INLINE int64_t outer_row_words(int64_t rows) { return words(rows); }
  UNROLLED_INLINE void store_outer(float* row, int64_t n, Vec<float> words) {
    store(row + n, words);
  }
};

struct Int8Tiles : Int8 {
  static constexpr bool kTileRegisters = true;
  static constexpr int64_t kDepth = 0;  // unused: one pass
  template <int NV>
  using Panel = TilePanel<NV>;
  UNROLLED_INLINE void begin() { _tile_loadconfig(&kWholeTiles); }
  UNROLLED_INLINE void end() { _tile_release(); }
  UNROLLED_INLINE int64_t depth(int64_t K) { return ceil_div(K, 4 * kTileWords) * 4 * kTileWords; }
  UNROLLED_INLINE int64_t words(int64_t K) { return depth(K) / 4 + 2; }
  UNROLLED_INLINE int64_t row_word(int64_t k) { return k / 4; }
  // The scale has a cache line of its own, so that rows begin with one.
  UNROLLED_INLINE int64_t row_words(int64_t K) { return odd_tiles(depth(K) / 4 + kTileWords); }

  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    const int64_t count = ceil_div(K, 4);
    Int8::prepare(row, K, to);
    const float scale = to[count];
    for (int64_t i = count; i < depth(K) / 4; ++i) to[i] = 0.0f;
    to[depth(K) / 4] = scale;
  }

  // One row by itself, as in a stream: an instruction of tiles takes as long for it as for sixteen.
  // Sums of integers are exact, so that they are the same.
  template <int NV>
  UNROLLED_INLINE void multiply_row(const float* a, const float* packed, int64_t words,
                                    Vec<float> (&sum)[NV]) {
    static_assert(kInt8Bias != 0, "rows are without a sign, for both");
    constexpr int L = kLanes<float>;
    NativeI32 even[NV] = {}, odd[NV] = {};  // chains that do not wait for each other
    for (int64_t k = 0; k < words; k += 2, packed += 2 * NV * L) {
      const Vec<float> first(a[k]), second(a[k + 1]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        accumulate_int8(even[v], first, load(packed + v * L));
        accumulate_int8(odd[v], second, load(packed + (NV + v) * L));
      }
    }
    for (int v = 0; v < NV; ++v) sum[v] = of_bits(even[v] + odd[v]);
  }

  template <int NV>
  UNROLLED_INLINE void tiles(const float* a, int64_t stride, const Panel<NV>& panel, int64_t rows,
                             Vec<float> (&sum)[kTileRowsAtOnce][NV], Ahead ahead) {
    constexpr int L = kLanes<float>;
    const float* packed = panel.packed;
    const int64_t count = depth(panel.K) / 4;
    if (rows == 1)
      multiply_row(a, packed, count, sum[0]);
    else
      multiply_tile_registers<NV, true>(a, stride, packed, count, rows, sum, ahead);
    const float* scales = packed + count * NV * L;
    for (int64_t r = 0; r < rows; ++r) {
      const Vec<float> scale(a[r * stride + count]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        sum[r][v] = to_float(bits_of(sum[r][v]) + bits_of(load(scales + (NV + v) * L))) *
                    (load(scales + v * L) * scale);
    }
  }
};

using NarrowBf16 = Bf16Tiles;
using NarrowInt8 = Int8Tiles;
#else
using NarrowBf16 = Bf16;
using NarrowInt8 = Int8;
#endif

}  // namespace unrolled::UNROLLED_ISA
