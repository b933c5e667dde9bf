// Weights of convolutions in the order in which tiles read them; see ConvPack.
#pragma once

#include "kernels/windows.hpp"

namespace unrolled::UNROLLED_ISA {

// Elements p, p + stride, ... of `count` lanes; zeros in the others.
template <class T>
UNROLLED_INLINE Vec<T> load_strided(const T* p, int64_t stride, int64_t count) {
  if (stride == 1) return load_tail(p, 0, count);
  Vec<T> a(T(0));
  for (int lane = 0; lane < kLanes<T>; ++lane)
    if (lane < count) a.v[lane] = p[lane * stride];
  return a;
}

// Calls f(m * columns + l, tap of the weight).
template <class T, class F>
UNROLLED_INLINE void for_taps(const ConvPack<T>& p, F&& f) {
  for (int64_t m = 0; m < p.rows; ++m)
    for (int64_t l = 0; l < p.columns; ++l)
      f(m * p.columns + l, (p.first_u + m * p.step_u) * p.w + p.first_v + l * p.step_v);
}

// Rows of the weight, one an output, become columns of a panel: squares of L are transposed.
template <class T>
inline void pack_panel(const ConvPack<T>& p, int64_t group, int64_t panel, T* to) {
  constexpr int L = kLanes<T>;
  const int64_t outputs = p.O / p.groups, depth = p.C / p.groups, taps = p.h * p.w;
  for (int64_t v = 0; v < kPlainVectors; ++v) {
    const int64_t first = panel * kPlainPanel<T> + v * L;
    int64_t channel = 0, tap = 0;
    for (int64_t k = 0; k < depth * taps; k += L) {
      Vec<T> square[L];
#pragma GCC unroll 16
      for (int lane = 0; lane < L; ++lane)
        square[lane] = first + lane < outputs
                           ? load_tail(p.weight + (group * outputs + first + lane) * depth * taps,
                                       k, depth * taps)
                           : Vec<T>(T(0));
      transpose(square);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        if (k + i < depth * taps)
          store(to + (tap * depth + channel) * kPlainPanel<T> + v * L, square[i]);
        if (++tap == taps) tap = 0, ++channel;
      }
    }
  }
}

template <class T>
inline void pack_panel_t(const ConvPack<T>& p, int64_t group, int64_t panel, T* to) {
  constexpr int L = kLanes<T>;
  const int64_t outputs = p.O / p.groups, depth = p.C / p.groups, taps = p.h * p.w;
  for_taps(p, [&](int64_t, int64_t tap) {
    for (int64_t o = 0; o < outputs; ++o, to += kPlainPanel<T>)
      for (int v = 0; v < kPlainVectors; ++v) {
        const int64_t c = panel * kPlainPanel<T> + v * L;
        store(to + v * L, load_strided(p.weight + ((group * outputs + o) * depth + c) * taps + tap,
                                       taps, smaller(L, larger(0, depth - c))));
      }
  });
}

template <class T>
void pack_conv(const ConvPack<T>& p, const Team& team) {
  constexpr int64_t kWidth = kPlainPanel<T>;
  const int64_t taps = p.h * p.w;
  if (p.depthwise) {
    const int64_t width = ceil_div(p.C, kWidth) * kWidth;
    const Range vectors = share(width / kLanes<T>, team);
    for_taps(p, [&](int64_t place, int64_t tap) {
      for (int64_t c = vectors.begin * kLanes<T>; c < vectors.end * kLanes<T>; c += kLanes<T>)
        store(p.packed + place * width + c, load_strided(p.weight + c * taps + tap, taps,
                                                         smaller(kLanes<T>, larger(0, p.C - c))));
    });
  } else {
    const int64_t outputs = p.O / p.groups, depth = p.C / p.groups;
    const int64_t panels = ceil_div(p.transposed ? depth : outputs, kWidth);
    const int64_t size = p.rows * p.columns * (p.transposed ? outputs : depth) * kWidth;
    const Range mine = share(p.groups * panels, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      T* const to = p.packed + i * size;
      if (p.transposed)
        pack_panel_t(p, i / panels, i % panels, to);
      else
        pack_panel(p, i / panels, i % panels, to);
    }
  }
  sync(team);
}

}  // namespace unrolled::UNROLLED_ISA
