// A step of a cell whose products are normalised, for which a row has to be whole: all members do
// their part of the product, meet, and go through rows of it.
#pragma once

#include "kernels/layout.hpp"

namespace unrolled::UNROLLED_ISA {

// Added to variances, as in torch.nn.LayerNorm.
inline constexpr double kNormEpsilon = 1e-5;

template <class T>
struct RowMoments {
  T mean, inverse;  // one over the standard deviation

  UNROLLED_INLINE_MEMBER Vec<T> normalised(Vec<T> x) const {
    return (x - Vec<T>(mean)) * Vec<T>(inverse);
  }
};

// Those of a row of H units with G packed gates: the mean first, then squares around it.
template <int G, class T>
UNROLLED_INLINE RowMoments<T> moments_of(const T* row, int64_t H) {
  constexpr int L = kLanes<T>;
  const int64_t whole = H / L, rest = H % L;
  const T count = static_cast<T>(G * H);
  const auto sum = [&](Vec<T> padding, auto term) UNROLLED_INLINE_LAMBDA {
    Vec<T> sums[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; ++g) sums[g] = Vec<T>(T(0));
    for (int64_t block = 0; block < whole; ++block)
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) sums[g] = term(load(row + (block * G + g) * L), sums[g]);
    for (int g = 0; rest > 0 && g < G; ++g)
      sums[g] = term(load_some(row + (whole * G + g) * L, rest, padding), sums[g]);
#pragma GCC unroll 4
    for (int g = 1; g < G; ++g) sums[0] = sums[0] + sums[g];
    return sum_lanes(sums[0]);
  };
  const T mean =
      sum(Vec<T>(T(0)), [](Vec<T> x, Vec<T> so_far) UNROLLED_INLINE_LAMBDA { return so_far + x; }) /
      count;
  const T squares = sum(Vec<T>(mean), [mean](Vec<T> x, Vec<T> so_far) UNROLLED_INLINE_LAMBDA {
    const Vec<T> away = x - Vec<T>(mean);
    return multiply_add(away, away, so_far);
  });
  const T variance = squares / count + T(kNormEpsilon);
  if constexpr (sizeof(T) == 4)
    return {mean, T(1) / __builtin_sqrtf(variance)};
  else
    return {mean, T(1) / __builtin_sqrt(variance)};
}

// The parameters of a block of units, of `kUnitNames`: gains of the input part, gains of the
// recurrent part, and where the cell is normalised its gain and shift.
template <class Cell, class T>
struct NormVectors {
  static constexpr int G = Cell::kGateCount, L = kLanes<T>;
  const T* unit;

  UNROLLED_INLINE_MEMBER Vec<T> input(int g) const { return load(unit + g * L); }
  UNROLLED_INLINE_MEMBER Vec<T> recurrent(int g) const { return load(unit + (G + g) * L); }
  UNROLLED_INLINE_MEMBER Vec<T> cell_gain() const { return load(unit + 2 * G * L); }
  UNROLLED_INLINE_MEMBER Vec<T> cell_shift() const { return load(unit + (2 * G + 1) * L); }
};

// Rows whose whole width a member goes through, of `rows` that it computes with others or alone.
template <class Scan>
UNROLLED_INLINE OwnRows whole_rows(const Scan& scan, const OwnRows& mine, int64_t rows) {
  if (scan.by_rows) return mine;
  const Range part = share(rows, scan.team);
  return {part.begin, 1, part.end};
}

// Normalises the input part of a chunk where it lies.
template <class Cell, class O, class Scan, class T>
inline void normalise_input(const Scan& scan, const ForwardArgs<T>& a, const Chunk& chunk) {
  using Y = Layout<Cell, T, O>;
  if (!scan.by_rows) sync(scan.team);
  whole_rows(scan, scan.own, chunk.rows).each(0, chunk.rows, [&](int64_t row) {
    T* x = a.gates.data + row * a.gates.stride;
    const RowMoments<T> moments = moments_of<Y::G>(x, scan.H);
    for (int64_t p = 0; p < Y::gate_width(scan.H); p += Y::L)
      store(x + p, moments.normalised(load(x + p)));
    if (a.saved != nullptr)
      a.moments[2 * (chunk.first_row + row - scan.first_saved)] = moments.inverse;
  });
}

