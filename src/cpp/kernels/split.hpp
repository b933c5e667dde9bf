// float32 products in tile registers: each number is taken as the sum of three bfloat16.
//
// a = a0 + a1 + a2, where a part is what the ones before it leave over, rounded to bfloat16: 24
// bits in all, so that nothing is lost. Of the nine products of parts the six greatest are summed,
//   a b ~ a0 b0 + (a0 b1 + a1 b0) + (a0 b2 + a1 b1 + a2 b0),
// and what is left out is below 2^-24 |a b|, half of the last place of a float. Sums are float32;
// an instruction adds two products at once, so that they are rounded less often than by a chain of
// multiply-adds: errors come out at half of that chain's. Six products at 512 a cycle against 32
// multiply-adds are 2.7 times the rate of AVX-512 at best; the power that real numbers take
// leaves 2.
//
// Columns are those of Full<float>, so that the same packed weights serve both operands, and
// kernels choose in each call: from L3 a float is 4 bytes, its parts are 6. They become parts while
// the products of the block before are made, in vector registers; once for all rows of a product
// where these are many, and once for all steps of a scan where the parts stay in L2.
//
// What is below 2^-126 counts as zero. Magnitudes that round to an infinity of bfloat16 (from
// 3.39e38 on) count as one, and a row with an infinity gives NaN.
//
// Source: Henry, Tang, Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations", 2019.
#pragma once

#include "kernels/tile_registers.hpp"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)

namespace unrolled::UNROLLED_ISA {

inline constexpr int kParts = 3;
inline constexpr int64_t kBlock = 2 * kTileWords;  // elements along k of an instruction
inline constexpr int64_t kKeptBlocks = 16;         // of a panel of four vectors 196 KB in parts
// A block of a prepared row: kTileWords words of each part. Word i holds elements i and
// kTileWords + i of the block, which takes no shuffles.
inline constexpr int64_t kBlockWords = kParts * kTileWords;

// The next part of a, which keeps what is left: rounded to nearest, away from zero where halfway. A
// NaN gives some NaN among the parts, and so does an infinity.
UNROLLED_INLINE Vec<float> next_part(Vec<float>& a) {
  const Vec<float> part = of_bits((bits_of(a) + 0x8000) & broadcast_bits(-0x10000));
  a = a - part;
  return part;
}

// Words of the next parts of two vectors. What is left for the last ones is a bfloat16, or
// subnormal.
UNROLLED_INLINE Vec<float> next_words(Vec<float>& low, Vec<float>& high, bool last) {
  const NativeU32 first = reinterpret_cast<NativeU32>((last ? low : next_part(low)).v);
  const NativeU32 second = reinterpret_cast<NativeU32>((last ? high : next_part(high)).v);
  return of_bits(reinterpret_cast<NativeI32>((first >> 16) | (second & 0xffff0000u)));
}

// A panel of NV vectors of columns, K long, and the tiles of its parts, each [vector][part], where
// they are not given. Every row of tiles makes those of two blocks in turns beside its products,
// one to multiply with and the next, which stay in L1. Of many rows the first make those of all
// blocks, for the others to find.
template <int NV>
struct SplitPanel {
  static constexpr int L = kLanes<float>;
  static constexpr int64_t kSize = kBlock * NV * L, kTiles = NV * kParts * kTileWords;
  const float* packed;
  int64_t whole, count;  // blocks, without a part of one and with it
  bool made;             // the tiles of all blocks
  int64_t turn;          // those of a block are number (block & turn)
  Vec<float>* tiles;
  float tail[kSize];
  Vec<float> own[kKeptBlocks * kTiles];

  UNROLLED_INLINE_MEMBER SplitPanel(const float* columns, int64_t K, int64_t rows,
                                    const float* parts = nullptr)
      : packed(columns),
        whole(K / kBlock),
        count(ceil_div(K, kBlock)),
        made(parts != nullptr),
        turn(made || (rows > 2 * kTileRowsAtOnce && count <= kKeptBlocks) ? -1 : 1),
        tiles(made ? reinterpret_cast<Vec<float>*>(const_cast<float*>(parts)) : own) {
    if (made || whole == count) return;
    const float* last = packed + whole * kSize;
    for (int64_t i = 0; i < kSize; i += L)
      store(tail + i, i < K % kBlock * NV * L ? load(last + i) : Vec<float>(0.0f));
  }
  UNROLLED_INLINE_MEMBER const float* columns(int64_t block) const {
    return block < whole ? packed + block * kSize : tail;
  }
  UNROLLED_INLINE_MEMBER Vec<float>* at(int64_t block) { return tiles + (block & turn) * kTiles; }
  UNROLLED_INLINE_MEMBER void finish_rows() { made = turn < 0; }

