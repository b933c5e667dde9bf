// Clips the gradient of h that BPTT carries from a step to the one before.
#pragma once

#include "kernels/layout.hpp"
#include "kernels/squares.hpp"

namespace unrolled::UNROLLED_ISA {

// On this member's columns of rows 0 .. live - 1 of the carry. A row's norm is that of its panels'
// sums of squares, added in order by everybody: the same bits whoever owns which panel.
template <class Scan, class T>
inline void clip_carry(const Scan& scan, const BackwardArgs<T>& a, int64_t live) {
  constexpr int64_t kPanel = kPlainPanel<T>;
  const Range mine = scan.outputs, panels = plain_panels<T>(mine);
  const auto row_of = [&](int64_t j) { return a.carry[0].data + j * a.carry[0].stride; };
  const auto each_vector = [&](int64_t j, auto change) {
    for (int64_t u = mine.begin; u < mine.end; u += kLanes<T>)
      store(row_of(j) + u, change(load(row_of(j) + u)));
  };
  if (a.clip_value < static_cast<T>(kUnlimited))
    scan.own.each(0, live, [&](int64_t j) {
      each_vector(j, [&](Vec<T> d) { return clip(d, Vec<T>(a.clip_value)); });
    });
  if (!scan.clips_norm) return;
  scan.own.each(0, live, [&](int64_t j) {
    for (int64_t p = panels.begin; p < panels.end; ++p)
      a.squares.data[j * a.squares.stride + p] =
          sum_squares(row_of(j) + p * kPanel, smaller(kPanel, scan.R - p * kPanel));
  });
  if (!scan.by_rows) sync(scan.team);
  scan.own.each(0, live, [&](int64_t j) {
    double total = 0;
    for (int64_t p = 0; p < a.squares.stride; ++p)
      total += a.squares.data[j * a.squares.stride + p];
    const double factor = static_cast<double>(a.clip_norm) / __builtin_sqrt(total);
    if (!(factor >= 1.0))  // a NaN goes on
      each_vector(j, [&](Vec<T> d) { return d * Vec<T>(static_cast<T>(factor)); });
  });
}

}  // namespace unrolled::UNROLLED_ISA
