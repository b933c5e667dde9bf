// BPTT through a step of a cell with two products: the second one first.
#pragma once

#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

// Backward::cell_step of such a cell.
template <bool lookup, class Cell, class O, class Scan, class T>
UNROLLED_INLINE void step_back_in_phases(const Scan& scan, const BackwardArgs<T>& a, int64_t t,
                                         int64_t chunk_row, int buffer) {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, L = Y::L;
  constexpr int kOwn = Cell::kProjects ? 1 : 0;  // states that have the units of the gates
  const Plan& plan = *a.plan;
  const PackedLayer<T>& w = *a.weights;
  const int64_t rows = scan.own.count(plan.live[t]);
  const Rows<T>&dinput = a.dinput[buffer], &dsecond = a.dsecond[buffer];

  const auto load_saved = [&](int64_t token, int64_t block, V* saved) UNROLLED_INLINE_LAMBDA {
    const T* from = Y::saved_at(a.saved, a.saved_rows, block, token - scan.first_saved);
#pragma GCC unroll 4
    for (int i = 0; i < Cell::kSavedCount; ++i) saved[i] = load(from + i * L);
  };
  const auto load_states = [&](const Rows<T>& h, int64_t token, int64_t block,
                               V* state) UNROLLED_INLINE_LAMBDA {
#pragma GCC unroll 2
    for (int k = kOwn; k < S; ++k) {
      const Rows<T>& from = k == 0 ? h : a.states[k];
      state[k] = load(from.data + (token - scan.first_state) * from.stride + block * L);
    }
  };
  const auto carry_at = [&](int k, int64_t j, int64_t block) UNROLLED_INLINE_LAMBDA {
    return a.carry[k].data + j * a.carry[k].stride + block * L;
  };
  const auto dinput_at = [&](int64_t j, int64_t block) UNROLLED_INLINE_LAMBDA {
    return dinput.data + (chunk_row + j) * dinput.stride + block * Y::kBlockWidth;
  };

  for (int64_t block = scan.outputs.begin / L; block * L < scan.outputs.end; ++block)
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t j = scan.own.row(n), token = plan.offset[t] + j;
      V saved[Cell::kSavedCount], state[S], d[S], stayed, dx[G], du;
      d[0] = scan.taken(0, t, j, block * L, stayed);
      if constexpr (!Cell::kProjects) {
        load_saved(token, block, saved);
        load_states(a.states[0], token, block, state);
      }
      if constexpr (Cell::kFunctionCount > 0)
        Cell::second_backward(saved, state, d, dx, du, w.gates);
      else
        Cell::second_backward(saved, state, d, dx, du);
      store(carry_at(0, j, block), d[0] + stayed);
      store(dsecond.data + (chunk_row + j) * dsecond.stride + block * L, du);
#pragma GCC unroll 4
      for (int g = Cell::kFirstGradients; g < G; ++g) store(dinput_at(j, block) + g * L, dx[g]);
    }
  if (!scan.by_rows) sync(scan.team);
  const Rows<const T> from =
      scan.own.template of<const T>(dsecond.data + chunk_row * dsecond.stride, dsecond.stride);
  const Rows<T> dmiddle = scan.own.of(a.dmiddle.data, a.dmiddle.stride);
  multiply<kPlainVectors, O>(Product<T>{.a = from.data,
                                        .a_stride = from.stride,
                                        .b = w.second_t,
                                        .K = Y::Second::gate_width(w.R),
                                        .c = dmiddle.data,
                                        .c_stride = dmiddle.stride,
                                        .rows = rows,
                                        .columns = Y::blocks(w.H) * L,
                                        .bias = nullptr,
                                        .accumulate = false},
                             Sweep{plain_panels<T>(scan.units), t});
  for (int64_t block = scan.units.begin / L; block * L < scan.units.end; ++block)
    for (int64_t n = 0; n < rows; ++n) {
      const int64_t j = scan.own.row(n), token = plan.offset[t] + j;
      V saved[Cell::kSavedCount], state[S], d[S], stayed[S], dx[G], m;
      load_saved(token, block, saved);
      load_states(a.multiplied, token, block, state);
      if constexpr (!Cell::kProjects) d[0] = load(carry_at(0, j, block)), stayed[0] = V(T(0));
#pragma GCC unroll 2
      for (int k = 1; k < S; ++k) d[k] = scan.taken(k, t, j, block * L, stayed[k]);
      T* const dx_block = dinput_at(j, block);
#pragma GCC unroll 4
      for (int g = Cell::kFirstGradients; g < G; ++g) dx[g] = load(dx_block + g * L);
      // Where h is multiplied with factors, what comes through m is, too, and the rest is not.
      const bool masked = !Cell::kProjects && a.factors != nullptr;
      const V past = masked ? d[0] : V(T(0)),
              dm = load(dmiddle.data + n * dmiddle.stride + block * L);
      if (masked) d[0] = V(T(0));
      with_options<Cell>(a.cell_limit, w.gates, [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
        Cell::first_backward(saved, state, dm, d, dx, m, options...);
      });
      if (masked) d[0] = multiply_add(scan.factors_at(j, block * L), d[0], past);
#pragma GCC unroll 2
      for (int k = kOwn; k < S; ++k) store(carry_at(k, j, block), d[k] + stayed[k]);
      store(a.middle[buffer].data + (chunk_row + j) * a.middle[buffer].stride + block * L, m);
#pragma GCC unroll 4
      for (int g = 0; g < Cell::kFirstGradients; ++g) store(dx_block + g * L, dx[g]);
      if constexpr (Y::First::G < G) {
        const Rows<T>& dfirst = a.drecurrent[buffer];
        T* to = dfirst.data + (chunk_row + j) * dfirst.stride + block * Y::First::kBlockWidth;
#pragma GCC unroll 4
        for (int g = 0; g < Y::First::G; ++g) store(to + g * L, dx[g]);
      }
      if constexpr (lookup) {
        T* sum =
            a.dlookup.data + a.lookup.tokens[token] * a.dlookup.stride + block * Y::kBlockWidth;
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) store(sum + g * L, load(sum + g * L) + dx[g]);
      }
    }
}

}  // namespace unrolled::UNROLLED_ISA
