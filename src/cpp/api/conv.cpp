#include "api/conv.hpp"

#include <algorithm>
#include <vector>

#include "runtime/dispatch.hpp"
#include "runtime/threads.hpp"

namespace unrolled {
namespace {

// Elements of all parts of a weight's gradient.
constexpr int64_t kPartElements = int64_t{1} << 22;

// The rest of a convolution whose shape, weights and arrays are known.
template <class T>
void plan(ConvArgs<T>& a, const Kernels<T>& k, int size) {
  if (is_flat(a.shape) && a.y.place * a.shape.columns == a.y.line &&
      a.y.line * a.shape.rows == a.y.image)
    a.shape = flattened(a.shape);
  const WindowShape& s = a.shape;
  a.least_in_place =
      a.x.y != nullptr ? s.columns + 1 : least_in_place(s, a.depthwise, k.images->lanes);
  a.blocks = blocks_of(s, kBlockElements, a.depthwise ? k.panel : s.C, size);
  a.scratch_size = a.least_in_place == 1 ? 0 : scratch_elements(s, a.blocks, k.panel);
}

// Sizes that a weight and its groups must have.
template <class T>
const T* checked_weight(const char* name, const ArrayView& weight, int64_t groups) {
  const int64_t O = axis(weight, 0), depth = axis(weight, 1), h = axis(weight, 2),
                w = axis(weight, 3);
  const T* data = contiguous<const T>({name, "weight", "(O, C / groups, h, w)", {O, depth, h, w}},
                                      weight, Access::kRead);
  if (groups < 1 || O < 1 || O % groups != 0 || depth < 1 || h < 1 || w < 1)
    fail_value("[", name, "] expected weight of shape (O, C / groups, h, w), none of them 0, with ",
               "groups that divide O, got ", shape_text(weight), " and ", groups, " groups");
  return data;
}

template <class T>
int64_t packed_size(const ConvPack<T>& p, int64_t panel) {
  const int64_t taps = p.rows * p.columns, outputs = p.O / p.groups, depth = p.C / p.groups;
  if (p.depthwise) return taps * round_up(p.C, panel);
  return p.groups * taps *
         (p.transposed ? round_up(depth, panel) * outputs : round_up(outputs, panel) * depth);
}

template <class T>
Images<T> images(const T* data) {
  return {data, nullptr, Activation::kNone};
}

// Along one axis: gradients of places of phase `phase`, those t with (t + before) % stride ==
// phase, are a convolution of dy by every stride-th tap, the last one first.
struct Phase {
  int64_t phase, taps, first, count, before;  // t = first, first + stride, ..., `count` of them
};
// The phase of place `first`, which is the first one of it.
Phase phase_of(int64_t first, int64_t stride, int64_t taps, int64_t before, int64_t size) {
  const int64_t at = first + before;
  const int64_t q = at >= 0 ? at / stride : -((stride - 1 - at) / stride);
  const int64_t phase = at - q * stride;
  const int64_t mine = phase < taps ? (taps - 1 - phase) / stride + 1 : 0;
  return {phase, mine, first, (size - first - 1) / stride + 1, mine - 1 - q};
}

// The gradient of what a convolution reads, one convolution of dy a phase.
template <class T>
struct InputGradient {
  std::vector<ConvPack<T>> packs;
  std::vector<ConvArgs<T>> phases;
  Buffer<T> packed;
  int64_t scratch_size = 0;

  InputGradient(const KernelTable& table, const ConvGradientArgs<T>& g, const T* weight, T* dx,
                int size) {
    const Kernels<T>& k = kernels_of<T>(table);
    const WindowShape& s = g.shape;
    int64_t total = 0;
    for (int64_t line = 0; line < std::min(s.down, s.H); ++line)
      for (int64_t column = 0; column < std::min(s.right, s.W); ++column) {
        const Phase u = phase_of(line, s.down, s.h, s.top, s.H);
        const Phase v = phase_of(column, s.right, s.w, s.left, s.W);
        ConvArgs<T> a{};
        a.shape = {s.N, s.rows, s.columns, g.O,      u.taps,  v.taps,
                   1,   1,      u.before,  v.before, u.count, v.count};
        // Without taps nothing is seen, and the result is zero.
        if (u.taps * v.taps == 0) a.shape.h = a.shape.w = a.shape.top = a.shape.left = 0;
        a.O = s.C, a.groups = g.groups, a.depthwise = g.depthwise;
        a.x = g.dy;
        a.y = {dx + (u.first * s.W + v.first) * s.C, s.H * s.W * s.C, s.down * s.W * s.C,
               s.right * s.C};
        plan(a, k, size);
        scratch_size = std::max(scratch_size, a.scratch_size);
        const ConvPack<T> pack{weight,
                               g.O,
                               s.C,
                               g.groups,
                               s.h,
                               s.w,
                               a.shape.h,
                               a.shape.w,
                               u.phase + (u.taps - 1) * s.down,
                               -s.down,
                               v.phase + (v.taps - 1) * s.right,
                               -s.right,
                               g.depthwise,
                               true,
                               nullptr};
        packs.push_back(pack);
        phases.push_back(a);
        total += packed_size(pack, k.panel);
      }
    packed = Buffer<T>(total);
    T* to = packed.data();
    for (size_t i = 0; i < packs.size(); ++i) {
      phases[i].packed = packs[i].packed = to;
      to += packed_size(packs[i], k.panel);
    }
  }