  // Makes words [from, to) of the tiles of `vectors` vectors from number v on.
  template <int vectors, int from, int to>
  UNROLLED_INLINE void split(const float* columns, int v, Vec<float>* tiles) {
#pragma GCC unroll 64
    for (int i = from; i < to; ++i) {
      const int word = i / vectors, vector = v + i % vectors;
      Vec<float> low = load(columns + (word * NV + vector) * L);
      Vec<float> high = load(columns + ((word + kTileWords) * NV + vector) * L);
#pragma GCC unroll 3
      for (int part = 0; part < kParts; ++part)
        tiles[(vector * kParts + part) * kTileWords + word] =
            next_words(low, high, part == kParts - 1);
    }
  }
};

// Calls multiply(Int<more>{}, block) for all blocks of a panel: with `more`, the next block's tiles
// are made beside the products, those of `vectors` vectors from number v on.
template <int vectors, int NV, class Multiply>
UNROLLED_INLINE void for_blocks(SplitPanel<NV>& panel, int v, Multiply&& multiply) {
  constexpr int kWords = vectors * kTileWords;
  const int64_t last = panel.count - 1;
  int64_t block = 0;
  if (!panel.made) {
    SplitPanel<NV>::template split<vectors, 0, kWords>(panel.columns(0), v, panel.at(0));
    for (; block < last; ++block) multiply(Int<1>{}, block);
  }
  for (; block <= last; ++block) multiply(Int<0>{}, block);
}

// Literal register numbers: the compiler wants them so. A share in 24 of the next block's tiles is
// made beside each instruction.
#define UNROLLED_SPLIT_SHARE(vectors, v, share)                                \
  if constexpr (more)                                                          \
    SplitPanel<NV>::template split<vectors, vectors * kTileWords*(share) / 24, \
                                   vectors * kTileWords*((share) + 1) / 24>(   \
        panel.columns(block + 1), v, panel.at(block + 1));                     \
  ahead.ask();
#define UNROLLED_SPLIT_ROW(register, rows, part) \
  _tile_loadd(register, (rows) + (part) * kTileWords, row_bytes);
#define UNROLLED_SPLIT_COLUMN(register, part, v) \
  _tile_loadd(register, made + ((v) * kParts + (part)) * kTileWords, 64);
#define UNROLLED_SPLIT_BLOCK                            \
  constexpr bool more = decltype(goes_on)::kValue != 0; \
  const Vec<float>* made = panel.at(block);             \
  const float* rows = a + block * kBlockWords;          \
  finish_stores();

// sum_v += the rows in `register` times a part of the columns, for all four v.
#define UNROLLED_SPLIT_ONE(sum, register, column, part, share) \
  if constexpr (NV > sum) {                                    \
    UNROLLED_SPLIT_COLUMN(column, part, sum)                   \
    _tile_dpbf16ps(sum, register, column);                     \
  }                                                            \
  UNROLLED_SPLIT_SHARE(NV, 0, share)
#define UNROLLED_SPLIT_FOUR(register, part, turn)          \
  UNROLLED_SPLIT_ONE(0, register, 6, part, 4 * (turn))     \
  UNROLLED_SPLIT_ONE(1, register, 7, part, 4 * (turn) + 1) \
  UNROLLED_SPLIT_ONE(2, register, 6, part, 4 * (turn) + 2) \
  UNROLLED_SPLIT_ONE(3, register, 7, part, 4 * (turn) + 3)

// sum[r][v] = sixteen rows of prepared parts times the NV vectors of a panel.
template <int NV, class Look>
UNROLLED_INLINE void multiply_split_row(const float* a, int64_t stride, SplitPanel<NV>& panel,
                                        Vec<float> (*sum)[NV], Look& ahead) {
  constexpr int64_t kSumBytes = NV * sizeof(Vec<float>);
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
  zero_tiles();
  for_blocks<NV>(panel, 0, [&](auto goes_on, int64_t block) UNROLLED_INLINE_LAMBDA {
    UNROLLED_SPLIT_BLOCK
    UNROLLED_SPLIT_ROW(4, rows, 2)
    UNROLLED_SPLIT_FOUR(4, 0, 0)
    UNROLLED_SPLIT_ROW(5, rows, 1)
    UNROLLED_SPLIT_FOUR(5, 0, 1)
    UNROLLED_SPLIT_FOUR(5, 1, 2)
    UNROLLED_SPLIT_ROW(4, rows, 0)
    UNROLLED_SPLIT_FOUR(4, 1, 3)
    UNROLLED_SPLIT_FOUR(4, 2, 4)
    UNROLLED_SPLIT_FOUR(4, 0, 5)
  });
  _tile_stored(0, &sum[0][0], kSumBytes);
  if constexpr (NV > 1) _tile_stored(1, &sum[0][1], kSumBytes);
  if constexpr (NV > 2) _tile_stored(2, &sum[0][2], kSumBytes);
  if constexpr (NV > 3) _tile_stored(3, &sum[0][3], kSumBytes);
}
#undef UNROLLED_SPLIT_FOUR
#undef UNROLLED_SPLIT_ONE

#define UNROLLED_SPLIT_ROWS(part)   \
  UNROLLED_SPLIT_ROW(4, rows, part) \
  UNROLLED_SPLIT_ROW(5, below, part)
#define UNROLLED_SPLIT_COLUMNS(part) \
  UNROLLED_SPLIT_COLUMN(6, part, v)  \
  if constexpr (vectors > 1) UNROLLED_SPLIT_COLUMN(7, part, v + 1)
#define UNROLLED_SPLIT_SQUARE(turn)                   \
  _tile_dpbf16ps(0, 4, 6);                            \
  UNROLLED_SPLIT_SHARE(vectors, v, 4 * (turn))        \
  _tile_dpbf16ps(2, 5, 6);                            \
  UNROLLED_SPLIT_SHARE(vectors, v, 4 * (turn) + 1)    \
  if constexpr (vectors > 1) _tile_dpbf16ps(1, 4, 7); \
  UNROLLED_SPLIT_SHARE(vectors, v, 4 * (turn) + 2)    \
  if constexpr (vectors > 1) _tile_dpbf16ps(3, 5, 7); \
  UNROLLED_SPLIT_SHARE(vectors, v, 4 * (turn) + 3)

// The same of 32 rows and `vectors` vectors, one or two, from number v on.
template <int vectors, int v, int NV, class Look>
UNROLLED_INLINE void multiply_split_square(const float* a, int64_t stride, SplitPanel<NV>& panel,
                                           Vec<float> (*sum)[NV], Look& ahead) {
  constexpr int64_t kSumBytes = NV * sizeof(Vec<float>);
  const int64_t row_bytes = stride * static_cast<int64_t>(sizeof(float));
  zero_tiles();
  for_blocks<vectors>(panel, v, [&](auto goes_on, int64_t block) UNROLLED_INLINE_LAMBDA {
    UNROLLED_SPLIT_BLOCK
    const float* below = rows + kOperandRows * stride;
    UNROLLED_SPLIT_ROWS(2)
    UNROLLED_SPLIT_COLUMNS(0)
    UNROLLED_SPLIT_SQUARE(0)
    UNROLLED_SPLIT_ROWS(1)
    UNROLLED_SPLIT_SQUARE(1)
    UNROLLED_SPLIT_COLUMNS(1)
    UNROLLED_SPLIT_SQUARE(2)
    UNROLLED_SPLIT_ROWS(0)
    UNROLLED_SPLIT_SQUARE(3)
    UNROLLED_SPLIT_COLUMNS(2)
    UNROLLED_SPLIT_SQUARE(4)
    UNROLLED_SPLIT_COLUMNS(0)
    UNROLLED_SPLIT_SQUARE(5)
  });
  _tile_stored(0, &sum[0][v], kSumBytes);
  _tile_stored(2, &sum[kOperandRows][v], kSumBytes);
  if constexpr (vectors > 1) {
    _tile_stored(1, &sum[0][v + 1], kSumBytes);
    _tile_stored(3, &sum[kOperandRows][v + 1], kSumBytes);
  }
}
#undef UNROLLED_SPLIT_SQUARE
#undef UNROLLED_SPLIT_COLUMNS
#undef UNROLLED_SPLIT_ROWS
#undef UNROLLED_SPLIT_BLOCK
#undef UNROLLED_SPLIT_COLUMN
#undef UNROLLED_SPLIT_ROW
#undef UNROLLED_SPLIT_SHARE

struct SplitTiles : Full<float> {
  static constexpr bool kInPlace = false, kRoundedInPlace = false, kOnePass = false;
  static constexpr bool kTileRegisters = true, kInParts = true;
  static constexpr int64_t kDepth = kKeptBlocks * kBlock;
  template <int NV>
  using Panel = SplitPanel<NV>;
  UNROLLED_INLINE void begin() { _tile_loadconfig(&kWholeTiles); }
  UNROLLED_INLINE void end() { _tile_release(); }
  UNROLLED_INLINE int64_t row_word(int64_t k) { return ceil_div(k, kBlock) * kBlockWords; }
  UNROLLED_INLINE int64_t row_words(int64_t K) { return odd_tiles(row_word(K)); }

