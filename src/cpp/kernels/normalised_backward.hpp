// BPTT through a step of a cell whose products are normalised, row by row, and the gradients of the
// norms' parameters.
#pragma once

#include "kernels/normalised.hpp"

namespace unrolled::UNROLLED_ISA {

// The first `count` lanes, zeros behind.
template <class T>
UNROLLED_INLINE Vec<T> keep_some(Vec<T> a, int64_t count) {
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes<T>; ++lane)
    if (lane >= count) a.v[lane] = T(0);
  return a;
}

// Where a row of `dscaled` holds the gradients of what stands behind the norms: of the input
// part's, of the recurrent part's, where it differs, and of the cell's, with the normalised cell
// itself.
template <class Cell, class T, class O>
struct ScaledLayout {
  using Y = Layout<Cell, T, O>;
  static constexpr int kParts = Cell::kSplitGradient ? 2 : 1;

  UNROLLED_INLINE int64_t recurrent(int64_t H) { return (kParts - 1) * Y::gate_width(H); }
  UNROLLED_INLINE int64_t cell(int64_t H) { return kParts * Y::gate_width(H); }
  UNROLLED_INLINE int64_t cell_hat(int64_t H) { return cell(H) + Y::blocks(H) * Y::L; }
};

// Through v = gain * hat, hat = norm(x), of one row: dx = (d - mean(d) - hat * mean(d * hat)) /
// deviation with d = gain * dv. Sums of d and d * hat first, then dx.
template <class T>
struct NormBackward {
  Vec<T> sum = Vec<T>(T(0)), products = Vec<T>(T(0));
  Vec<T> mean, product_mean, inverse;

  UNROLLED_INLINE_MEMBER void add(Vec<T> d, Vec<T> hat) {
    sum = sum + d;
    products = multiply_add(d, hat, products);
  }
  UNROLLED_INLINE_MEMBER void finish(int64_t count, T inverse_deviation) {
    mean = Vec<T>(sum_lanes(sum) / static_cast<T>(count));
    product_mean = Vec<T>(sum_lanes(products) / static_cast<T>(count));
    inverse = Vec<T>(inverse_deviation);
  }
  UNROLLED_INLINE_MEMBER Vec<T> dx(Vec<T> d, Vec<T> hat) const {
    return inverse * (d - mean - hat * product_mean);
  }
};

// Backward::cell_step of such a cell.
template <class Cell, class O, class Scan, class T>
UNROLLED_INLINE void step_back_normalised(const Scan& scan, const BackwardArgs<T>& a, int64_t t,
                                          int64_t chunk_row, int buffer) {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  using Scaled = ScaledLayout<Cell, T, O>;
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, L = Y::L;
  const Plan& plan = *a.plan;
  const int64_t H = a.weights->H, blocks = Y::blocks(H), live = plan.live[t];
  const auto norm_of = [&](int64_t block) UNROLLED_INLINE_LAMBDA {
    return NormVectors<Cell, T>{Y::unit_at(a.weights->unit, block)};
  };
  if (!scan.by_rows) sync(scan.team);
  whole_rows(scan, scan.own, live).each(0, live, [&](int64_t j) {
    const int64_t token = plan.offset[t] + j, saved_row = token - scan.first_saved;
    T* const scaled = a.dscaled[buffer].data + (chunk_row + j) * a.dscaled[buffer].stride;
    T *const dcell = scaled + Scaled::cell(H), *const cell_hat = scaled + Scaled::cell_hat(H);
    T* const dinput = a.dinput[buffer].data + (chunk_row + j) * a.dinput[buffer].stride;
    T* const drecurrent = a.drecurrent[buffer].data + (chunk_row + j) * a.drecurrent[buffer].stride;
    const auto values = [&](int64_t block) UNROLLED_INLINE_LAMBDA {
      return Y::saved_at(a.saved, a.saved_rows, block, saved_row);
    };
    const auto load_own = [&](int64_t block, V* saved, V* state) UNROLLED_INLINE_LAMBDA {
#pragma GCC unroll 4
      for (int i = 0; i < Cell::kSavedCount; ++i) saved[i] = load(values(block) + i * L);
#pragma GCC unroll 2
      for (int k = 0; k < S; ++k)
        state[k] =
            load(a.states[k].data + (token - scan.first_state) * a.states[k].stride + block * L);
    };
    NormBackward<T> of_cell;
    if constexpr (Cell::kNormalisesCell) {
      V saved[Cell::kSavedCount], state[S], dx[G], stayed, dn;
      for (int64_t block = 0; block < blocks; ++block) {
        load_own(block, saved, state);
        store(cell_hat + block * L, Cell::cell(saved, state, V(a.cell_limit)));
      }
      const RowMoments<T> moments = moments_of<1>(cell_hat, H);
      for (int64_t block = 0; block < blocks; ++block) {
        load_own(block, saved, state);
        const NormVectors<Cell, T> norm = norm_of(block);
        const V hat = moments.normalised(load(cell_hat + block * L));
        Cell::output_backward(saved, multiply_add(hat, norm.cell_gain(), norm.cell_shift()),
                              scan.taken(0, t, j, block * L, stayed), dn, dx);
        of_cell.add(norm.cell_gain() * dn, hat);
        store(cell_hat + block * L, hat);
        store(dcell + block * L, dn);
        store(scaled + (block * G + G - 1) * L, dx[G - 1]);
      }
      of_cell.finish(H, moments.inverse);
    }
    NormBackward<T> of_input, of_recurrent;
    for (int64_t block = 0; block < blocks; ++block) {
      const NormVectors<Cell, T> norm = norm_of(block);
      V saved[Cell::kSavedCount], state[S], d[S], stayed[S], dx[G], dr[G];
      load_own(block, saved, state);
#pragma GCC unroll 2
      for (int k = 0; k < S; ++k) d[k] = scan.taken(k, t, j, block * L, stayed[k]);
      T* const at = scaled + block * Y::kBlockWidth;
      if constexpr (Cell::kNormalisesCell) {
        dx[G - 1] = load(at + (G - 1) * L);
        const V dn = norm.cell_gain() * load(dcell + block * L);
        d[1] = d[1] + of_cell.dx(dn, load(cell_hat + block * L));
        if (block * L + L > H) d[1] = keep_some(d[1], H - block * L);
      }
      with_options<Cell>(a.cell_limit, a.weights->gates,
                         [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
                           constexpr V* kNone = nullptr;
                           Cell::backward(saved, kNone, state, d, dx, dr, kNone, options...);
                         });
#pragma GCC unroll 2
      for (int k = 0; k < S; ++k)
        store(a.carry[k].data + j * a.carry[k].stride + block * L, d[k] + stayed[k]);
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const T* hats = values(block) + (Cell::kSavedCount + g) * L;
        if constexpr (!Cell::kSplitGradient) dr[g] = dx[g];
        of_input.add(norm.input(g) * dx[g], load(hats));
        of_recurrent.add(norm.recurrent(g) * dr[g], load(hats + G * L));
        store(at + g * L, dx[g]);
        if constexpr (Cell::kSplitGradient) store(at + Scaled::recurrent(H) + g * L, dr[g]);
      }
    }
    of_input.finish(G * H, a.moments[2 * saved_row]);
    of_recurrent.finish(G * H, a.moments[2 * saved_row + 1]);
    for (int64_t block = 0; block < blocks; ++block)
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t p = (block * G + g) * L;
        const T* hats = values(block) + (Cell::kSavedCount + g) * L;
        const NormVectors<Cell, T> norm = norm_of(block);
        const V dx = norm.input(g) * load(scaled + p);
        const V dr = norm.recurrent(g) * load(scaled + Scaled::recurrent(H) + p);
        store(dinput + p, of_input.dx(dx, load(hats)));
        store(drecurrent + p, of_recurrent.dx(dr, load(hats + G * L)));
      }
  });
}

