// Convolutions and pooling: tiles of places by outputs in registers, whose rows are read from the
// windows in place or from a member's copy of a block. Each output is one chain of multiply-adds
// over taps, line by line, and over the channels of a tap.
#pragma once

#include "kernels/windows.hpp"

namespace unrolled::UNROLLED_ISA {

// What a tile adds up. Each has
//   start(args, group, column)   what a vector of sums begins with
//   run(args, windows, at, taps, group, column, sum)
//     adds what MR places see through lines `taps` of the kernel, the first one's windows beginning
//     at `at`, to TV vectors of outputs from `column` of the group on
struct DenseTaps {
  template <class T>
  UNROLLED_INLINE Vec<T> start(const ConvArgs<T>& a, int64_t group, int64_t column) {
    const int64_t width = ceil_div(a.O / a.groups, kPlainPanel<T>) * kPlainPanel<T>;
    return a.bias == nullptr ? Vec<T>(T(0)) : load(a.bias + group * width + column);
  }
  template <class T, int MR, int TV>
  UNROLLED_INLINE void run(const ConvArgs<T>& a, const Windows<T>& windows, const T* at, Range taps,
                           int64_t group, int64_t column, Vec<T> (&sum)[MR][TV]) {
    constexpr int64_t kWidth = kPlainPanel<T>;
    const WindowShape& s = a.shape;
    const int64_t depth = s.C / a.groups, panels = ceil_div(a.O / a.groups, kWidth);
    // The taps of a line lie side by side, unless another group's channels stand between them.
    const int64_t runs = a.groups == 1 ? 1 : s.w, length = a.groups == 1 ? s.w * depth : depth;
    const int64_t panel = group * panels + column / kWidth;
    const T* packed =
        a.packed + (panel * s.h + taps.begin) * s.w * depth * kWidth + column % kWidth;
    for (int64_t u = taps.begin; u < taps.end; ++u)
      for (int64_t v = 0; v < runs; ++v, packed += length * kWidth)
        multiply_tile<kPlainVectors>(at + u * windows.line + v * s.C + group * depth, s.right * s.C,
                                     1, packed, length, sum);
  }
};

struct DepthwiseTaps {
  template <class T>
  UNROLLED_INLINE Vec<T> start(const ConvArgs<T>& a, int64_t, int64_t column) {
    return a.bias == nullptr ? Vec<T>(T(0)) : load(a.bias + column);
  }
  template <class T, int MR, int TV>
  UNROLLED_INLINE void run(const ConvArgs<T>& a, const Windows<T>& windows, const T* at, Range taps,
                           int64_t, int64_t column, Vec<T> (&sum)[MR][TV]) {
    const WindowShape& s = a.shape;
    const int64_t width = ceil_div(s.C, kPlainPanel<T>) * kPlainPanel<T>;
    const int64_t stride = s.right * windows.place;
    const T* weight = a.packed + taps.begin * s.w * width + column;
    for (int64_t u = taps.begin; u < taps.end; ++u) {
      const T* seen = at + u * windows.line;
      for (int64_t v = 0; v < s.w; ++v, seen += windows.place, weight += width) {
        Vec<T> factor[TV];
#pragma GCC unroll 4
        for (int k = 0; k < TV; ++k) factor[k] = load(weight + k * kLanes<T>);
        const T* row = seen;
#pragma GCC unroll 12
        for (int r = 0; r < MR; ++r, row += stride)
#pragma GCC unroll 4
          for (int k = 0; k < TV; ++k) accumulate(sum[r][k], load(row + k * kLanes<T>), factor[k]);
      }
    }
  }
};

struct LargestTap {
  template <class T>
  UNROLLED_INLINE Vec<T> start(const ConvArgs<T>&, int64_t, int64_t) {
    return Vec<T>(-static_cast<T>(__builtin_inf()));
  }
  template <class T, int MR, int TV>
  UNROLLED_INLINE void run(const ConvArgs<T>& a, const Windows<T>& windows, const T* at, Range taps,
                           int64_t, int64_t, Vec<T> (&sum)[MR][TV]) {
    const WindowShape& s = a.shape;
    for (int64_t u = taps.begin; u < taps.end; ++u)
      for (int64_t v = 0; v < s.w; ++v) {
        const T* row = at + u * windows.line + v * windows.place;
#pragma GCC unroll 12
        for (int r = 0; r < MR; ++r, row += s.right * windows.place)
#pragma GCC unroll 4
          for (int k = 0; k < TV; ++k) {
            // A NaN on either side stays.
            const Vec<T> seen = load(row + k * kLanes<T>), best = sum[r][k];
            sum[r][k] = Vec<T>(best.v != best.v ? best.v : max(seen, best).v);
          }
      }
  }
};

// Vectors of sums of neighbouring places, the first at y[to], as they are written: with the
// residual and bounded. Not inlined into each tile, which keeps its sums in registers until then.
template <class T>
UNROLLED_OUTLINE void write_places(const ConvArgs<T>& a, int64_t to, int64_t column,
                                   int64_t outputs, int64_t places, int64_t vectors,
                                   const Vec<T>* sum) {
  constexpr int L = kLanes<T>;
  const Bounds<T> bounds(a.activation);
  for (int64_t r = 0; r < places; ++r, to += a.y.place)
    for (int64_t at = column; at < column + vectors * L; at += L) {
      Vec<T> value = *sum++;
      if (a.residual != nullptr) value = value + load_tail(a.residual + to, at, outputs);
      store_tail(a.y.data + to, at, outputs, bounds.apply(value));
    }
}

template <class Taps, class T>
inline void conv_block(const ConvArgs<T>& a, const Windows<T>& windows, const Block& block) {
  constexpr int L = kLanes<T>;
  const WindowShape& s = a.shape;
  // Outputs of a group; of a depthwise convolution those of the block's channels.
  const int64_t groups = a.depthwise ? 1 : a.groups;
  const int64_t begin = a.depthwise ? block.channel : 0;
  const int64_t outputs = a.depthwise ? block.channels : a.O / groups;
  const int64_t first = block.image * a.y.image + block.row * a.y.line + block.column * a.y.place;
  for (int64_t group = 0; group < groups; ++group)
    for_column_parts<T>(outputs, [&](auto vectors, int64_t part) UNROLLED_INLINE_LAMBDA {
      constexpr int TV = decltype(vectors)::kValue;
      const int64_t column = part * L;
      for (int64_t i = 0; i < block.lines; ++i) {
        // Lines outside of the image are left out.
        const int64_t line = (block.row + i) * s.down - s.top;
        const Range taps{larger(0, -line), smaller(s.h, s.H - line)};
        const T* seen = windows.data + i * s.down * windows.line + (a.depthwise ? column : 0);
        for_row_tiles<kPartRows<TV>>(
            block.columns, [&](auto rows, int64_t j) UNROLLED_INLINE_LAMBDA {
              constexpr int MR = decltype(rows)::kValue;
              Vec<T> sum[MR][TV];
#pragma GCC unroll 12
              for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < TV; ++v)
                  sum[r][v] = Taps::start(a, group, begin + column + v * L);
              Taps::run(a, windows, seen + j * s.right * windows.place, taps, group, begin + column,
                        sum);
              const TileSums made(sum);
              const int64_t to = first + i * a.y.line + j * a.y.place + group * outputs + begin;
              write_places(a, to, column, outputs, MR, TV, made.sums[0]);
            });
      }
    });
}

