// Outer products: sums over many rows, as the gradients of weights are.
#pragma once

#include "kernels/split.hpp"

namespace unrolled::UNROLLED_ISA {

// An outer product works on copies, so that it streams through memory in order: of X, a strip of
// panels of at most kRows rows, a part of L2; of D, a block of kColumns columns, a part of L1.
// Sizes are elements.
template <class O, class T>
struct OuterCopies {
  static constexpr int64_t kRows = 512, kColumns = (kVectorRegisters == 32 ? 3 : 6) * kLanes<T>;
  static constexpr int64_t kStrip = kRows * 4 * kPlainPanel<T>, kBlock = kRows * kColumns;
};
template <class T>
inline constexpr int64_t kOuterScratch =
    OuterCopies<Full<T>, T>::kStrip + OuterCopies<Full<T>, T>::kBlock;
#if defined(__AMX_BF16__)
// In three parts a row is half as long again.
template <class T>
struct OuterCopies<SplitTiles, T> {
  static constexpr int64_t kRows = 256, kColumns = 2 * kTileRowsAtOnce;
  static constexpr int64_t kStrip = kRows * kParts / 2 * 8 * kPlainPanel<T>,
                           kBlock = kColumns * (kRows * kParts / 2 + kTileWords);
};
template <>
inline constexpr int64_t kOuterScratch<float> =
    OuterCopies<SplitTiles, float>::kStrip + OuterCopies<SplitTiles, float>::kBlock;
#endif

// C += D^T X over `rows` rows: element (m, i) gains the sum over n of D[n][m] * X[n][i], for m in
// `outputs` and all i < columns. The sum of a call is formed apart and then added, so long sums go
// over `rows` at a time.
template <class T>
struct OuterProduct {
  const T* d;
  int64_t d_stride;
  const T* x;
  int64_t x_stride, rows, columns;
  T* scratch;  // kOuterScratch elements
};

// Vector `at` of rows [row, row + kOuterGroup) of a matrix, as words; rows from `end` on are zeros.
// Calls see(vector) with each of them.
template <class O, class T, class See>
UNROLLED_INLINE Vec<T> outer_word(const T* matrix, int64_t stride, int64_t row, int64_t end,
                                  int64_t at, int64_t columns, See&& see) {
  Vec<T> rows[O::kOuterGroup];
#pragma GCC unroll 2
  for (int i = 0; i < O::kOuterGroup; ++i) {
    rows[i] = (O::kOuterGroup == 1 && !O::kTileRegisters) || row + i < end
                  ? load_tail(matrix + (row + i) * stride, at, columns)
                  : Vec<T>(T(0));
    see(rows[i]);
  }
  return O::outer_word(rows);
}

// Copies `depth` rows of X from `row` on, as panels of O::strip_words(depth) words a column, from
// `column` on.
template <class O, class T>
inline void pack_strip(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t panels) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kWidth = kPlainPanel<T>;
  T* to = p.scratch;
  for (int64_t panel = 0; panel < panels; ++panel, column += kWidth) {
    const auto word = [&](int64_t n, int v) UNROLLED_INLINE_LAMBDA {
      const int64_t at = column + v * L;
      return at < p.columns ? outer_word<O>(
                                  p.x, p.x_stride, row + n * O::kOuterGroup, row + depth, at,
                                  p.columns, [](Vec<T>) {})
                            : Vec<T>(T(0));
    };
    const int64_t words = O::outer_depth(depth) / O::kOuterGroup;
    // In parts rows n and n + L are made together, for n of every other L.
    for (int64_t n = 0; n < words; n += O::kInParts && n % L == L - 1 ? L + 1 : 1)
      for (int v = 0; v < kPlainVectors; ++v)
        if constexpr (O::kInParts)
          O::template store_strip<kPlainVectors>(to, n, v, word(n, v), word(n + L, v));
        else
          store(to + n * kWidth + v * L, word(n, v));
    to += O::strip_words(depth) * kWidth;
  }
}

