// What kernels over images share: a member's blocks of places, and copies of what they see.
#pragma once

#include "kernels/tile.hpp"

namespace unrolled::UNROLLED_ISA {

// What an activation leaves alone lies between two bounds.
template <class T>
struct Bounds {
  Vec<T> low, high;
  UNROLLED_INLINE_MEMBER explicit Bounds(Activation activation)
      : low(activation == Activation::kNone ? -static_cast<T>(__builtin_inf()) : T(0)),
        high(activation == Activation::kRelu6 ? T(6) : static_cast<T>(__builtin_inf())) {}

  UNROLLED_INLINE_MEMBER Vec<T> apply(Vec<T> a) const { return min(max(a, low), high); }
  // The gradient d of what became y.
  UNROLLED_INLINE_MEMBER Vec<T> pull(Vec<T> d, Vec<T> y) const {
    return where_positive(y - low, where_positive(high - y, d, Vec<T>(T(0))), Vec<T>(T(0)));
  }
};

// Elements [at, at + L) of images, where `end` is the end of what may be read.
template <class T>
UNROLLED_INLINE Vec<T> load_masked(const Images<T>& images, const Bounds<T>& bounds, int64_t at,
                                   int64_t end) {
  const Vec<T> value = load_tail(images.data, at, end);
  return images.y == nullptr ? value : bounds.pull(value, load_tail(images.y, at, end));
}

// Consecutive places of one line, or of whole lines, of one image, and the channels that they see.
struct Block {
  int64_t image, row, lines, column, columns, channel, channels;
};

// Calls f(block) for the blocks of units [units.begin, units.end), a unit being a piece of a line
// of a range of channels.
template <class F>
UNROLLED_INLINE void for_blocks(const WindowShape& s, const WindowBlocks& b, Range units, F&& f) {
  const int64_t chunks = ceil_div(s.C, b.channels);
  for (int64_t unit = units.begin; unit < units.end;) {
    const int64_t line = unit / b.pieces, piece = unit % b.pieces;
    const int64_t row = line % s.rows, image = line / s.rows / chunks;
    const int64_t channel = line / s.rows % chunks * b.channels;
    const int64_t lines =
        b.pieces > 1 ? 1 : smaller(smaller(b.lines, s.rows - row), units.end - unit);
    const int64_t begin = s.columns * piece / b.pieces, end = s.columns * (piece + 1) / b.pieces;
    f(Block{image, row, lines, begin, end - begin, channel, smaller(b.channels, s.C - channel)});
    unit += lines;
  }
}
UNROLLED_INLINE int64_t unit_count(const WindowShape& s, const WindowBlocks& b) {
  return s.N * ceil_div(s.C, b.channels) * s.rows * b.pieces;
}

// Where the windows of a block lie: tap (u, v) of place (i, j) of the block begins at
// data + (i * down + u) * line + (j * right + v) * place, with the block's first channel.
template <class T>
struct Windows {
  const T* data;
  int64_t line, place;
};

template <class T>
inline void fill(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; i += kLanes<T>) store_tail(to, i, count, Vec<T>(value));
}

template <class T>
inline void copy(const Images<T>& images, const Bounds<T>& bounds, int64_t from, int64_t count,
                 T* to) {
  const Images<T> here{images.data + from, images.y == nullptr ? nullptr : images.y + from,
                       images.activation};
  for (int64_t i = 0; i < count; i += kLanes<T>)
    store_tail(to, i, count, load_masked(here, bounds, i, count));
}

// Copies what a block sees, with `outside` around the images.
template <class T>
inline Windows<T> copy_windows(const Images<T>& images, const WindowShape& s, const Block& block,
                               T outside, T* to) {
  const Bounds<T> bounds(images.activation);
  const int64_t first = block.row * s.down - s.top, lines = (block.lines - 1) * s.down + s.h;
  const int64_t column = block.column * s.right - s.left;
  const int64_t columns = (block.columns - 1) * s.right + s.w;
  const int64_t before = larger(0, smaller(-column, columns));
  const int64_t seen = larger(0, smaller(s.W - column, columns) - before);
  const int64_t width = block.channels;
  const Windows<T> windows{to, columns * width, width};
  for (int64_t line = first; line < first + lines; ++line, to += columns * width) {
    if (line < 0 || line >= s.H || seen == 0) {
      fill(to, columns * width, outside);
      continue;
    }
    const int64_t from = ((block.image * s.H + line) * s.W + column + before) * s.C + block.channel;
    fill(to, before * width, outside);
    if (width == s.C)
      copy(images, bounds, from, seen * width, to + before * width);
    else
      for (int64_t j = 0; j < seen; ++j)
        copy(images, bounds, from + j * s.C, width, to + (before + j) * width);
    fill(to + (before + seen) * width, (columns - before - seen) * width, outside);
  }
  return windows;
}

// Calls f(windows, part) for the parts of a block: the places whose windows reach over neither side
// of the image, where there are at least `least_in_place` of them a line, are seen in place, and
// the others in copies. Lines of windows in place that lie above or below the image must not be
// read.
template <class T, class F>
inline void see_block(const Images<T>& images, const WindowShape& s, const Block& block,
                      int64_t least_in_place, T outside, T* scratch, F&& f) {
  const auto columns_of = [&](int64_t begin, int64_t end) {
    Block part = block;
    part.column = begin, part.columns = end - begin;
    return part;
  };
  const auto see_copy = [&](const Block& part) {
    if (part.columns > 0) f(copy_windows(images, s, part, outside, scratch), part);
  };
  const int64_t end = block.column + block.columns, last = s.W + s.left - s.w;
  const int64_t from = larger(block.column, ceil_div(larger(s.left, 0), s.right));
  const int64_t to = last < 0 ? from : smaller(end, last / s.right + 1);
  if (to - from < least_in_place) return see_copy(block);
  see_copy(columns_of(block.column, from));
  const int64_t line = block.image * s.H + block.row * s.down - s.top;
  const int64_t at = (line * s.W + from * s.right - s.left) * s.C + block.channel;
  f(Windows<T>{images.data + at, s.W * s.C, s.C}, columns_of(from, to));
  see_copy(columns_of(to, end));
}

// Calls f(Int<TV>, vector) for parts of `columns` columns, beginning at vector `vector`. A part of
// a panel has as many vectors as tiles can hold with rows enough to hide the latency of
// multiply-adds; the last one has what is left.
template <int TV, class F>
UNROLLED_INLINE void dispatch_vectors(int64_t vectors, int64_t first, F&& f) {
  if (vectors == TV)
    f(Int<TV>{}, first);
  else if constexpr (TV > 1)
    dispatch_vectors<TV - 1>(vectors, first, static_cast<F&&>(f));
}
inline constexpr int kPartVectors = kVectorRegisters == 32 ? 4 : 2;
template <class T, class F>
UNROLLED_INLINE void for_column_parts(int64_t columns, F&& f) {
  const int64_t vectors = ceil_div(columns, kLanes<T>);
  for (int64_t first = 0; first < vectors; first += kPartVectors)
    dispatch_vectors<kPartVectors>(smaller(kPartVectors, vectors - first), first, f);
}
template <int TV>
inline constexpr int kPartRows = kAccumulators / TV < 12 ? kAccumulators / TV : 12;

}  // namespace unrolled::UNROLLED_ISA
