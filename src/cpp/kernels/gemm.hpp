// The product that is built on the micro-kernel, and the packing of its operands. Which numbers it
// multiplies is an operand type, see operand.hpp.
#pragma once

#include "kernels/split.hpp"

namespace unrolled::UNROLLED_ISA {

// Depth of a pass over a packed panel: 1024 x 4 vectors of 64 bytes are 256 KB, a part of L2.
inline constexpr int64_t kDepth = 1024;

// Rows as a product of operand O reads them: in place, or copies in `to`.
template <class O, class T>
inline Rows<const T> prepare_rows(const Rows<const T>& from, int64_t rows, int64_t K, T* to) {
  if constexpr (O::kInPlace) return from;
  const int64_t stride = O::row_words(K);
  for (int64_t row = 0; row < rows; ++row)
    O::prepare(from.data + row * from.stride, K, to + row * stride);
  return {to, stride};
}

// Words of a row that is prepared for a pass of a product over K elements.
template <class O>
UNROLLED_INLINE int64_t pass_words(int64_t K) {
  if constexpr (O::kTileRegisters && !O::kOnePass)
    return O::row_words(smaller(K, O::kDepth));
  else
    return O::row_words(K);
}

// C (rows, columns) = start + A (rows, K) B, where start is C itself, a bias over the columns, or
// zero. B is packed with NV vectors a panel; the panels of a sweep are computed. Rows of A are
// prepared for the operand type O, or there is scratch for it, pass_words<O>(K) a row.
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
  const T* parts = nullptr;  // B in parts, or null; see kernels/tile_registers.hpp
  T* scratch = nullptr;
};

// Where word `word` of the columns of a panel `width` wide stands in parts, if there are any.
template <class T>
UNROLLED_INLINE const T* parts_at(const T* parts, int64_t word, int64_t width) {
  return parts == nullptr ? nullptr : parts + word * width;
}

// What will be read after the columns up to k of a panel.
template <int NV, class O, class T>
UNROLLED_INLINE const T* next_columns(const Product<T>& p, Sweep sweep, int64_t panel, int64_t k) {
  const bool through = k >= p.K;
  const int64_t at = through ? sweep.after(panel) : panel;
  return p.b + (at * O::words(p.K) + (through ? 0 : k / O::kGroup)) * NV * kLanes<T>;
}

// The rows of a product, prepared, and a pass over `depth` elements of them.
template <class T>
struct PassRows {
  const T* a;
  int64_t a_stride, rows, depth;
  int64_t size;  // words of a panel that pass
  bool far;      // see is_far
};

// Row r of sums = start + row first + r times a panel, for `count` rows; `start` is of the panel's
// columns, or null for what the sums hold. Nearly all of a product's code, and not inlined: all
// that multiply numbers O share it.
template <int NV, class O, class T>
UNROLLED_OUTLINE void sum_rows(const PassRows<T>& p, int64_t first, int64_t count, const T* packed,
                               const T* next, const T* start, const Rows<T>& sums) {
  constexpr int L = kLanes<T>;
  for_parts<NV>(count, [&](auto vectors, int part) UNROLLED_INLINE_LAMBDA {
    constexpr int TV = decltype(vectors)::kValue;
    for_row_tiles<kAccumulators / TV>(count, [&](auto rows, int64_t at) UNROLLED_INLINE_LAMBDA {
      constexpr int MR = decltype(rows)::kValue;
      T* const to = sums.data + at * sums.stride + part * L;
      const T* from = start == nullptr ? to : start + part * L;
      const int64_t from_stride = start == nullptr ? sums.stride : 0;
      Vec<T> sum[MR][TV];
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < TV; ++v) sum[r][v] = load(from + r * from_stride + v * L);
      O::template tile<NV>(p.a + (first + at) * p.a_stride, p.a_stride, packed + part * L, p.depth,
                           sum, ahead_of(next, p.size, p.far, first + at, p.rows));
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < TV; ++v) store(to + r * sums.stride + v * L, sum[r][v]);
    });
  });
}

// Calls f(first, count) for groups of at most kGroupTiles tiles of rows; both are as even as can
// be. Several pass by where a part of a panel is taken at a time, so that it is read again from L1.
inline constexpr int64_t kGroupTiles = kVectorRegisters == 32 ? 1 : 4;
template <int NV, class F>
UNROLLED_INLINE void for_row_groups(int64_t rows, F&& f) {
  const int64_t tiles = ceil_div(rows, kTileRows<NV>), groups = ceil_div(tiles, kGroupTiles);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = rows * (tiles * group / groups) / tiles;
    f(first, rows * (tiles * (group + 1) / groups) / tiles - first);
  }
}

// What a panel begins with where there is neither a bias nor a sum that goes on.
template <class T>
inline constexpr T kNoBias[8 * kLanes<T>] = {};

