// A product whose sums never leave the registers (or, a part of a panel at a time, L1) before the
// cell is applied to them.
#pragma once

#include "kernels/gemm.hpp"

namespace unrolled::UNROLLED_ISA {

// Columns packed in panels of Y::kVectors vectors, K long, and what sums of each begin with.
template <class T>
struct FusedColumns {
  const T *packed, *bias;
  int64_t K;
  const T* parts = nullptr;  // see Product
};

template <class Y, class O, bool multiplied, class T, class Use>
UNROLLED_INLINE void multiply_fused_in_vectors(const Rows<const T>& from, int64_t rows,
                                               const FusedColumns<T>& columns, Sweep sweep,
                                               Use&& use) {
  constexpr int NV = Y::kVectors;
  const int64_t size = O::words(columns.K) * Y::kPanelWidth;
  const PassRows<T> pass = {from.data, from.stride, rows,
                            columns.K, size,        is_far<T>(sweep.count * size)};
  for (int64_t i = 0, panel = sweep.first; i < sweep.count; ++i, panel += sweep.step) {
    const T* packed = columns.packed + panel * size;
    const T* next = columns.packed + sweep.after(panel) * size;
    const T* bias = columns.bias + panel * Y::kPanelWidth;
    for_row_groups<NV>(rows, [&](int64_t first, int64_t count) UNROLLED_INLINE_LAMBDA {
      Vec<T> sum[kGroupTiles * kTileRows<NV>][NV];
      if constexpr (multiplied)
        sum_rows<NV, O>(pass, first, count, packed, next, bias,
                        Rows<T>{&sum[0][0].v[0], Y::kPanelWidth});
      else
        for (int64_t r = 0; r < count; ++r)
          for (int v = 0; v < NV; ++v) sum[r][v] = load(bias + v * Y::L);
      for (int64_t r = 0; r < count; ++r) use(first + r, panel, sum[r]);
    });
  }
}

template <class Y, class O, class Use>
UNROLLED_INLINE void multiply_fused_in_tiles(const Rows<const float>& from, int64_t rows,
                                             const FusedColumns<float>& columns, Sweep sweep,
                                             Use&& use) {
  constexpr int NV = Y::kVectors;
  const int64_t size = O::words(columns.K) * Y::kPanelWidth;
  const bool far = columns.parts == nullptr && is_far<float>(sweep.count * size);
  for (int64_t i = 0, panel = sweep.first; i < sweep.count; ++i, panel += sweep.step) {
    const float* packed = columns.packed + panel * size;
    const float* next = columns.packed + sweep.after(panel) * size;
    const float* bias = columns.bias + panel * Y::kPanelWidth;
    typename O::template Panel<NV> panel_columns(
        packed, columns.K, rows,
        parts_at(columns.parts, panel * O::row_word(columns.K), Y::kPanelWidth));
    for (int64_t first = 0; first < rows; first += kTileRowsAtOnce) {
      const int64_t count = smaller(kTileRowsAtOnce, rows - first);
      Vec<float> sum[kTileRowsAtOnce][NV];
      O::template tiles<NV>(from.data + first * from.stride, from.stride, panel_columns, count, sum,
                            ahead_of(next, size, far, first, rows));
      for (int64_t r = 0; r < count; ++r) {
        Vec<float> row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = load(bias + v * Y::L) + sum[r][v];
        use(first + r, panel, row);
      }
    }
  }
}

// Calls use(n, panel, sums) with the Y::kVectors vectors of sums of row n, for all rows and panels.
// Without `multiplied` there is no product, only the bias.
template <class Y, class O, bool multiplied = true, class T, class Use>
UNROLLED_INLINE void multiply_fused(const Rows<const T>& from, int64_t rows,
                                    const FusedColumns<T>& columns, Sweep sweep, Use&& use) {
  if constexpr (O::kTileRegisters) {
    static_assert(multiplied, "a cell without a recurrent product has no narrow kernels");
    multiply_fused_in_tiles<Y, O>(from, rows, columns, sweep, use);
  } else {
    multiply_fused_in_vectors<Y, O, multiplied>(from, rows, columns, sweep, use);
  }
}

}  // namespace unrolled::UNROLLED_ISA
