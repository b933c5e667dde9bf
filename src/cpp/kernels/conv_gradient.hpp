// Gradients of the weights of convolutions: outer products of gradients and windows, over the
// places of a block while both lie in a member's scratch.
#pragma once

#include "kernels/windows.hpp"

namespace unrolled::UNROLLED_ISA {

// The gradients of a block: element (place j of line i, o) of outputs [outputs.begin, outputs.end)
// is data[i * line + j * stride + o].
template <class T>
struct BlockGradients {
  const T* data;
  int64_t line, stride;
  Range outputs;
};

// Where nothing is masked they are read in place, except at the end of the array: whole vectors are
// read.
template <class T>
inline BlockGradients<T> gradients_of(const ConvGradientArgs<T>& a, const Block& block,
                                      Range outputs, T* to) {
  const Bounds<T> bounds(a.dy.activation);
  const WindowShape& s = a.shape;
  const int64_t line = (block.image * s.rows + block.row) * s.columns + block.column;
  const int64_t places = block.lines * block.columns, count = outputs.end - outputs.begin;
  if (a.dy.y == nullptr && (line + places) * a.O + 2 * kLanes<T> <= s.N * s.rows * s.columns * a.O)
    return {a.dy.data + line * a.O, block.columns * a.O, a.O, outputs};
  for (int64_t n = 0; n < places; ++n)
    copy(a.dy, bounds, (line + n) * a.O + outputs.begin, count, to + n * count);
  return {to - outputs.begin, block.columns * count, count, outputs};
}

UNROLLED_INLINE bool is_inside(const WindowShape& s, const Block& block, int64_t line, int64_t u) {
  const int64_t row = (block.row + line) * s.down - s.top + u;
  return row >= 0 && row < s.H;
}

// to[o] += the sums over places.
template <class T>
inline void add_bias_sums(const BlockGradients<T>& d, int64_t lines, int64_t columns, T* to) {
  for (int64_t o = d.outputs.begin; o < d.outputs.end; o += kLanes<T>) {
    Vec<T> sum(T(0));
    for (int64_t i = 0; i < lines; ++i)
      for (int64_t j = 0; j < columns; ++j)
        sum = sum + load(d.data + i * d.line + j * d.stride + o);
    store_tail(to, o, d.outputs.end, load_tail(to, o, d.outputs.end) + sum);
  }
}

// sum[r][v] += the sum over n < count of d[n * d_stride + r] * x[n * x_stride + v * L ...].
template <class T, int MR, int TV>
UNROLLED_INLINE void multiply_places(const T* d, int64_t d_stride, const T* x, int64_t x_stride,
                                     int64_t count, Vec<T> (&sum)[MR][TV]) {
#pragma GCC unroll 2
  for (int64_t n = 0; n < count; ++n, d += d_stride, x += x_stride) {
    Vec<T> seen[TV];
#pragma GCC unroll 4
    for (int v = 0; v < TV; ++v) seen[v] = load(x + v * kLanes<T>);
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      const Vec<T> value(d[r]);
#pragma GCC unroll 4
      for (int v = 0; v < TV; ++v) accumulate(sum[r][v], value, seen[v]);
    }
  }
}

