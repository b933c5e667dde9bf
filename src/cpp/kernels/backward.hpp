// Back-propagation through time: the same scan, walked backwards. Each member owns a range of
// hidden units; per step it adds dz W_hh to the gradient that enters its units and applies the
// cell's backward. The products that do not depend on the order of steps (dx and the weight
// gradients) run over a chunk of steps at a time, while its rows are still in the cache.
#pragma once

#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

template <class Cell, class T>
struct Backward {
  using V = Vec<T>;
  using Y = Layout<Cell, T>;
  static constexpr int S = Cell::kStateCount;

  const BackwardArgs<T>& a;
  const Team& team;
  const Plan& plan = *a.plan;
  const PackedLayer<T>& w = *a.weights;
  const int64_t H = w.H;
  const int64_t K = Y::gate_width(H);
  const Range panels = share(ceil_div(H, kPlainPanel<T>), team);
  const int64_t first_unit = panels.begin * kPlainPanel<T>;
  const int64_t end_unit = smaller(panels.end * kPlainPanel<T>, H);
  // This member's packed gate columns.
  const Range columns = {first_unit / Y::L * Y::kBlockWidth,
                         ceil_div(end_unit, Y::L) * Y::kBlockWidth};

  void run() const {
    Rows<T> later{};        // recurrent gradients of the step that was processed before
    int64_t later_t = -1;   // and that step
    int buffer = 0;
    for (int64_t end = plan.T; end > 0; buffer ^= 1) {
      const Chunk chunk = chunk_before(plan, end, a.chunk_tokens);
      for (int64_t s = chunk.end - 1; s >= chunk.begin; --s) {
        const int64_t t = step_at(plan, s);
        receive(later, later_t, plan.live[t]);
        cell_step(t, plan.offset[t] - chunk.first_row, buffer);
        sync(team);
        const Rows<T>& d = a.drecurrent[buffer];
        later = {d.data + (plan.offset[t] - chunk.first_row) * d.stride, d.stride};
        later_t = t;
      }
      weight_gradients(chunk, buffer);
      if (a.dx.data != nullptr) input_gradient(chunk, buffer);
      end = chunk.begin;
    }
    receive(later, later_t, 0);
  }

  // Turns `carry` from the gradients of the states that enter step `later_t` into those of the
  // states that leave the step before it, which has `live` rows.
  void receive(const Rows<T>& later, int64_t later_t, int64_t live) const {
    const int64_t later_live = later_t < 0 ? 0 : plan.live[later_t];
    if (later_live > 0)
      multiply<kPlainVectors>(Product<T>{.a = later.data,
                                         .a_stride = later.stride,
                                         .b = w.recurrent_t,
                                         .K = K,
                                         .c = a.carry[0].data,
                                         .c_stride = a.carry[0].stride,
                                         .rows = later_live,
                                         .columns = Y::blocks(H) * Y::L,
                                         .bias = nullptr,
                                         .accumulate = true},
                              panels);
    for (int k = 0; k < S; ++k) {
      const Rows<T>& carry = a.carry[k];
      if (plan.resets != nullptr)
        for (int64_t j = 0; j < later_live; ++j)
          if (is_reset(plan, later_t, j))
            for (int64_t u = first_unit; u < end_unit; u += Y::L)
              store(carry.data + j * carry.stride + u, V(T(0)));
      for (int64_t j = live; j < later_live; ++j)  // began at later_t
        for (int64_t u = first_unit; u < end_unit; u += Y::L)
          store_tail(a.dinitial[k] + plan.order[j] * H, u, H,
                     load(carry.data + j * carry.stride + u));
      for (int64_t j = later_live; j < live; ++j) {  // ended before later_t
        const T* from = a.dfinal[k] == nullptr ? nullptr : a.dfinal[k] + plan.order[j] * H;
        for (int64_t u = first_unit; u < end_unit; u += Y::L)
          store(carry.data + j * carry.stride + u,
                from == nullptr ? V(T(0)) : load_tail(from, u, H));
      }
    }
  }