// Forward::advance of such a cell.
template <class Cell, class O, class Scan>
UNROLLED_INLINE void advance_normalised(const Scan& scan, const OwnRows& mine, int64_t entering,
                                        int64_t live, int64_t leaving, int64_t token,
                                        const Chunk& chunk, int64_t t) {
  using V = typename Scan::V;
  using T = typename V::Scalar;
  using Y = Layout<Cell, T, O>;
  constexpr int G = Cell::kGateCount, S = Cell::kStateCount, L = Y::L;
  const ForwardArgs<T>& a = scan.a;
  const PackedLayer<T>& w = scan.w;
  const int64_t H = w.H, blocks = Y::blocks(H);
  const Rows<const T> h =
      scan.prepared(mine.template of<const T>(a.multiplied.data + entering * a.multiplied.stride,
                                              a.multiplied.stride),
                    mine.count(live), H);
  const Rows<T> product = mine.of(a.middle.data, a.middle.stride);
  multiply<Y::kVectors, O>(Product<T>{.a = h.data,
                                      .a_stride = h.stride,
                                      .b = w.recurrent,
                                      .K = H,
                                      .c = product.data,
                                      .c_stride = product.stride,
                                      .rows = mine.count(live),
                                      .columns = Y::gate_width(H),
                                      .bias = nullptr,
                                      .accumulate = false,
                                      .parts = a.parts},
                           Sweep{scan.panels, t + a.turn});
  if (!scan.by_rows) sync(scan.team);
  whole_rows(scan, mine, live).each(0, live, [&](int64_t row) {
    const T* const x_row = a.gates.data + (token + row - chunk.first_row) * a.gates.stride;
    T* const r_row = a.middle.data + row * a.middle.stride;
    T* const h_row =
        leaving < 0 ? nullptr : a.states[0].data + (leaving + row) * a.states[0].stride;
    const RowMoments<T> moments = moments_of<G>(r_row, H);
    if (a.saved != nullptr) a.moments[2 * (token + row - scan.first_saved) + 1] = moments.inverse;
    for (int64_t block = 0; block < blocks; ++block) {
      const NormVectors<Cell, T> norm{Y::unit_at(w.unit, block)};
      V x[G], r[G], state[S], next[S], saved[Y::kSaved];
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t p = (block * G + g) * L;
        const V r_hat = moments.normalised(load(r_row + p)), x_hat = load(x_row + p);
        x[g] = multiply_add(x_hat, norm.input(g), load(w.bias_input + p));
        r[g] = multiply_add(r_hat, norm.recurrent(g), load(w.bias_recurrent + p));
        saved[Cell::kSavedCount + g] = x_hat;
        saved[Cell::kSavedCount + G + g] = r_hat;
      }
#pragma GCC unroll 2
      for (int k = 0; k < S; ++k)
        state[k] = load(a.states[k].data + (entering + row) * a.states[k].stride + block * L);
      with_options<Cell>(a.cell_limit, w.gates, [&](const auto&... options) UNROLLED_INLINE_LAMBDA {
        Cell::forward(x, r, static_cast<V*>(nullptr), state, next, saved, options...);
      });
      if constexpr (Cell::kNormalisesCell) {
        // Over what has been read of the product; the gate is there in place of h.
        store(r_row + block * L, next[1]);
        if (leaving >= 0) store(h_row + block * L, next[0]);
      }
      if (leaving >= 0)
#pragma GCC unroll 2
        for (int k = Cell::kNormalisesCell ? 1 : 0; k < S; ++k)
          scan.leave(k, state[k], next[k], leaving + row, block * L, t, row);
      if (a.saved == nullptr) continue;
      T* values = Y::saved_at(a.saved, a.saved_rows, block, token + row - scan.first_saved);
#pragma GCC unroll 16
      for (int i = 0; i < Y::kSaved; ++i) store(values + i * L, saved[i]);
    }
    if constexpr (Cell::kNormalisesCell) {
      if (leaving < 0) return;
      const RowMoments<T> of_cell = moments_of<1>(r_row, H);
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t u = block * L;
        const NormVectors<Cell, T> norm{Y::unit_at(w.unit, block)};
        const V n =
            multiply_add(of_cell.normalised(load(r_row + u)), norm.cell_gain(), norm.cell_shift());
        V old(T(0));
        if (a.update[0].data != nullptr)
          old = load(a.states[0].data + (entering + row) * a.states[0].stride + u);
        scan.leave(0, old, Cell::output(load(h_row + u), n), leaving + row, u, t, row);
      }
    }
  });
  if (!scan.by_rows) sync(scan.team);
}

}  // namespace unrolled::UNROLLED_ISA
