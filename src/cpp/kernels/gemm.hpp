// The packed micro-kernel and the three products that are built on it.
//
// Every output element is one chain of multiply-adds over k in ascending order, whatever the tile
// that it falls in, so bits depend neither on the number of threads nor on the other rows.
//
// Packed operand: panels of kPanel<NV> = NV * L columns, each [K][NV * L], the last one padded with
// zeros. The row operand is read in place by broadcasts. A tile of kTileRows<NV> rows x NV vectors
// fills the register file: 24 accumulators of 32 registers, 12 of 16.
#pragma once

#include "kernels/table.hpp"
#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

template <int N>
struct Int {
  static constexpr int kValue = N;
};

inline constexpr int kAccumulators = kVectorRegisters == 32 ? 24 : 12;
// Vectors of a panel of NV that a tile holds. Where registers are few, half a panel of four at a
// time: twice the rows share each load of it.
template <int NV>
inline constexpr int kTileVectors = kVectorRegisters == 32 || NV % 2 != 0 ? NV : 2;
template <int NV>
inline constexpr int kTileRows = kAccumulators / kTileVectors<NV>;

inline constexpr int kPlainVectors = 4;  // panel width of products without gates, in vectors
template <class T>
inline constexpr int kPlainPanel = kPlainVectors * kLanes<T>;

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

UNROLLED_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
UNROLLED_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
UNROLLED_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

UNROLLED_INLINE void sync(const Team& team) {
  if (team.size > 1) team.wait(team.barrier);
}

// Asks for the cache lines of `count` elements that will be read and written soon.
template <class T>
UNROLLED_INLINE void prefetch(const T* p, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T)))
    __builtin_prefetch(p + i);
}

struct Range {
  int64_t begin, end;
};

// The part of `count` items that is this member's.
UNROLLED_INLINE Range share(int64_t count, const Team& team) {
  return {count * team.rank / team.size, count * (team.rank + 1) / team.size};
}

// Calls f(Int<M>, first_row) for tiles of at most Max rows that are as even as can be.
template <int M, class F>
UNROLLED_INLINE void dispatch_rows(int64_t rows, int64_t first, F&& f) {
  if (rows == M)
    f(Int<M>{}, first);
  else if constexpr (M > 1)
    dispatch_rows<M - 1>(rows, first, static_cast<F&&>(f));
}
template <int Max, class F>
UNROLLED_INLINE void for_row_tiles(int64_t rows, F&& f) {
  const int64_t tiles = ceil_div(rows, Max);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t begin = rows * i / tiles, end = rows * (i + 1) / tiles;
    dispatch_rows<Max>(end - begin, begin, f);
  }
}

// sum[r][v] += a[r] * b[v*L ...]. The first half of the rows begins at `low`, the other at `high`.
template <class T, int MR, int TV>
UNROLLED_INLINE void multiply_step(const T* low, const T* high, int64_t row_stride, const T* b,
                                   Vec<T> (&sum)[MR][TV]) {
  constexpr int kLow = (MR + 1) / 2;
  Vec<T> column[TV];
#pragma GCC unroll 8
  for (int v = 0; v < TV; ++v) column[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
    const Vec<T> value(r < kLow ? low[r * row_stride] : high[(r - kLow) * row_stride]);
#pragma GCC unroll 8
    for (int v = 0; v < TV; ++v) accumulate(sum[r][v], value, column[v]);
  }
}