// Copies `depth` rows of `count` columns of D from (row, column) on into [words of depth]
// [kOuterBlock] of `to`, transposed for tile registers, and calls add_sum(column, columns left,
// sums) with the sums of each vector of columns.
template <class O, class T, class AddSum>
inline void pack_block(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t count, T* to, AddSum add_sum) {
  constexpr int L = kLanes<T>, kVectors = OuterCopies<O, T>::kColumns / L;
  Vec<T> sum[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) sum[v] = Vec<T>(T(0));
  const auto word = [&](int64_t n, int v) UNROLLED_INLINE_LAMBDA {
    return outer_word<O>(p.d + column, p.d_stride, n, row + depth, v * L, count,
                         [&](Vec<T> d) { sum[v] = sum[v] + d; });
  };
  if constexpr (O::kTileRegisters) {  // as rows
    const int64_t words = O::outer_depth(depth) / O::kOuterGroup;
    const int64_t row_words = O::outer_row_words(depth);
    constexpr int kSquares = O::kInParts ? 2 : 1;
    for (int v = 0; v < kVectors && v * L < count; ++v)
      for (int64_t n = 0; n < words; n += kSquares * L) {
        Vec<T> square[kSquares][L];
        for (int s = 0; s < kSquares; ++s) {
          for (int i = 0; i < L; ++i)
            square[s][i] = word(row + (n + s * L + i) * O::kOuterGroup, v);
          transpose(square[s]);
        }
        for (int i = 0; i < L; ++i) {
          T* const block_row = to + (v * L + i) * row_words;
          if constexpr (O::kInParts)
            O::store_outer(block_row, n, square[0][i], square[1][i]);
          else
            O::store_outer(block_row, n, square[0][i]);
        }
      }
  } else {
    for (int64_t n = row; n < row + depth; n += O::kOuterGroup, to += kVectors * L)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        if (v * L < count) store(to + v * L, word(n, v));
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    if (v * L < count) add_sum(column + v * L, count - v * L, sum[v]);
}

// A block of C that gains the products of copies of D and X.
template <class T>
struct OuterBlock {
  const T *block, *strip;
  int64_t depth, words;  // rows of D and X with their filling, and words of a column of the strip
  int64_t first_row, rows;  // rows of C are columns of D
  int64_t first_panel, panels, columns;
};

// c[column ...] += sum of TV vectors, before `columns`.
template <int TV, class T>
UNROLLED_INLINE void add_to_row(T* c, int64_t column, int64_t columns, const Vec<T>* sum) {
#pragma GCC unroll 8
  for (int v = 0; v < TV; ++v) {
    const int64_t at = column + v * kLanes<T>;
    if (at < columns) store_tail(c, at, columns, load_tail(c, at, columns) + sum[v]);
  }
}

template <class O, class T, class RowOf>
inline void add_outer_in_vectors(const OuterBlock<T>& b, RowOf row_of) {
  constexpr int NV = kPlainVectors;
  constexpr int64_t kWidth = kPlainPanel<T>;
  for_parts<NV>(b.rows, [&](auto vectors, int part) UNROLLED_INLINE_LAMBDA {
    constexpr int TV = decltype(vectors)::kValue;
    for_row_tiles<kAccumulators / TV>(b.rows, [&](auto rows, int64_t first) UNROLLED_INLINE_LAMBDA {
      constexpr int MR = decltype(rows)::kValue;
      T* c[MR];
      for (int r = 0; r < MR; ++r) c[r] = row_of(b.first_row + first + r);
      for (int64_t panel = 0; panel < b.panels; ++panel) {
        const int64_t column = (b.first_panel + panel) * kWidth + part * kLanes<T>;
        for (int r = 0; r < MR; ++r)
          if (c[r] != nullptr) prefetch(c[r] + column, TV * kLanes<T>);
        Vec<T> sum[MR][TV];
#pragma GCC unroll 16
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
          for (int v = 0; v < TV; ++v) sum[r][v] = Vec<T>(T(0));
        O::template outer_tile<NV>(b.block + first, 1, OuterCopies<O, T>::kColumns,
                                   b.strip + panel * b.words * kWidth + part * kLanes<T>, b.words,
                                   sum);
        const TileSums made(sum);
#pragma GCC unroll 1
        for (int r = 0; r < MR; ++r)
          if (c[r] != nullptr) add_to_row<TV>(c[r], column, b.columns, made.sums[r]);
      }
    });
  });
}

// Asks for the lines of C that the sums of `count` rows will be added to, one after the other.
struct AheadOfRows {
  float* const* rows;
  int64_t column, count, asked = 0;
  UNROLLED_INLINE_MEMBER void ask() {
    constexpr int64_t kLine = kLanes<float>;
    if (asked == count * kPlainVectors) return;
    __builtin_prefetch(rows[asked / kPlainVectors] + column + asked % kPlainVectors * kLine, 1);
    ++asked;
  }
};

template <class O, class RowOf>
inline void add_outer_in_tiles(const OuterBlock<float>& b, RowOf row_of) {
  constexpr int NV = kPlainVectors;
  constexpr int64_t kWidth = kPlainPanel<float>;
  const int64_t stride = O::outer_row_words(b.depth);
  for (int64_t panel = 0; panel < b.panels; ++panel) {
    const float* strip = b.strip + panel * b.words * kWidth;
    typename O::template Panel<NV> columns(strip, b.depth, b.rows, strip);
    const int64_t column = (b.first_panel + panel) * kWidth;
    for (int64_t first = 0; first < b.rows; first += kTileRowsAtOnce) {
      const int64_t rows = smaller(kTileRowsAtOnce, b.rows - first);
      float* c[kTileRowsAtOnce];
      for (int64_t r = 0; r < rows; ++r) c[r] = row_of(b.first_row + first + r);
      Vec<float> sum[kTileRowsAtOnce][NV];
      O::template tiles<NV>(b.block + first * stride, stride, columns, rows, sum,
                            AheadOfRows{c, column, rows});
      for (int64_t r = 0; r < rows; ++r)
        if (c[r] != nullptr) add_to_row<NV>(c[r], column, b.columns, sum[r]);
    }
  }
}

// `row_of(m)` gives the C row of m, or null for a padded m. `add_sum(m, count, sums)` receives the
// sums over n of D[n][m ...], `count` of them valid, once for each part of the rows.
template <class O, class T, class RowOf, class AddSum>
inline void accumulate_outer(const OuterProduct<T>& p, Range outputs, RowOf row_of,
                             AddSum add_sum) {
  using Copies = OuterCopies<O, T>;
  constexpr int64_t kWidth = kPlainPanel<T>;
  if (outputs.begin == outputs.end) return;
  const int64_t all_panels = larger(1, ceil_div(p.columns, kWidth));  // one for the sums of D
  T* block = p.scratch + Copies::kStrip;
  // Fewer rows leave room for more panels, so that D passes by less often.
  const int64_t most = smaller(Copies::kRows, O::outer_depth(p.rows));
  const int64_t strip = Copies::kStrip / larger(1, O::strip_words(most) * kWidth);
  for (int64_t first_panel = 0; first_panel < all_panels; first_panel += strip)
    for (int64_t n0 = 0; n0 < p.rows; n0 += Copies::kRows) {
      const int64_t depth = smaller(Copies::kRows, p.rows - n0);
      const int64_t panels = smaller(strip, all_panels - first_panel);
      pack_strip<O>(p, n0, depth, first_panel * kWidth, panels);
      // D and C, which may lie beyond L2, pass by once; the strip stays.
      for (int64_t m0 = outputs.begin; m0 < outputs.end; m0 += Copies::kColumns) {
        const int64_t count = smaller(Copies::kColumns, outputs.end - m0);
        pack_block<O>(p, n0, depth, m0, count, block, [&](int64_t m, int64_t valid, Vec<T> sum) {
          if (first_panel == 0) add_sum(m, valid, sum);
        });
        const OuterBlock<T> sums = {.block = block,
                                    .strip = p.scratch,
                                    .depth = O::outer_depth(depth),
                                    .words = O::strip_words(depth),
                                    .first_row = m0,
                                    .rows = count,
                                    .first_panel = first_panel,
                                    .panels = panels,
                                    .columns = p.columns};
        if constexpr (O::kTileRegisters)
          add_outer_in_tiles<O>(sums, row_of);
        else
          add_outer_in_vectors<O>(sums, row_of);
      }
    }
}

}  // namespace unrolled::UNROLLED_ISA