template <int NV, class O, class T>
inline void multiply_in_vectors(const Product<T>& p, Sweep sweep) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kWidth = NV * L;
  static_assert(NV <= 8);
  const bool far = is_far<T>(sweep.count * O::words(p.K) * kWidth);
  for (int64_t i = 0, panel = sweep.first; i < sweep.count; ++i, panel += sweep.step) {
    int64_t k = 0;
    do {
      const int64_t depth = O::kOnePass ? p.K : smaller(kDepth, p.K - k);
      const T* packed = p.b + (panel * O::words(p.K) + k / O::kGroup) * kWidth;
      const T* next = next_columns<NV, O>(p, sweep, panel, k + depth);
      const PassRows<T> pass = {p.a + k / O::kRowGroup,   p.a_stride, p.rows, depth,
                                O::words(depth) * kWidth, far};
      const T* start = k > 0 || p.accumulate ? nullptr
                       : p.bias != nullptr   ? p.bias + panel * kWidth
                                             : kNoBias<T>;
      const Rows<T> c = {p.c + panel * kWidth, p.c_stride};
      const int64_t width = p.columns - panel * kWidth;
      if (width >= kWidth)
        sum_rows<NV, O>(pass, 0, p.rows, packed, next, start, c);
      else
        for_row_groups<NV>(p.rows, [&](int64_t first, int64_t count) UNROLLED_INLINE_LAMBDA {
          alignas(64) T sums[kGroupTiles * kTileRows<NV> * kWidth];
          T* row = c.data + first * c.stride;
          if (start == nullptr)
            for (int64_t r = 0; r < count; ++r, row += c.stride)
              for (int64_t at = 0; at < kWidth; at += L)
                store(sums + r * kWidth + at,
                      at < width ? load_tail(row, at, width) : Vec<T>(T(0)));
          sum_rows<NV, O>(pass, first, count, packed, next, start, Rows<T>{sums, kWidth});
          row = c.data + first * c.stride;
          for (int64_t r = 0; r < count; ++r, row += c.stride)
            for (int64_t at = 0; at < width; at += L)
              store_tail(row, at, width, load(sums + r * kWidth + at));
        });
      k += depth;
    } while (k < p.K);
  }
}

// The same where O's sums are made in tile registers. All panels pass before the next elements
// along k: the rows' part of them, which may be prepared only then, stays in L2.
template <int NV, class O>
inline void multiply_in_tiles(const Product<float>& p, Sweep sweep) {
  constexpr int L = kLanes<float>;
  constexpr int64_t kWidth = NV * L;
  const bool far = p.parts == nullptr && is_far<float>(sweep.count * O::words(p.K) * kWidth);
  int64_t k = 0;
  do {
    const int64_t depth = O::kOnePass ? p.K : smaller(O::kDepth, p.K - k);
    const float* rows_of_pass = p.a + O::row_word(k);
    int64_t stride = p.a_stride;
    if (p.scratch != nullptr) {
      const Rows<const float> part = {p.a + k, p.a_stride};
      const Rows<const float> made = prepare_rows<O>(part, p.rows, depth, p.scratch);
      rows_of_pass = made.data, stride = made.stride;
    }
    const auto columns_of = [&](int64_t panel) {
      return p.b + (panel * O::words(p.K) + k / O::kGroup) * kWidth;
    };
    for (int64_t i = 0, panel = sweep.first; i < sweep.count; ++i, panel += sweep.step) {
      typename O::template Panel<NV> columns(
          columns_of(panel), depth, p.rows,
          parts_at(p.parts, panel * O::row_word(p.K) + O::row_word(k), kWidth));
      for (int64_t first = 0; first < p.rows; first += kTileRowsAtOnce) {
        const int64_t rows = smaller(kTileRowsAtOnce, p.rows - first);
        Vec<float> sum[kTileRowsAtOnce][NV];
        O::template tiles<NV>(
            rows_of_pass + first * stride, stride, columns, rows, sum,
            ahead_of(columns_of(sweep.after(panel)), O::words(depth) * kWidth, far, first, p.rows));
        for (int64_t r = 0; r < rows; ++r) {
          float* c = p.c + (first + r) * p.c_stride;
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) {
            const int64_t at = panel * kWidth + v * L;
            if (at >= p.columns) break;
            Vec<float> start(0.0f);
            if (k > 0 || p.accumulate)
              start = load_tail(c, at, p.columns);
            else if (p.bias != nullptr)
              start = load(p.bias + at);
            store_tail(c, at, p.columns, start + sum[r][v]);
          }
        }
      }
    }
    k += depth;
  } while (k < p.K);
}

template <int NV, class O, class T>
inline void multiply(Product<T> p, Sweep sweep) {
  if constexpr (O::kTileRegisters) {
    multiply_in_tiles<NV, O>(p, sweep);
  } else {
    if (p.scratch != nullptr) {
      const Rows<const T> made = prepare_rows<O>({p.a, p.a_stride}, p.rows, p.K, p.scratch);
      p.a = made.data, p.a_stride = made.stride;
    }
    multiply_in_vectors<NV, O>(p, sweep);
  }
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
    for (int64_t k = 0; k < O::depth(K); k += L) {
      Vec<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane)
        square[lane] = from[lane] == nullptr || k >= K ? Vec<T>(T(0)) : load_tail(from[lane], k, K);
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < L; i += O::kGroup)
        if (k + i < O::depth(K)) store(to + (k + i) / O::kGroup * width, words.word(square + i));
    }
    words.finish(to + O::depth(K) / O::kGroup * width, width);
  }
}

// Packs columns of a matrix as columns of panels: packed row k is source row row_of(k), of which
// `columns` columns are valid.
template <class O, class T, class RowOf>
inline void pack_columns(T* packed, int64_t K, int64_t columns, Range panels, RowOf row_of) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  typename O::Column words(nullptr, K);
  for (int64_t panel = panels.begin; panel < panels.end; ++panel)
    for (int64_t k = 0; k < O::depth(K); k += O::kGroup) {
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