  // Several phases read the same gradients: image by image, so that these are in the cache.
  void run(const ImageKernels<T>& k, const Team& team) const {
    const int64_t count = phases.size() > 1 ? phases[0].shape.N : 1;
    for (int64_t n = 0; n < count; ++n)
      for (const ConvArgs<T>& phase : phases) {
        ConvArgs<T> a = phase;
        const int64_t at = n * a.shape.H * a.shape.W * a.shape.C;
        a.shape.N /= count;
        a.x.data += at;
        if (a.x.y != nullptr) a.x.y += at;
        a.y.data += n * a.y.image;
        k.conv(a, team);
      }
  }
};

template <class T>
void plan_gradient(ConvGradientArgs<T>& g, int64_t panel, int64_t lanes) {
  if (is_flat(g.shape)) g.shape = flattened(g.shape);
  const WindowShape& s = g.shape;
  const int64_t weights = g.O * (s.C / g.groups) * s.h * s.w;
  const int64_t places = s.N * s.rows * s.columns;
  // Parts of a few thousand places; their number does not depend on the threads.
  g.parts = std::clamp<int64_t>(std::min(places / 2048, kPartElements / weights), 1, 16);
  g.outputs = g.parts >= 8 ? 1 : std::clamp<int64_t>(g.O / 12, 1, 8 / g.parts);
  if (g.depthwise) g.outputs = (s.C + panel - 1) / panel;
  const int64_t each = (g.O + g.outputs - 1) / g.outputs;
  WindowBlocks& b = g.blocks = blocks_of(s, kBlockElements, g.depthwise ? each : s.C, 1);
  // Sums long enough for what an addition to dweight costs, gradients few enough for L2.
  b.lines = std::min(b.lines, std::max<int64_t>(256 / s.columns, 1));
  g.windows_size = scratch_elements(s, b, panel);
  g.scratch_size = g.windows_size + round_up(b.lines * largest_piece(s, b) * each + panel, panel);
  g.least_in_place = least_in_place(s, g.depthwise, lanes);
  b.channels = s.C;  // a range of outputs says which of them a depthwise block has
}

}  // namespace

template <class T>
PackedConv<T> pack_conv(const ArrayView& weight, const ArrayView& bias, int64_t groups) {
  const char* name = "conv2d";
  const T* w = checked_weight<T>(name, weight, groups);
  const int64_t O = axis(weight, 0), depth = axis(weight, 1);
  PackedConv<T> packed{kernels(),
                       O,
                       depth * groups,
                       groups,
                       axis(weight, 2),
                       axis(weight, 3),
                       depth == 1 && O == groups,
                       {},
                       {}};
  const Kernels<T>& k = kernels_of<T>(packed.table);
  ConvPack<T> pack{w, O, packed.C, groups, packed.h,         packed.w, packed.h, packed.w,
                   0, 1, 0,        1,      packed.depthwise, false,    nullptr};
  packed.weight = Buffer<T>(packed_size(pack, k.panel));
  pack.packed = packed.weight.data();
  const T* b = contiguous<const T>({name, "bias", "(O,)", {O}}, bias, Access::kRead);
  if (b != nullptr) {
    const int64_t parts = packed.depthwise ? 1 : groups, each = O / parts;
    const int64_t width = round_up(each, k.panel);
    packed.bias = Buffer<T>(parts * width);
    std::fill(packed.bias.data(), packed.bias.data() + parts * width, T(0));
    for (int64_t part = 0; part < parts; ++part)
      std::copy(b + part * each, b + (part + 1) * each, packed.bias.data() + part * width);
  }
  run_team(team_size(4.0 * static_cast<double>(packed.weight.size()), 1, O),
           [&](const Team& team) { k.images->pack_conv(pack, team); });
  return packed;
}

template <class T>
void run_packed_conv(const PackedConv<T>& packed, const ArrayView& x, const ArrayView& residual,
                     const ArrayView& y, const WindowOptions& windows, Activation activation) {
  const char* name = "conv2d";
  ConvArgs<T> args{};
  WindowShape& s = args.shape = window_shape(name, x, y, packed.h, packed.w, windows);
  const Expected result{name, "y", "(N, H', W', O)", {s.N, s.rows, s.columns, packed.O}};
  args.x = images(contiguous<const T>({name, "x", "(N, H, W, C)", {s.N, s.H, s.W, packed.C}}, x,
                                      Access::kRead));
  args.y = {contiguous<T>(result, y, Access::kWrite), s.rows * s.columns * packed.O,
            s.columns * packed.O, packed.O};
  args.residual =
      contiguous<const T>({name, "residual", "(N, H', W', O)", {s.N, s.rows, s.columns, packed.O}},
                          residual, Access::kRead);
  if (is_empty(s)) return;
  args.O = packed.O, args.groups = packed.groups, args.depthwise = packed.depthwise;
  args.packed = packed.weight.data(), args.bias = packed.bias.data();
  args.activation = activation;
  const Kernels<T>& k = kernels_of<T>(packed.table);
  const int64_t units = is_flat(s) ? s.N * s.rows * s.columns / 6 : s.N * s.rows;
  const int size = team_size(window_work(s, packed.O * packed.C / packed.groups), 0, units);
  plan(args, k, size);
  Buffer<T> scratch(size * args.scratch_size);
  args.scratch = scratch.data();
  run_team(size, [&](const Team& team) { k.images->conv(args, team); });
}

template <class T>
void run_conv(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
              const ArrayView& y, const ConvOptions& options) {
  run_packed_conv(pack_conv<T>(weight, bias, options.groups), x, ArrayView{}, y, options.windows,
                  options.activation);
}

template <class T>
void run_conv_backward(const ArrayView& x, const ArrayView& weight, const ArrayView& y,
                       const ArrayView& dy, const ArrayView& dx, const ArrayView& dweight,
                       const ArrayView& dbias, const ConvOptions& options) {
  const char* name = "conv2d_backward";
  const T* w = checked_weight<T>(name, weight, options.groups);
  const int64_t O = axis(weight, 0), depth = axis(weight, 1), C = depth * options.groups;
  ConvGradientArgs<T> args{};
  const WindowShape s = args.shape =
      window_shape(name, x, dy, axis(weight, 2), axis(weight, 3), options.windows);
  args.O = O, args.groups = options.groups, args.depthwise = depth == 1 && O == options.groups;
  args.x = images(
      contiguous<const T>({name, "x", "(N, H, W, C)", {s.N, s.H, s.W, C}}, x, Access::kRead));
  args.dy = images(contiguous<const T>({name, "dy", "(N, H', W', O)", {s.N, s.rows, s.columns, O}},
                                       dy, Access::kRead));
  const T* of = contiguous<const T>({name, "y", "(N, H', W', O)", {s.N, s.rows, s.columns, O}}, y,
                                    Access::kRead);
  if (options.activation != Activation::kNone)
    args.dy.y = of, args.dy.activation = options.activation;
  T* to = contiguous<T>({name, "dx", "(N, H, W, C)", {s.N, s.H, s.W, C}}, dx, Access::kWrite);
  args.dweight = contiguous<T>({name, "dweight", "(O, C / groups, h, w)", {O, depth, s.h, s.w}},
                               dweight, Access::kWrite);
  args.dbias = contiguous<T>({name, "dbias", "(O,)", {O}}, dbias, Access::kWrite);
  if (is_empty(s)) {
    if (to != nullptr) std::fill(to, to + s.N * s.H * s.W * C, T(0));
    return;
  }
  const KernelTable& table = kernels();
  const ImageKernels<T>& k = *kernels_of<T>(table).images;
  plan_gradient(args, kernels_of<T>(table).panel, k.lanes);
  const int size = team_size(2 * window_work(s, O * depth), 2, args.parts * args.outputs);
  int64_t scratch_size = args.scratch_size;
  InputGradient<T> input(table, args, w, to, size);
  if (to == nullptr) input.phases.clear(), input.packs.clear();
  for (const ConvArgs<T>& phase : input.phases)
    scratch_size = std::max(scratch_size, phase.scratch_size);
  Buffer<T> scratch(size * scratch_size), sums(args.parts * (O * depth * s.h * s.w + O));
  args.scratch = scratch.data(), args.scratch_size = scratch_size;
  args.sums = sums.data();
  for (ConvArgs<T>& phase : input.phases)
    phase.scratch = scratch.data(), phase.scratch_size = scratch_size;
  run_team(size, [&](const Team& team) {
    k.conv_gradient(args, team);
    for (const ConvPack<T>& pack : input.packs) k.pack_conv(pack, team);
    input.run(k, team);
  });
}

#define UNROLLED_INSTANTIATE(T)                                                              \
  template PackedConv<T> pack_conv<T>(const ArrayView&, const ArrayView&, int64_t);          \
  template void run_packed_conv<T>(const PackedConv<T>&, const ArrayView&, const ArrayView&, \
                                   const ArrayView&, const WindowOptions&, Activation);      \
  template void run_conv<T>(const ArrayView&, const ArrayView&, const ArrayView&,            \
                            const ArrayView&, const ConvOptions&);                           \
  template void run_conv_backward<T>(const ArrayView&, const ArrayView&, const ArrayView&,   \
                                     const ArrayView&, const ArrayView&, const ArrayView&,   \
                                     const ArrayView&, const ConvOptions&);
UNROLLED_INSTANTIATE(float)
UNROLLED_INSTANTIATE(double)

}  // namespace unrolled
