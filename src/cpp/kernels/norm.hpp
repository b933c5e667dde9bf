// Batch normalisation: statistics of channels in one pass, and passes that apply them.
#pragma once

#include "kernels/windows.hpp"

namespace unrolled::UNROLLED_ISA {

// Rows that are read twice while they lie in L1. Their sums are in T, those of blocks in double.
inline constexpr int64_t kMomentRows = 64;

// Calls f(row, rows) for blocks of this member's parts, part by part, and begin(part) before each.
template <class Begin, class F>
UNROLLED_INLINE void for_row_blocks(int64_t rows, int64_t parts, const Team& team, Begin begin,
                                    F&& f) {
  const Range mine = share(parts, team);
  for (int64_t part = mine.begin; part < mine.end; ++part) {
    begin(part);
    const int64_t end = rows * (part + 1) / parts;
    for (int64_t row = rows * part / parts; row < end; row += kMomentRows)
      f(part, row, smaller(kMomentRows, end - row));
  }
}

// Joins to a mean and a sum of squares around it, of `count` values, those of `more` others. Chan,
// Golub and LeVeque 1979.
UNROLLED_INLINE void join_moments(double& mean, double& squares, double count, double other,
                                  double other_squares, double more) {
  const double away = other - mean, both = count + more;
  mean += away * (more / both);
  squares += other_squares + away * away * (count * more / both);
}

template <class T>
void moments(const MomentsArgs<T>& a, const Team& team) {
  constexpr int L = kLanes<T>;
  int64_t count = 0;
  for_row_blocks(
      a.rows, a.parts, team,
      [&](int64_t part) {
        count = 0;
        for (int64_t i = 0; i < 2 * a.C; ++i) a.sums[part * 2 * a.C + i] = 0.0;
      },
      [&](int64_t part, int64_t row, int64_t rows) {
        double* const mean = a.sums + part * 2 * a.C;
        double* const squares = mean + a.C;
        for (int64_t c = 0; c < a.C; c += L) {
          const T* x = a.x + row * a.C;
          Vec<T> sum(T(0)), square(T(0));
          for (int64_t n = 0; n < rows; ++n) sum = sum + load_tail(x + n * a.C, c, a.C);
          const Vec<T> middle = sum * Vec<T>(T(1) / static_cast<T>(rows));
          for (int64_t n = 0; n < rows; ++n) {
            const Vec<T> away = load_tail(x + n * a.C, c, a.C) - middle;
            square = multiply_add(away, away, square);
          }
          for (int lane = 0; lane < L && c + lane < a.C; ++lane)
            join_moments(mean[c + lane], squares[c + lane], static_cast<double>(count),
                         middle.v[lane], square.v[lane], static_cast<double>(rows));
        }
        count += rows;
      });
  sync(team);
  const Range channels = share(a.C, team);
  for (int64_t c = channels.begin; c < channels.end; ++c) {
    double mean = 0.0, squares = 0.0, seen = 0.0;
    for (int64_t part = 0; part < a.parts; ++part) {
      const double more =
          static_cast<double>(a.rows * (part + 1) / a.parts - a.rows * part / a.parts);
      const double* other = a.sums + part * 2 * a.C;
      if (more > 0.0) join_moments(mean, squares, seen, other[c], other[a.C + c], more);
      seen += more;
    }
    a.mean[c] = static_cast<T>(mean);
    a.variance[c] = static_cast<T>(squares / seen);
  }
}

template <class T>
void normalise(const NormaliseArgs<T>& a, const Team& team) {
  const Bounds<T> bounds(a.activation);
  const Range rows = share(a.rows, team);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const T* x = a.x + row * a.C;
    T* y = a.y + row * a.C;
    for (int64_t c = 0; c < a.C; c += kLanes<T>)
      store_tail(y, c, a.C,
                 bounds.apply(multiply_add(load_tail(x, c, a.C) - load_tail(a.mean, c, a.C),
                                           load_tail(a.scale, c, a.C), load_tail(a.bias, c, a.C))));
  }
}

template <class T>
inline Images<T> at_row(const Images<T>& images, int64_t row, int64_t C) {
  return {images.data + row * C, images.y == nullptr ? nullptr : images.y + row * C,
          images.activation};
}

template <class T>
void normalise_backward(const NormaliseBackwardArgs<T>& a, const Team& team) {
  constexpr int L = kLanes<T>;
  const Bounds<T> bounds(a.dy.activation);
  for_row_blocks(
      a.rows, a.parts, team,
      [&](int64_t part) {
        for (int64_t i = 0; i < 2 * a.C; ++i) a.sums[part * 2 * a.C + i] = 0.0;
      },
      [&](int64_t part, int64_t row, int64_t rows) {
        double* const sums = a.sums + part * 2 * a.C;
        for (int64_t c = 0; c < a.C; c += L) {
          const Vec<T> mean = load_tail(a.mean, c, a.C);
          Vec<T> sum(T(0)), products(T(0));
          for (int64_t n = row; n < row + rows; ++n) {
            const Vec<T> d = load_masked(at_row(a.dy, n, a.C), bounds, c, a.C);
            sum = sum + d;
            products = multiply_add(d, load_tail(a.x + n * a.C, c, a.C) - mean, products);
          }
          for (int lane = 0; lane < L && c + lane < a.C; ++lane) {
            sums[c + lane] += sum.v[lane];
            sums[a.C + c + lane] += products.v[lane];
          }
        }
      });
  sync(team);
  const Range channels = share(a.C, team);
  for (int64_t c = channels.begin; c < channels.end; ++c) {
    double sum = 0.0, products = 0.0;
    for (int64_t part = 0; part < a.parts; ++part) {
      sum += a.sums[part * 2 * a.C + c];
      products += a.sums[part * 2 * a.C + a.C + c];
    }
    const double inverse = a.inverse[c];
    a.dbias[c] += static_cast<T>(sum);
    a.dweight[c] += static_cast<T>(products * inverse);
    const double rows = a.of_batch ? static_cast<double>(a.rows) : __builtin_inf();
    a.means[c] = static_cast<T>(sum / rows);
    a.means[a.C + c] = static_cast<T>(products * inverse * inverse / rows);
  }
  if (a.dx == nullptr) return;
  sync(team);
  const Range rows = share(a.rows, team);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t c = 0; c < a.C; c += L) {
      const Vec<T> d = load_masked(at_row(a.dy, row, a.C), bounds, c, a.C);
      const Vec<T> away = load_tail(a.x + row * a.C, c, a.C) - load_tail(a.mean, c, a.C);
      store_tail(a.dx + row * a.C, c, a.C,
                 load_tail(a.scale, c, a.C) *
                     (d - load_tail(a.means, c, a.C) - away * load_tail(a.means + a.C, c, a.C)));
    }
}

}  // namespace unrolled::UNROLLED_ISA