// Adds the gradients of gains and shifts over a chunk, for `blocks` of units.
template <class Cell, class O, class Scan, class T>
inline void norm_gradients(const Scan& scan, const BackwardArgs<T>& a, const Chunk& chunk,
                           int buffer, Range blocks) {
  using V = Vec<T>;
  using Y = Layout<Cell, T, O>;
  using Scaled = ScaledLayout<Cell, T, O>;
  constexpr int G = Cell::kGateCount, L = Y::L;
  const int64_t H = a.weights->H;
  const Rows<T>& d = a.dscaled[buffer];
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    V shift[2][G], gain[2][G], cell_shift(T(0)), cell_gain(T(0));
    for (int part = 0; part < 2; ++part)
      for (int g = 0; g < G; ++g) shift[part][g] = gain[part][g] = V(T(0));
    const T* values = Y::saved_at(a.saved, a.saved_rows, block, chunk.first_row - scan.first_saved);
    for (int64_t row = 0; row < chunk.rows; ++row, values += Y::kSaved * L) {
      const T* scaled = d.data + row * d.stride;
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t p = (block * G + g) * L;
        const V dx = load(scaled + p), dr = load(scaled + Scaled::recurrent(H) + p);
        const T* hats = values + (Cell::kSavedCount + g) * L;
        shift[0][g] = shift[0][g] + dx;
        shift[1][g] = shift[1][g] + dr;
        gain[0][g] = multiply_add(dx, load(hats), gain[0][g]);
        gain[1][g] = multiply_add(dr, load(hats + G * L), gain[1][g]);
      }
      if constexpr (Cell::kNormalisesCell) {
        const V dn = load(scaled + Scaled::cell(H) + block * L);
        cell_shift = cell_shift + dn;
        cell_gain = multiply_add(dn, load(scaled + Scaled::cell_hat(H) + block * L), cell_gain);
      }
    }
    const auto add_to = [&](T* gradient, int64_t column, V sum) {
      if (gradient == nullptr) return;
      const int64_t valid = smaller(L, H - block * L);
      store_some(gradient + column, load_some(gradient + column, valid) + sum, valid);
    };
    for (int g = 0; g < G; ++g) {
      add_to(a.grads.bias_ih, g * H + block * L, shift[0][g]);
      add_to(a.grads.bias_hh, g * H + block * L, shift[1][g]);
      add_to(a.grads.weight_unit, g * H + block * L, gain[0][g]);
      add_to(a.grads.weight_unit, (G + g) * H + block * L, gain[1][g]);
    }
    if constexpr (Cell::kNormalisesCell) {
      add_to(a.grads.weight_unit, 2 * G * H + block * L, cell_gain);
      add_to(a.grads.weight_unit, (2 * G + 1) * H + block * L, cell_shift);
    }
  }
}

}  // namespace unrolled::UNROLLED_ISA
