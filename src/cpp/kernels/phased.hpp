// A step of a cell with two products, the second of which multiplies whole rows that the first one
// made: all members do their part of the first, meet, and do their part of the second.
#pragma once

#include "kernels/fused.hpp"
#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

// Forward::advance of such a cell.
template <class Cell, class O, class Scan>
UNROLLED_INLINE void advance_in_phases(const Scan& scan, const OwnRows& mine, int64_t entering,
                                       int64_t live, int64_t leaving, int64_t token,
                                       const Chunk& chunk, int64_t t) {
  using V = typename Scan::V;
  using T = typename V::Scalar;
  using Y = Layout<Cell, T, O>;
  using First = typename Y::First;
  using Second = typename Y::Second;
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, L = Y::L;
  constexpr int kOwn = Cell::kProjects ? 1 : 0;  // states that have the units of the gates
  const ForwardArgs<T>& a = scan.a;
  const PackedLayer<T>& w = scan.w;
  const int64_t rows = mine.count(live), H = w.H, R = w.R;
  const bool kept = a.saved != nullptr;
  T* const values = kept ? a.saved : a.hold;
  const int64_t value_rows = kept ? a.saved_rows : a.chunk_rows;
  const int64_t first_value = kept ? token - scan.first_saved : 0;

  const auto load_gates = [&](int64_t row, int64_t block, V* x) UNROLLED_INLINE_LAMBDA {
    const T* gates = a.gates.data + scan.gate_row(token + row, chunk) * a.gates.stride;
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) x[g] = load(gates + block * Y::kBlockWidth + g * L);
  };
  const auto load_states = [&](const Rows<T>& h, int64_t row, int64_t block,
                               V* state) UNROLLED_INLINE_LAMBDA {
#pragma GCC unroll 2
    for (int k = kOwn; k < S; ++k) {
      const Rows<T>& from = k == 0 ? h : a.states[k];
      state[k] = load(from.data + (entering + row) * from.stride + block * L);
    }
  };
  const auto values_at = [&](int64_t row, int64_t block) UNROLLED_INLINE_LAMBDA {
    return Y::saved_at(values, value_rows, block, first_value + row);
  };

  const Rows<T>&h = a.states[0], &multiplied = a.multiplied;
  multiply_fused<First, O>(
      mine.template of<const T>(multiplied.data + entering * multiplied.stride, multiplied.stride),
      rows, FusedColumns<T>{w.recurrent, w.bias_recurrent, R},
      Sweep{First::panels_of(scan.units), t + a.turn},
      [&](int64_t n, int64_t panel, const V* sum) UNROLLED_INLINE_LAMBDA {
        const int64_t row = mine.row(n);
#pragma GCC unroll 4
        for (int i = 0; i < First::kBlocks; ++i) {
          const int64_t block = panel * First::kBlocks + i;
          if (block * L >= H) return;
          V x[G], state[S], next[S], saved[Cell::kSavedCount], m;
          load_gates(row, block, x);
          load_states(multiplied, row, block, state);
          with_options<Cell>(
              a.cell_limit, w.gates, [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
                Cell::first(x, sum + i * First::G, state, next, saved, m, options...);
              });
          store(a.middle.data + row * a.middle.stride + block * L, m);
#pragma GCC unroll 2
          for (int k = 1; k < S; ++k)
            if (leaving >= 0) scan.leave(k, state[k], next[k], leaving + row, block * L, t, row);
          if (values == nullptr) continue;
#pragma GCC unroll 4
          for (int v = 0; v < Cell::kFirstSaved; ++v)
            store(values_at(row, block) + v * L, saved[v]);
        }
      });
  if (!scan.by_rows) sync(scan.team);
  multiply_fused<Second, O>(
      mine.template of<const T>(a.middle.data, a.middle.stride), rows,
      FusedColumns<T>{w.second, w.second_bias, H},
      Sweep{Second::panels_of(scan.outputs), t + a.turn},
      [&](int64_t n, int64_t panel, const V* sum) UNROLLED_INLINE_LAMBDA {
        const int64_t row = mine.row(n);
#pragma GCC unroll 4
        for (int i = 0; i < Second::kBlocks; ++i) {
          const int64_t block = panel * Second::kBlocks + i;
          if (block * L >= R) return;
          V x[G], state[S], next[S], saved[Cell::kSavedCount];
          if constexpr (!Cell::kProjects) {
            load_gates(row, block, x);
            load_states(h, row, block, state);
#pragma GCC unroll 4
            for (int v = 0; v < Cell::kFirstSaved; ++v)
              saved[v] = load(values_at(row, block) + v * L);
          }
          if constexpr (Cell::kFunctionCount > 0)
            Cell::second(x, sum[i], state, next, saved, w.gates);
          else
            Cell::second(x, sum[i], state, next, saved);
          if (leaving >= 0) {
            if constexpr (Cell::kProjects)  // read with zoneout alone
              state[0] = a.update[0].data == nullptr
                             ? next[0]
                             : load(h.data + (entering + row) * h.stride + block * L);
            scan.leave(0, state[0], next[0], leaving + row, block * L, t, row);
          }
          if (!kept) continue;
#pragma GCC unroll 4
          for (int v = Cell::kFirstSaved; v < Cell::kSavedCount; ++v)
            store(values_at(row, block) + v * L, saved[v]);
        }
      });
}

}  // namespace unrolled::UNROLLED_ISA