// Adds to sums [O][h][w][C / G].
template <class T>
inline void add_dense(const ConvGradientArgs<T>& a, const Windows<T>& windows,
                      const BlockGradients<T>& d, const Block& block, T* sums) {
  const WindowShape& s = a.shape;
  const int64_t outputs = a.O / a.groups, depth = s.C / a.groups;
  const int64_t runs = a.groups == 1 ? 1 : s.w, length = a.groups == 1 ? s.w * depth : depth;
  const int64_t stride = s.right * s.C;
  for (int64_t run = 0; run < s.h * runs; ++run)
    for (int64_t group = d.outputs.begin / outputs; group * outputs < d.outputs.end; ++group) {
      const T* seen = windows.data + run / runs * windows.line + run % runs * s.C + group * depth;
      const int64_t begin = larger(group * outputs, d.outputs.begin);
      const int64_t end = smaller((group + 1) * outputs, d.outputs.end);
      for_column_parts<T>(length, [&](auto vectors, int64_t part) UNROLLED_INLINE_LAMBDA {
        constexpr int TV = decltype(vectors)::kValue;
        const int64_t column = part * kLanes<T>;
        for_row_tiles<kPartRows<TV>>(
            end - begin, [&](auto rows, int64_t first) UNROLLED_INLINE_LAMBDA {
              constexpr int MR = decltype(rows)::kValue;
              Vec<T> sum[MR][TV];
#pragma GCC unroll 12
              for (int r = 0; r < MR; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < TV; ++v) sum[r][v] = Vec<T>(T(0));
              for (int64_t i = 0; i < block.lines; ++i)
                if (is_inside(s, block, i, run / runs))
                  multiply_places(d.data + i * d.line + begin + first, d.stride,
                                  seen + i * s.down * windows.line + column, stride, block.columns,
                                  sum);
              const TileSums made(sum);
              T* to = sums + ((begin + first) * s.h * runs + run) * length;
#pragma GCC unroll 1
              for (int r = 0; r < MR; ++r, to += s.h * runs * length)
#pragma GCC unroll 4
                for (int v = 0; v < TV; ++v) {
                  const int64_t at = column + v * kLanes<T>;
                  store_tail(to, at, length, load_tail(to, at, length) + made.sums[r][v]);
                }
            });
      });
    }
}

inline constexpr int kTapsAtOnce = 5;

// Adds to sums [tap][C], for taps [v, v + W) of line u of the kernel.
template <int W, class T>
inline void add_depthwise_taps(const ConvGradientArgs<T>& a, const Windows<T>& windows,
                               const BlockGradients<T>& d, const Block& block, int64_t u,
                               int64_t first_v, T* sums) {
  constexpr int L = kLanes<T>, TV = 2;
  const WindowShape& s = a.shape;
  for (int64_t c = d.outputs.begin; c < d.outputs.end; c += TV * L) {
    Vec<T> sum[W][TV];
#pragma GCC unroll 5
    for (int v = 0; v < W; ++v)
#pragma GCC unroll 2
      for (int k = 0; k < TV; ++k) sum[v][k] = Vec<T>(T(0));
    for (int64_t i = 0; i < block.lines; ++i) {
      if (!is_inside(s, block, i, u)) continue;
      const T* gradient = d.data + i * d.line + c;
      const T* seen = windows.data + (i * s.down + u) * windows.line + first_v * windows.place + c -
                      block.channel;
      for (int64_t j = 0; j < block.columns;
           ++j, gradient += d.stride, seen += s.right * windows.place) {
        Vec<T> value[TV];
#pragma GCC unroll 2
        for (int k = 0; k < TV; ++k) value[k] = load(gradient + k * L);
#pragma GCC unroll 5
        for (int v = 0; v < W; ++v)
#pragma GCC unroll 2
          for (int k = 0; k < TV; ++k)
            accumulate(sum[v][k], load(seen + v * windows.place + k * L), value[k]);
      }
    }
#pragma GCC unroll 5
    for (int v = 0; v < W; ++v)
#pragma GCC unroll 2
      for (int k = 0; k < TV; ++k) {
        T* to = sums + (u * s.w + first_v + v) * s.C;
        const int64_t at = c + k * L;
        if (at < d.outputs.end)
          store_tail(to, at, d.outputs.end, load_tail(to, at, d.outputs.end) + sum[v][k]);
      }
  }
}

template <int W, class F>
UNROLLED_INLINE void dispatch_taps(int64_t taps, F&& f) {
  if (taps == W)
    f(Int<W>{});
  else if constexpr (W > 1)
    dispatch_taps<W - 1>(taps, static_cast<F&&>(f));
}