  // The cell's backward on all live rows of step t; its gradients go to `row` of the chunk buffer.
  void cell_step(int64_t t, int64_t row, int buffer) const {
    const Rows<T>&dinput = a.dinput[buffer], &drecurrent = a.drecurrent[buffer];
    for (int64_t j = 0; j < plan.live[t]; ++j) {
      const int64_t token = plan.offset[t] + j;
      const T* saved_row = a.saved + token * Y::saved_width(H);
      const T* dy = a.dy.data == nullptr ? nullptr
                                         : a.dy.data + t * a.dy.step + plan.order[j] * a.dy.row;
      T* dx_row = dinput.data + (row + j) * dinput.stride;
      T* dr_row = drecurrent.data + (row + j) * drecurrent.stride;
      for (int64_t unit = first_unit; unit < end_unit; unit += Y::L) {
        const int64_t block = unit / Y::L;
        V saved[Cell::kSavedCount], state[S], d[S], dx[Y::G], dr[Y::G];
#pragma GCC unroll 8
        for (int i = 0; i < Cell::kSavedCount; ++i)
          saved[i] = load(saved_row + (block * Cell::kSavedCount + i) * Y::L);
#pragma GCC unroll 4
        for (int k = 0; k < S; ++k) {
          state[k] = load(a.states[k].data + token * a.states[k].stride + unit);
          d[k] = load(a.carry[k].data + j * a.carry[k].stride + unit);
        }
        if (dy != nullptr) d[0] = d[0] + load_tail(dy, unit, H);
        Cell::backward(saved, state, d, dx, dr);
#pragma GCC unroll 4
        for (int k = 0; k < S; ++k) store(a.carry[k].data + j * a.carry[k].stride + unit, d[k]);
#pragma GCC unroll 8
        for (int g = 0; g < Y::G; ++g) {
          store(dx_row + block * Y::kBlockWidth + g * Y::L, dx[g]);
          if constexpr (Cell::kSplitGradient)
            store(dr_row + block * Y::kBlockWidth + g * Y::L, dr[g]);
        }
      }
    }
  }

  // Rows of this member's gates in all four parameter gradients.
  void weight_gradients(const Chunk& chunk, int buffer) const {
    if (columns.begin == columns.end) return;
    const Rows<const T> x = input_rows(plan, chunk, a.x, w.I,
                                       a.gathered + team.rank * a.chunk_rows * w.I);
    T* strip = a.strips + team.rank * kStripRows * kPlainPanel<T>;
    const Rows<T>&dinput = a.dinput[buffer], &drecurrent = a.drecurrent[buffer];
    accumulate_outer(OuterProduct<T>{dinput.data, dinput.stride, x.data, x.stride, chunk.rows, w.I,
                                     strip},
                     columns, rows_of(a.grads.weight_ih, w.I));
    const Rows<T>& h = a.states[0];
    accumulate_outer(OuterProduct<T>{drecurrent.data, drecurrent.stride,
                                     h.data + chunk.first_row * h.stride, h.stride, chunk.rows, H,
                                     strip},
                     columns, rows_of(a.grads.weight_hh, H));
    bias_gradient(dinput, chunk.rows, a.grads.bias_ih);
    bias_gradient(drecurrent, chunk.rows, a.grads.bias_hh);
  }

  auto rows_of(T* matrix, int64_t width) const {
    return [matrix, width, H = H](int64_t m) -> T* {
      const int64_t row = Y::torch_row(m, H);
      return row < 0 ? nullptr : matrix + row * width;
    };
  }

  void bias_gradient(const Rows<T>& d, int64_t rows, T* grad) const {
    if (grad == nullptr) return;
    for (int64_t p = columns.begin; p < columns.end; p += Y::L) {
      V sum(T(0));
      for (int64_t n = 0; n < rows; ++n) sum = sum + load(d.data + n * d.stride + p);
      T* to = grad + Y::torch_row(p, H);
      const int64_t valid = H - p / Y::kBlockWidth * Y::L;
      store_tail(to, 0, valid, load_tail(to, 0, valid) + sum);
    }
  }

  // dx for this member's rows of the chunk. An existing dx is added to after the product, so that
  // the bits are the same whether rows are in place or gathered.
  void input_gradient(const Chunk& chunk, int buffer) const {
    const Range part = share(chunk.rows, team);
    const bool direct = !a.accumulate_dx && in_place(plan, a.dx);
    const Rows<T>& d = a.dinput[buffer];
    T* c = direct ? a.dx.data + (chunk.first_row + part.begin) * a.dx.row
                  : a.gathered + (team.rank * a.chunk_rows + part.begin) * w.I;
    multiply<kPlainVectors>(Product<T>{.a = d.data + part.begin * d.stride,
                                       .a_stride = d.stride,
                                       .b = w.input_t,
                                       .K = K,
                                       .c = c,
                                       .c_stride = direct ? a.dx.row : w.I,
                                       .rows = part.end - part.begin,
                                       .columns = w.I,
                                       .bias = nullptr,
                                       .accumulate = false},
                            {0, ceil_div(w.I, kPlainPanel<T>)});
    if (direct) return;
    for_user_rows(plan, chunk, part, a.dx, [&](int64_t row, T* to) {
      const T* from = c + (row - part.begin) * w.I;
      for (int64_t i = 0; i < w.I; ++i) to[i] = a.accumulate_dx ? to[i] + from[i] : from[i];
    });
  }
};

template <class Cell, class T>
void run_backward(const BackwardArgs<T>& args, const Team& team) {
  Backward<Cell, T>{args, team}.run();
}

}  // namespace unrolled::UNROLLED_ISA