// sum[r][v] += sum over k < K of a[r * row_stride + k * k_stride] * b[k * NV*L + v*L ...], for TV
// vectors of a panel of NV. Four steps a round and two row pointers, so that the loop's own
// instructions do not take the ports of the multiply-adds.
template <int NV, class T, int MR, int TV>
UNROLLED_INLINE void multiply_tile(const T* a, int64_t row_stride, int64_t k_stride, const T* b,
                                   int64_t K, Vec<T> (&sum)[MR][TV]) {
  constexpr int kRound = 4, kWidth = NV * kLanes<T>;
  const T* low = a;
  const T* high = a + (MR + 1) / 2 * row_stride;
  int64_t k = K;
  for (; k >= kRound; k -= kRound) {
#pragma GCC unroll 4
    for (int i = 0; i < kRound; ++i)
      multiply_step<T, MR, TV>(low + i * k_stride, high + i * k_stride, row_stride, b + i * kWidth,
                               sum);
    low += kRound * k_stride, high += kRound * k_stride, b += kRound * kWidth;
  }
  for (; k > 0; --k) {
    multiply_step<T, MR, TV>(low, high, row_stride, b, sum);
    low += k_stride, high += k_stride, b += kWidth;
  }
}

// C (rows, columns) = start + A (rows, K) B, where start is C itself, a bias over the columns, or
// zero. B is packed with NV vectors a panel; panels [panels.begin, panels.end) are computed.
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