  // The parts of a block of a row.
  UNROLLED_INLINE void store_parts(float* to, Vec<float> low, Vec<float> high) {
#pragma GCC unroll 3
    for (int part = 0; part < kParts; ++part)
      store(to + part * kTileWords, next_words(low, high, part == kParts - 1));
  }

  UNROLLED_INLINE void prepare(const float* row, int64_t K, float* to) {
    constexpr int L = kLanes<float>;
    for (int64_t k = 0; k < K; k += kBlock, to += kBlockWords)
      store_parts(to, load_tail(row, k, K),
                  k + L < K ? load_tail(row, k + L, K) : Vec<float>(0.0f));
  }

  // Not inlined: all cells share it.
  template <int NV, class Look>
  UNROLLED_OUTLINE void tiles(const float* a, int64_t stride, Panel<NV>& panel, int64_t rows,
                              Vec<float> (&sum)[kTileRowsAtOnce][NV], Look ahead) {
    static_assert(NV <= 4 && sizeof(Vec<float>) == 64);
    if (rows <= kOperandRows) {
      multiply_split_row<NV>(a, stride, panel, sum, ahead);
    } else {
      multiply_split_square<(NV > 1 ? 2 : 1), 0>(a, stride, panel, sum, ahead);
      if constexpr (NV > 2) multiply_split_square<NV - 2, 2>(a, stride, panel, sum, ahead);
    }
    panel.finish_rows();
  }

