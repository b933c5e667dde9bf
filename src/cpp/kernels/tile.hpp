// The micro-kernel: a tile of a product, held in registers.
//
// Every output element is one chain of multiply-adds over k in ascending order, whatever the tile
// that it falls in, so bits depend neither on the number of threads nor on the other rows.
//
// Packed operand: panels of NV * L columns, each [K][NV * L], the last one padded with zeros. The
// row operand is read in place by broadcasts. A tile has up to 24 accumulators
// where there are 32 registers, 12 where there are 16.
#pragma once

#include "kernels/table.hpp"
#include "simd/math.hpp"

namespace unrolled::UNROLLED_ISA {

template <int N>
struct Int {
  static constexpr int kValue = N;
};

inline constexpr int kAccumulators = kVectorRegisters == 32 ? 24 : 12;
// The most rows of a tile of a panel of NV vectors; see for_parts.
template <int NV>
inline constexpr int kTileRows = kAccumulators / (kVectorRegisters == 32 ? NV : 2);

inline constexpr int kPlainVectors = 4;  // panel width of products without gates, in vectors
template <class T>
inline constexpr int kPlainPanel = kPlainVectors * kLanes<T>;

UNROLLED_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
UNROLLED_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
UNROLLED_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

UNROLLED_INLINE void sync(const Team& team) {
  if (team.size > 1) team.wait(team.barrier, team.rank);
}

// Asks for the cache lines of `count` elements that will be read soon.
template <class T>
UNROLLED_INLINE void prefetch(const T* p, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T)))
    __builtin_prefetch(p + i);
}
// The same where they will be written: other cores' copies are given up meanwhile.
template <class T>
UNROLLED_INLINE void prefetch_to_write(T* p, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T)))
    __builtin_prefetch(p + i, 1);
}

struct Range {
  int64_t begin, end;
};

// The part of `count` items that is this member's.
UNROLLED_INLINE Range share(int64_t count, const Team& team) {
  return {count * team.rank / team.size, count * (team.rank + 1) / team.size};
}

// Panels in the order in which they pass. A product that is made again in every step turns round
// each time: it begins with the columns that the last one ended with, which are still in L2 where
// all of them are not. In one and the same order each would be thrown out shortly before its turn.
struct Sweep {
  int64_t first, count, step;
  UNROLLED_INLINE_MEMBER Sweep(Range panels, int64_t turn = 0)
      : first((turn & 1) == 0 ? panels.begin : panels.end - 1),
        count(panels.end - panels.begin),
        step((turn & 1) == 0 ? 1 : -1) {}
  // What is read after a panel: behind the last one the sweep turns, and begins with it.
  UNROLLED_INLINE_MEMBER int64_t after(int64_t panel) const {
    return panel == first + (count - 1) * step ? panel : panel + step;
  }
};

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

// Calls f(Int<TV>, part) for parts of TV vectors, beginning at vector `part`, of a panel of NV that
// `rows` rows are multiplied by: the whole panel, or where the registers are few two vectors at a
// time. Few rows need many columns, so that there are enough independent chains; many rows share
// each load of a column, and a part of a panel stays in L1 while all of them pass.
template <int NV, class F>
UNROLLED_INLINE void for_parts(int64_t rows, F&& f) {
  if constexpr (kVectorRegisters == 32) {
    f(Int<NV>{}, 0);
  } else if (rows * NV <= kAccumulators) {
    f(Int<NV>{}, 0);
  } else {
    static_assert(NV % 2 == 0);
    for (int part = 0; part < NV; part += 2) f(Int<2>{}, part);
  }
}

// The sums of a tile in memory, where its registers end: one loop over `sums` can write them out,
// instead of code for each.
template <class T, int MR, int TV>
struct TileSums {
  Vec<T> sums[MR][TV];
  UNROLLED_INLINE_MEMBER explicit TileSums(const Vec<T> (&tile)[MR][TV]) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < TV; ++v) sums[r][v] = tile[r][v];
  }
};

// What a tile does with a broadcast element of the rows and a vector of columns: here elements are
// numbers. Others take words of several, see operand.hpp.
struct MultiplyAdd {
  template <class T>
  UNROLLED_INLINE void add(Vec<T>& sum, Vec<T> row, Vec<T> column) {
    accumulate(sum, row, column);
  }
};

// sum[r][v] += a[r] * b[v*L ...]. The first half of the rows begins at `low`, the other at `high`.
template <class Product, class T, class Sum, int MR, int TV>
UNROLLED_INLINE void multiply_step(const T* low, const T* high, int64_t row_stride, const T* b,
                                   Sum (&sum)[MR][TV]) {
  constexpr int kLow = (MR + 1) / 2;
  Vec<T> column[TV];
#pragma GCC unroll 8
  for (int v = 0; v < TV; ++v) column[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
    const Vec<T> value(r < kLow ? low[r * row_stride] : high[(r - kLow) * row_stride]);
#pragma GCC unroll 8
    for (int v = 0; v < TV; ++v) Product::add(sum[r][v], value, column[v]);
  }
}

// What a tile asks L2 for while it multiplies: cache lines that will be read after its own panel,
// two in a round of multiply_tile. `step` is 64, or 0 where the line is there already.
struct Ahead {
  const char* line;
  int64_t step;
  UNROLLED_INLINE_MEMBER void ask() {
    __builtin_prefetch(line, 0, 2);
    line += step;
  }
};
struct NoAhead {};

// Packed columns of this size or more may lie beyond L2; so much of them passes between two uses.
inline constexpr int64_t kFarBytes = 512 * 1024;
template <class T>
UNROLLED_INLINE bool is_far(int64_t size) {
  return size * static_cast<int64_t>(sizeof(T)) >= kFarBytes;
}

// The part of `size` elements at `next`, which will be read after a panel, that is for the tile
// beginning at row `first` of `rows` to ask for.
template <class T>
UNROLLED_INLINE Ahead ahead_of(const T* next, int64_t size, bool far, int64_t first, int64_t rows) {
  if (!far) return {reinterpret_cast<const char*>(next), 0};
  return {reinterpret_cast<const char*>(next + size * first / rows), 64};
}

// sum[r][v] += sum over k < K of a[r * row_stride + k * k_stride] * b[k * NV*L + v*L ...], for TV
// vectors of a panel of NV. Four steps a round and two row pointers, so that the loop's own
// instructions do not take the ports of the multiply-adds.
template <int NV, class Product = MultiplyAdd, class T, class Sum, int MR, int TV,
          class Look = NoAhead>
UNROLLED_INLINE void multiply_tile(const T* a, int64_t row_stride, int64_t k_stride, const T* b,
                                   int64_t K, Sum (&sum)[MR][TV],
                                   [[maybe_unused]] Look ahead = {}) {
  constexpr int kRound = 4, kWidth = NV * kLanes<T>;
  const T* low = a;
  const T* high = a + (MR + 1) / 2 * row_stride;
  int64_t k = K;
  for (; k >= kRound; k -= kRound) {
    // A tile of few rows is through before its own columns have come.
    if constexpr (sizeof(Look) == sizeof(Ahead) && MR > 2) {
      ahead.ask();
      ahead.ask();
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRound; ++i)
      multiply_step<Product>(low + i * k_stride, high + i * k_stride, row_stride, b + i * kWidth,
                             sum);
    low += kRound * k_stride, high += kRound * k_stride, b += kRound * kWidth;
  }
  for (; k > 0; --k) {
    multiply_step<Product>(low, high, row_stride, b, sum);
    low += k_stride, high += k_stride, b += kWidth;
  }
}

}  // namespace unrolled::UNROLLED_ISA
