// The products that are built on the micro-kernel, and the packing of their operands. Which numbers
// they multiply is an operand type, see operand.hpp.
#pragma once

#include "kernels/operand.hpp"

namespace unrolled::UNROLLED_ISA {

// Depth of a pass over a packed panel: 1024 x 4 vectors of 64 bytes are 256 KB, a part of L2.
inline constexpr int64_t kDepth = 1024;
// An outer product works on copies, so that it streams through memory in order: of X, kStripPanels
// panels of kStripRows rows, a part of L2; of D, kOuterBlock columns, a part of L1.
inline constexpr int64_t kStripRows = 512, kStripPanels = 4;
template <class T>
inline constexpr int64_t kOuterBlock = (kVectorRegisters == 32 ? 3 : 6) * kLanes<T>;
template <class T>
inline constexpr int64_t kOuterScratch =
    kStripRows * (kStripPanels * kPlainPanel<T> + kOuterBlock<T>);

// C (rows, columns) = start + A (rows, K) B, where start is C itself, a bias over the columns, or
// zero. B is packed with NV vectors a panel; panels [panels.begin, panels.end) are computed. Rows
// of A are prepared for the operand type O.
template <class T>
struct Product {
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t K;
  T* c;
  int64_t c_stride, rows, columns;
  const T* bias;  // padded to whole panels, or null
  bool accumulate;
};

template <int NV, class O, class T>
inline void multiply(const Product<T>& p, Range panels) {
  constexpr int64_t kWidth = NV * kLanes<T>;
  for (int64_t panel = panels.begin; panel < panels.end; ++panel)
    for_parts<NV>(p.rows, [&](auto vectors, int part) UNROLLED_INLINE_LAMBDA {
      constexpr int TV = decltype(vectors)::kValue;
      const int64_t column = panel * kWidth + part * kLanes<T>;
      const bool whole = column + TV * kLanes<T> <= p.columns;
      int64_t k = 0;
      do {
        const int64_t depth = O::kOnePass ? p.K : smaller(kDepth, p.K - k);
        const T* packed = p.b + (panel * O::words(p.K) + k / O::kGroup) * kWidth + part * kLanes<T>;
        for_row_tiles<kAccumulators / TV>(
            p.rows, [&](auto rows, int64_t first) UNROLLED_INLINE_LAMBDA {
              constexpr int MR = decltype(rows)::kValue;
              Vec<T> sum[MR][TV];
              T* c = p.c + first * p.c_stride;
#pragma GCC unroll 16
              for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < TV; ++v) {
                  const int64_t at = column + v * kLanes<T>;
                  if (k > 0 || p.accumulate)
                    sum[r][v] = whole            ? load(c + r * p.c_stride + at)
                                : at < p.columns ? load_tail(c + r * p.c_stride, at, p.columns)
                                                 : Vec<T>(T(0));
                  else
                    sum[r][v] = p.bias ? load(p.bias + at) : Vec<T>(T(0));
                }
              O::template tile<NV>(p.a + first * p.a_stride + k / O::kRowGroup, p.a_stride, packed,
                                   depth, sum);
#pragma GCC unroll 16
              for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < TV; ++v) {
                  const int64_t at = column + v * kLanes<T>;
                  if (whole)
                    store(c + r * p.c_stride + at, sum[r][v]);
                  else if (at < p.columns)
                    store_tail(c + r * p.c_stride, at, p.columns, sum[r][v]);
                }
            });
        k += depth;
      } while (k < p.K);
    });
}

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
    rows[i] = O::kOuterGroup == 1 || row + i < end
                  ? load_tail(matrix + (row + i) * stride, at, columns)
                  : Vec<T>(T(0));
    see(rows[i]);
  }
  return O::outer_word(rows);
}

// Copies `depth` rows of X from `row` on, as panels [words of depth][panel] from `column` on.
template <class O, class T>
inline void pack_strip(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t panels) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  T* to = p.scratch;
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t n = row; n < row + depth; n += O::kOuterGroup, to += kWidth)
      for (int v = 0; v < kPlainVectors; ++v) {
        const int64_t at = column + panel * kWidth + v * kLanes<T>;
        store(to + v * kLanes<T>,
              at < p.columns ? outer_word<O>(
                                   p.x, p.x_stride, n, row + depth, at, p.columns, [](Vec<T>) {})
                             : Vec<T>(T(0)));
      }
}

// Copies `depth` rows of `count` columns of D from (row, column) on into [words of depth]
// [kOuterBlock] of `to`, and calls add_sum(column, columns left, sums) with the sums of each vector
// of columns.
template <class O, class T, class AddSum>
inline void pack_block(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t count, T* to, AddSum add_sum) {
  constexpr int L = kLanes<T>, kVectors = kOuterBlock<T> / L;
  Vec<T> sum[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) sum[v] = Vec<T>(T(0));
  for (int64_t n = row; n < row + depth; n += O::kOuterGroup, to += kOuterBlock<T>)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      if (v * L < count)
        store(to + v * L, outer_word<O>(p.d + column, p.d_stride, n, row + depth, v * L, count,
                                        [&](Vec<T> d) { sum[v] = sum[v] + d; }));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    if (v * L < count) add_sum(column + v * L, count - v * L, sum[v]);
}