template <int NV, class T>
inline void multiply(const Product<T>& p, Range panels) {
  constexpr int TV = kTileVectors<NV>;
  constexpr int64_t kWidth = NV * kLanes<T>, kPart = TV * kLanes<T>;
  for (int64_t column = panels.begin * kWidth; column < panels.end * kWidth; column += kPart) {
    const T* packed = p.b + column / kWidth * p.K * kWidth + column % kWidth;
    const bool whole = column + kPart <= p.columns;
    int64_t k = 0;
    do {
      const int64_t depth = smaller(kDepth, p.K - k);
      for_row_tiles<kTileRows<NV>>(p.rows, [&](auto rows, int64_t first) {
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
        multiply_tile<NV>(p.a + first * p.a_stride + k, p.a_stride, 1, packed + k * kWidth, depth,
                          sum);
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
  }
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

// Copies `depth` rows of X from `row` on, as panels [depth][panel] from `column` on.
template <class T>
inline void pack_strip(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t panels) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t n = 0; n < depth; ++n)
      for (int v = 0; v < kPlainVectors; ++v) {
        const int64_t at = column + panel * kWidth + v * kLanes<T>;
        store(
            p.scratch + (panel * depth + n) * kWidth + v * kLanes<T>,
            at < p.columns ? load_tail(p.x + (row + n) * p.x_stride, at, p.columns) : Vec<T>(T(0)));
      }
}

// Copies `depth` rows of `count` columns of D from (row, column) on into [depth][kOuterBlock] of
// `to`, and calls add_sum(column, columns left, sums) with the sums of each vector of columns.
template <class T, class AddSum>
inline void pack_block(const OuterProduct<T>& p, int64_t row, int64_t depth, int64_t column,
                       int64_t count, T* to, AddSum add_sum) {
  constexpr int L = kLanes<T>, kVectors = kOuterBlock<T> / L;
  Vec<T> sum[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) sum[v] = Vec<T>(T(0));
  for (int64_t n = 0; n < depth; ++n)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      if (v * L < count) {
        const Vec<T> d = load_tail(p.d + (row + n) * p.d_stride + column, v * L, count);
        store(to + n * kOuterBlock<T> + v * L, d);
        sum[v] = sum[v] + d;
      }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v)
    if (v * L < count) add_sum(column + v * L, count - v * L, sum[v]);
}

// `row_of(m)` gives the C row of m, or null for a padded m. `add_sum(m, count, sums)` receives the
// sums over n of D[n][m ...], `count` of them valid, once for each part of the rows.
template <class T, class RowOf, class AddSum>
inline void accumulate_outer(const OuterProduct<T>& p, Range outputs, RowOf row_of,
                             AddSum add_sum) {
  constexpr int NV = kPlainVectors, TV = kTileVectors<NV>;
  constexpr int64_t kWidth = kPlainPanel<T>, kPart = TV * kLanes<T>, kBlock = kOuterBlock<T>;
  if (outputs.begin == outputs.end) return;
  const int64_t all_panels = ceil_div(p.columns, kWidth);
  T* block = p.scratch + kStripRows * kStripPanels * kWidth;
  for (int64_t first_panel = 0; first_panel < all_panels; first_panel += kStripPanels)
    for (int64_t n0 = 0; n0 < p.rows; n0 += kStripRows) {
      const int64_t depth = smaller(kStripRows, p.rows - n0);
      const int64_t panels = smaller(kStripPanels, all_panels - first_panel);
      pack_strip(p, n0, depth, first_panel * kWidth, panels);
      // D and C, which may lie beyond L2, pass by once; the strip stays.
      for (int64_t m0 = outputs.begin; m0 < outputs.end; m0 += kBlock) {
        const int64_t count = smaller(kBlock, outputs.end - m0);
        pack_block(p, n0, depth, m0, count, block, [&](int64_t m, int64_t valid, Vec<T> sum) {
          if (first_panel == 0) add_sum(m, valid, sum);
        });
        for_row_tiles<kTileRows<NV>>(count, [&](auto rows, int64_t first) {
          constexpr int MR = decltype(rows)::kValue;
          for (int64_t part = 0; part < panels * kWidth; part += kPart) {
            const int64_t column = first_panel * kWidth + part;
            for (int r = 0; r < MR; ++r)
              if (const T* c = row_of(m0 + first + r)) prefetch(c + column, kPart);
            Vec<T> sum[MR][TV];
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
              for (int v = 0; v < TV; ++v) sum[r][v] = Vec<T>(T(0));
            multiply_tile<NV>(block + first, 1, kBlock,
                              p.scratch + part / kWidth * depth * kWidth + part % kWidth, depth,
                              sum);
#pragma GCC unroll 16
            for (int r = 0; r < MR; ++r) {
              T* c = row_of(m0 + first + r);
              if (c == nullptr) continue;
#pragma GCC unroll 8
              for (int v = 0; v < TV; ++v) {
                const int64_t at = column + v * kLanes<T>;
                if (at < p.columns)
                  store_tail(c, at, p.columns, load_tail(c, at, p.columns) + sum[r][v]);
              }
            }
          }
        });
      }
    }
}

// Packs rows of a matrix as columns of panels: packed column p is source row row_of(p) (or zeros
// when that is null), K long. `width` is a multiple of L.
template <class T, class RowOf>
inline void pack_rows(T* packed, int64_t K, int64_t width, Range panels, RowOf row_of) {
  constexpr int L = kLanes<T>;
  for (int64_t column = panels.begin * width; column < panels.end * width; column += L) {
    T* to = packed + column / width * K * width + column % width;
    const T* from[L];
    for (int lane = 0; lane < L; ++lane) from[lane] = row_of(column + lane);
    for (int64_t k = 0; k < K; k += L) {
      Vec<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane)
        square[lane] = from[lane] == nullptr ? Vec<T>(T(0)) : load_tail(from[lane], k, K);
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i)
        if (k + i < K) store(to + (k + i) * width, square[i]);
    }
  }
}

// Packs columns of a matrix as columns of panels: packed row k is source row row_of(k), of which
// `columns` columns are valid.
template <class T, class RowOf>
inline void pack_columns(T* packed, int64_t K, int64_t columns, Range panels, RowOf row_of) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  for (int64_t panel = panels.begin; panel < panels.end; ++panel)
    for (int64_t k = 0; k < K; ++k) {
      const T* from = row_of(k);
      for (int v = 0; v < kPlainVectors; ++v) {
        const int64_t at = panel * kWidth + v * kLanes<T>;
        store(packed + (panel * K + k) * kWidth + v * kLanes<T>,
              from != nullptr && at < columns ? load_tail(from, at, columns) : Vec<T>(T(0)));
      }
    }
}

}  // namespace unrolled::UNROLLED_ISA