template <class Taps, class T>
inline void conv_by(const ConvArgs<T>& a, T outside, const Team& team) {
  T* const scratch = a.scratch + team.rank * a.scratch_size;
  for_blocks(a.shape, a.blocks, share(unit_count(a.shape, a.blocks), team),
             [&](const Block& block) {
               see_block(a.x, a.shape, block, a.least_in_place, outside, scratch,
                         [&](const Windows<T>& windows, const Block& part) {
                           conv_block<Taps>(a, windows, part);
                         });
             });
}

template <class T>
void conv(const ConvArgs<T>& a, const Team& team) {
  if (a.depthwise)
    conv_by<DepthwiseTaps>(a, T(0), team);
  else
    conv_by<DenseTaps>(a, T(0), team);
}

template <class T>
void max_pool(const PoolArgs<T>& a, const Team& team) {
  const WindowShape& s = a.shape;
  const ConvArgs<T> args{.shape = s,
                         .blocks = a.blocks,
                         .O = s.C,
                         .groups = s.C,
                         .depthwise = true,
                         .least_in_place = s.C % kLanes<T> == 0 ? 16 : s.columns + 1,
                         .x = {a.x, nullptr, Activation::kNone},
                         .packed = nullptr,
                         .bias = nullptr,
                         .residual = nullptr,
                         .y = {a.y, s.rows * s.columns * s.C, s.columns * s.C, s.C},
                         .activation = Activation::kNone,
                         .scratch = a.scratch,
                         .scratch_size = a.scratch_size};
  conv_by<LargestTap>(args, -static_cast<T>(__builtin_inf()), team);
}

// Images and vectors of channels are independent of each other.
template <class T>
void max_pool_backward(const PoolBackwardArgs<T>& a, const Team& team) {
  constexpr int L = kLanes<T>;
  const WindowShape& s = a.shape;
  const int64_t vectors = ceil_div(s.C, L);
  const Range units = share(s.N * vectors, team);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const int64_t image = unit / vectors, c = unit % vectors * L;
    const T* x = a.x + image * s.H * s.W * s.C;
    T* dx = a.dx + image * s.H * s.W * s.C;
    for (int64_t place = 0; place < s.H * s.W; ++place)
      store_tail(dx + place * s.C, c, s.C, Vec<T>(T(0)));
    for (int64_t row = 0; row < s.rows; ++row)
      for (int64_t column = 0; column < s.columns; ++column) {
        const int64_t from = ((image * s.rows + row) * s.columns + column) * s.C;
        const Vec<T> best = load_tail(a.y + from, c, s.C);
        Vec<T> d = load_tail(a.dy + from, c, s.C);
        // What of the window lies within the image.
        const int64_t first_line = row * s.down - s.top, first = column * s.right - s.left;
        const int64_t lines_end = smaller(first_line + s.h, s.H);
        const int64_t end = smaller(first + s.w, s.W);
        for (int64_t line = larger(0, first_line); line < lines_end; ++line)
          for (int64_t at = larger(0, first); at < end; ++at) {
            const int64_t place = (line * s.W + at) * s.C;
            const Vec<T> seen = load_tail(x + place, c, s.C);
            const auto it = (seen.v == best.v) | (seen.v != seen.v);
            const Vec<T> zero(T(0));
            store_tail(dx + place, c, s.C,
                       load_tail(dx + place, c, s.C) + Vec<T>(it ? d.v : zero.v));
            d = Vec<T>(it ? zero.v : d.v);
          }
      }
  }
}

}  // namespace unrolled::UNROLLED_ISA