// `row_of(m)` gives the C row of m, or null for a padded m. `add_sum(m, count, sums)` receives the
// sums over n of D[n][m ...], `count` of them valid, once for each part of the rows.
template <class O, class T, class RowOf, class AddSum>
inline void accumulate_outer(const OuterProduct<T>& p, Range outputs, RowOf row_of,
                             AddSum add_sum) {
  constexpr int NV = kPlainVectors;
  constexpr int64_t kWidth = kPlainPanel<T>, kBlock = kOuterBlock<T>;
  if (outputs.begin == outputs.end) return;
  const int64_t all_panels = larger(1, ceil_div(p.columns, kWidth));  // one for the sums of D
  T* block = p.scratch + kStripRows * kStripPanels * kWidth;
  // Fewer rows leave room for more panels, so that D passes by less often.
  const int64_t strip = kStripRows * kStripPanels / larger(1, smaller(kStripRows, p.rows));
  for (int64_t first_panel = 0; first_panel < all_panels; first_panel += strip)
    for (int64_t n0 = 0; n0 < p.rows; n0 += kStripRows) {
      const int64_t depth = smaller(kStripRows, p.rows - n0);
      const int64_t words = ceil_div(depth, O::kOuterGroup);
      const int64_t panels = smaller(strip, all_panels - first_panel);
      pack_strip<O>(p, n0, depth, first_panel * kWidth, panels);
      // D and C, which may lie beyond L2, pass by once; the strip stays.
      for (int64_t m0 = outputs.begin; m0 < outputs.end; m0 += kBlock) {
        const int64_t count = smaller(kBlock, outputs.end - m0);
        pack_block<O>(p, n0, depth, m0, count, block, [&](int64_t m, int64_t valid, Vec<T> sum) {
          if (first_panel == 0) add_sum(m, valid, sum);
        });
        for_parts<NV>(count, [&](auto vectors, int part) UNROLLED_INLINE_LAMBDA {
          constexpr int TV = decltype(vectors)::kValue;
          for_row_tiles<kAccumulators / TV>(
              count, [&](auto rows, int64_t first) UNROLLED_INLINE_LAMBDA {
                constexpr int MR = decltype(rows)::kValue;
                T* c[MR];
                for (int r = 0; r < MR; ++r) c[r] = row_of(m0 + first + r);
                for (int64_t panel = 0; panel < panels; ++panel) {
                  const int64_t column = (first_panel + panel) * kWidth + part * kLanes<T>;
                  for (int r = 0; r < MR; ++r)
                    if (c[r] != nullptr) prefetch(c[r] + column, TV * kLanes<T>);
                  Vec<T> sum[MR][TV];
#pragma GCC unroll 16
                  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
                    for (int v = 0; v < TV; ++v) sum[r][v] = Vec<T>(T(0));
                  O::template outer_tile<NV>(block + first, 1, kBlock,
                                             p.scratch + panel * words * kWidth + part * kLanes<T>,
                                             words, sum);
#pragma GCC unroll 16
                  for (int r = 0; r < MR; ++r) {
                    if (c[r] == nullptr) continue;
#pragma GCC unroll 8
                    for (int v = 0; v < TV; ++v) {
                      const int64_t at = column + v * kLanes<T>;
                      if (at < p.columns)
                        store_tail(c[r], at, p.columns, load_tail(c[r], at, p.columns) + sum[r][v]);
                    }
                  }
                }
              });
        });
      }
    }
}

// Rows as a product of operand O reads them: copies in `to`.
template <class O, class T>
inline Rows<const T> prepare_rows(const Rows<const T>& from, int64_t rows, int64_t K, T* to) {
  const int64_t stride = O::row_words(K);
  for (int64_t row = 0; row < rows; ++row)
    O::prepare(from.data + row * from.stride, K, to + row * stride);
  return {to, stride};
}

// Packs rows of a matrix as columns of panels: packed column p is source row row_of(p) (or zeros
// when that is null), K long. `width` is a multiple of L.
template <class O, class T, class RowOf>
inline void pack_rows(T* packed, int64_t K, int64_t width, Range panels, RowOf row_of) {
  constexpr int L = kLanes<T>;
  for (int64_t column = panels.begin * width; column < panels.end * width; column += L) {
    T* to = packed + column / width * O::words(K) * width + column % width;
    const T* from[L];
    for (int lane = 0; lane < L; ++lane) from[lane] = row_of(column + lane);
    typename O::Column words(from, K);
    for (int64_t k = 0; k < K; k += L) {
      Vec<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane)
        square[lane] = from[lane] == nullptr ? Vec<T>(T(0)) : load_tail(from[lane], k, K);
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < L; i += O::kGroup)
        if (k + i < K) store(to + (k + i) / O::kGroup * width, words.word(square + i));
    }
    words.finish(to + ceil_div(K, O::kGroup) * width, width);
  }
}

// Packs columns of a matrix as columns of panels: packed row k is source row row_of(k), of which
// `columns` columns are valid.
template <class O, class T, class RowOf>
inline void pack_columns(T* packed, int64_t K, int64_t columns, Range panels, RowOf row_of) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  typename O::Column words(nullptr, K);
  for (int64_t panel = panels.begin; panel < panels.end; ++panel)
    for (int64_t k = 0; k < K; k += O::kGroup) {
      const T* from[O::kGroup];
      for (int i = 0; i < O::kGroup; ++i) from[i] = k + i < K ? row_of(k + i) : nullptr;
      for (int v = 0; v < kPlainVectors; ++v) {
        const int64_t at = panel * kWidth + v * kLanes<T>;
        Vec<T> group[O::kGroup];
        for (int i = 0; i < O::kGroup; ++i)
          group[i] =
              from[i] != nullptr && at < columns ? load_tail(from[i], at, columns) : Vec<T>(T(0));
        store(packed + (panel * O::words(K) + k / O::kGroup) * kWidth + v * kLanes<T>,
              words.word(group));
      }
    }
}

}  // namespace unrolled::UNROLLED_ISA