template <class T>
inline void add_depthwise(const ConvGradientArgs<T>& a, const Windows<T>& windows,
                          const BlockGradients<T>& d, const Block& block, T* sums) {
  for (int64_t u = 0; u < a.shape.h; ++u)
    for (int64_t v = 0; v < a.shape.w; v += kTapsAtOnce)
      dispatch_taps<kTapsAtOnce>(smaller(kTapsAtOnce, a.shape.w - v), [&](auto taps) {
        add_depthwise_taps<decltype(taps)::kValue>(a, windows, d, block, u, v, sums);
      });
}

// Adds the parts, in their order, to the gradients of outputs [outputs.begin, outputs.end).
template <class T>
inline void add_parts(const ConvGradientArgs<T>& a, Range outputs, int64_t size) {
  const WindowShape& s = a.shape;
  const int64_t depth = s.C / a.groups, taps = s.h * s.w;
  for (int64_t o = outputs.begin; o < outputs.end; ++o) {
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = 0; c < depth; ++c) {
        const int64_t at = a.depthwise ? tap * s.C + o : (o * taps + tap) * depth + c;
        T sum = a.sums[at];
        for (int64_t part = 1; part < a.parts; ++part) sum += a.sums[part * size + at];
        a.dweight[(o * depth + c) * taps + tap] += sum;
      }
    if (a.dbias == nullptr) continue;
    T sum = a.sums[size - a.O + o];
    for (int64_t part = 1; part < a.parts; ++part) sum += a.sums[part * size + size - a.O + o];
    a.dbias[o] += sum;
  }
}

template <class T>
void conv_gradient(const ConvGradientArgs<T>& a, const Team& team) {
  const WindowShape& s = a.shape;
  const int64_t weights = a.O * (s.C / a.groups) * s.h * s.w, size = weights + a.O;
  T* const scratch = a.scratch + team.rank * a.scratch_size;
  const int64_t units = unit_count(s, a.blocks);
  const Range items = share(a.parts * a.outputs, team);
  for (int64_t item = items.begin; item < items.end; ++item) {
    const int64_t part = item / a.outputs, range = item % a.outputs;
    const Range outputs{a.O * range / a.outputs, a.O * (range + 1) / a.outputs};
    T* const sums = a.sums + part * size;
    if (a.depthwise)
      for (int64_t tap = 0; tap < s.h * s.w; ++tap)
        fill(sums + tap * s.C + outputs.begin, outputs.end - outputs.begin, T(0));
    else
      fill(sums + weights / a.O * outputs.begin, weights / a.O * (outputs.end - outputs.begin),
           T(0));
    fill(sums + weights + outputs.begin, outputs.end - outputs.begin, T(0));
    for_blocks(
        s, a.blocks, {units * part / a.parts, units * (part + 1) / a.parts}, [&](Block block) {
          if (a.depthwise)
            block.channel = outputs.begin, block.channels = outputs.end - outputs.begin;
          const BlockGradients<T> d = gradients_of(a, block, outputs, scratch + a.windows_size);
          add_bias_sums(d, block.lines, block.columns, sums + weights);
          // Whole vectors are read here too.
          const int64_t line = smaller(s.H, (block.row + block.lines - 1) * s.down - s.top + s.h);
          const int64_t last = (block.column + block.columns - 1) * s.right - s.left + s.w;
          const int64_t end = (block.image * s.H + line - 1) * s.W + smaller(s.W, last);
          const bool ends = end * s.C + 2 * kLanes<T> > s.N * s.H * s.W * s.C;
          see_block(a.x, s, block, ends ? s.columns + 1 : a.least_in_place, T(0), scratch,
                    [&](const Windows<T>& windows, const Block& part) {
                      BlockGradients<T> seen = d;
                      seen.data += (part.column - block.column) * d.stride;
                      if (a.depthwise)
                        add_depthwise(a, windows, seen, part, sums);
                      else
                        add_dense(a, windows, seen, part, sums);
                    });
        });
  }
  sync(team);
  add_parts(a, share(a.O, team), size);
}

}  // namespace unrolled::UNROLLED_ISA