  // Rows of a batch from which the products of `units` units are made in parts. An instruction
  // takes as long for one row as for sixteen, and a row is split once for all units, which has to
  // pay. Measured, one thread, of the time of multiply-adds (forward; BPTT): 256 units and 16 rows
  // 0.81, 128 and 64 rows 0.80 (0.83; RNN 0.87), 512 and 64 rows 0.68 (0.71).
  UNROLLED_INLINE int64_t least_rows(int64_t units) {
    return units >= 256 ? 16 : units >= 128 ? 64 : INT64_MAX;
  }

  // Panels of packed columns in parts, for products to be given.
  template <int NV>
  UNROLLED_INLINE void make_parts(const float* packed, int64_t K, Range panels, float* to) {
    constexpr int64_t kWidth = NV * kLanes<float>;
    for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
      SplitPanel<NV> made(packed + panel * K * kWidth, K, 0);
      auto* tiles = reinterpret_cast<Vec<float>*>(to + panel * row_word(K) * kWidth);
      for (int64_t block = 0; block < made.count; ++block, tiles += SplitPanel<NV>::kTiles)
        SplitPanel<NV>::template split<NV, 0, NV * kTileWords>(made.columns(block), 0, tiles);
    }
  }

  UNROLLED_INLINE int64_t outer_depth(int64_t rows) { return ceil_div(rows, kBlock) * kBlock; }
  UNROLLED_INLINE int64_t strip_words(int64_t rows) { return row_word(rows); }
  UNROLLED_INLINE int64_t outer_row_words(int64_t rows) { return row_words(rows); }
  UNROLLED_INLINE void store_outer(float* row, int64_t n, Vec<float> low, Vec<float> high) {
    store_parts(row + row_word(n), low, high);
  }
  // The words of rows n and kTileWords + n of vector v of a strip's panel of NV.
  template <int NV>
  UNROLLED_INLINE void store_strip(float* panel, int64_t n, int v, Vec<float> low,
                                   Vec<float> high) {
    constexpr int L = kLanes<float>;
    float* tile = panel + (n / kBlock * NV + v) * kParts * kTileWords * L;
#pragma GCC unroll 3
    for (int part = 0; part < kParts; ++part)
      store(tile + (part * kTileWords + n % kBlock) * L, next_words(low, high, part == kParts - 1));
  }
};

}  // namespace unrolled::UNROLLED_ISA

#endif
