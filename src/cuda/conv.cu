// Convolutions of images.hpp. With one group what the places see is written out, a chunk of images
// at a time, and multiplied; with more, as in depthwise ones, where a product would be small, a
// thread takes an element of the result.
#include "cuda/products.hpp"
#include "cuda/scan_parts.hpp"
#include "cuda/windows.hpp"

namespace unrolled::cuda {
namespace {

// Elements that are written out at a time: 64 MiB.
constexpr int64_t kMostColumns = int64_t{1} << 24;

int64_t taps(const WindowShape& s) { return s.h * s.w * s.C; }

// Each place sees the pixel of its own number.
bool is_flat(const WindowShape& s) {
  return s.h * s.w == 1 && s.down == 1 && s.right == 1 && s.top == 0 && s.left == 0 &&
         s.rows == s.H && s.columns == s.W;
}

int64_t chunk_images(const WindowShape& s) {
  return smaller(s.N, larger(1, kMostColumns / larger(1, s.rows * s.columns * taps(s))));
}

int64_t chunk_columns(const WindowShape& s) {
  return is_flat(s) ? 0 : chunk_images(s) * s.rows * s.columns * taps(s);
}

struct ConvPieces {
  Pieces pieces;
  int64_t weight = 0, columns = 0;

  ConvPieces(const WindowShape& s, int64_t O, int64_t groups) {
    if (groups > 1) return;
    weight = pieces.take(O * taps(s));
    columns = pieces.take(chunk_columns(s));
  }
};

struct ConvBackwardPieces : ConvPieces {
  int64_t dweight = 0, dz;

  ConvBackwardPieces(const WindowShape& s, int64_t O, int64_t groups, Activation activation)
      : ConvPieces(s, O, groups) {
    if (groups == 1) dweight = pieces.take(O * taps(s));
    dz = pieces.take(activation == Activation::kNone ? 0 : places(s) * O);
  }
};

// A weight (O, C, h * w) and the same with channels last, (O, h * w, C).
struct Turned {
  float *weight, *turned;
  int64_t size, C, each;  // each: h * w
};

__device__ int64_t turned_index(const Turned& a, int64_t i) {
  const int64_t o = i / (a.C * a.each), c = i / a.each % a.C, tap = i % a.each;
  return (o * a.each + tap) * a.C + c;
}
__global__ void turn(Turned a) {
  const int64_t i = own_element();
  if (i < a.size) a.turned[turned_index(a, i)] = a.weight[i];
}
__global__ void add_turned(Turned a) {
  const int64_t i = own_element();
  if (i < a.size) a.weight[i] += a.turned[turned_index(a, i)];
}

// What all places see, (places, h * w * C).
struct Columns {
  WindowShape shape;
  const float* x;
  float* columns;
  int64_t size;
};
__global__ void write_columns(Columns a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  const WindowShape& s = a.shape;
  const int64_t c = i % s.C, v = i / s.C % s.w, u = i / (s.C * s.w) % s.h;
  const Spot place = spot_of(i / (s.C * s.w * s.h), s.rows, s.columns);
  const int64_t pixel = seen(s, place, u, v);
  a.columns[i] = pixel < 0 ? 0.0f : a.x[pixel * s.C + c];
}

// The sum of what an element of x was seen as.
struct Gathered {
  WindowShape shape;
  const float* columns;
  float* dx;
  int64_t size;
};
__global__ void gather_columns(Gathered a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  const WindowShape& s = a.shape;
  const Spot pixel = spot_of(i / s.C, s.H, s.W);
  float sum = 0.0f;
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t place = seer(s, pixel, u, v);
      if (place >= 0) sum += a.columns[((place * s.h + u) * s.w + v) * s.C + i % s.C];
    }
  a.dx[i] = sum;
}

// y = activation(y + bias + residual)
struct Finish {
  float* y;
  const float *bias, *residual;
  int64_t size, O;
  Activation activation;
};
__global__ void finish(Finish a) {
  const int64_t i = own_element();
  if (i >= a.size) return;
  float z = a.y[i];
  if (a.bias != nullptr) z += a.bias[i % a.O];
  if (a.residual != nullptr) z += a.residual[i];
  a.y[i] = activated(z, a.activation);
}

struct Behind {
  const float *y, *dy;
  float* dz;
  int64_t size;
  Activation activation;
};
__global__ void write_behind(Behind a) {
  const int64_t i = own_element();
  if (i < a.size) a.dz[i] = behind(a.dy[i], a.y[i], a.activation);
}

// Channels of a group, and the outputs of one.
struct Group {
  int64_t depth, outputs;
};
__device__ Group group_of(const WindowShape& s, int64_t O, int64_t groups) {
  return {s.C / groups, O / groups};
}

__global__ void conv_direct(Conv a) {
  const int64_t i = own_element();
  const WindowShape& s = a.shape;
  if (i >= places(s) * a.O) return;
  const Group group = group_of(s, a.O, a.groups);
  const Spot place = spot_of(i / a.O, s.rows, s.columns);
  const int64_t o = i % a.O, channel = o / group.outputs * group.depth;
  float sum = 0.0f;
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t pixel = seen(s, place, u, v);
      if (pixel < 0) continue;
      for (int64_t c = 0; c < group.depth; ++c)
        sum = multiply_add(a.weight[((o * group.depth + c) * s.h + u) * s.w + v],
                           a.x[pixel * s.C + channel + c], sum);
    }
  a.y[i] = sum;
}

__global__ void conv_direct_dx(ConvBackward a) {
  const int64_t i = own_element();
  const WindowShape& s = a.shape;
  if (i >= pixels(s) * s.C) return;
  const Group group = group_of(s, a.O, a.groups);
  const Spot pixel = spot_of(i / s.C, s.H, s.W);
  const int64_t c = i % s.C % group.depth, first = i % s.C / group.depth * group.outputs;
  float sum = 0.0f;
  for (int64_t u = 0; u < s.h; ++u)
    for (int64_t v = 0; v < s.w; ++v) {
      const int64_t place = seer(s, pixel, u, v);
      if (place < 0) continue;
      for (int64_t o = first; o < first + group.outputs; ++o)
        sum = multiply_add(a.weight[((o * group.depth + c) * s.h + u) * s.w + v],
                           a.dy[place * a.O + o], sum);
    }
  a.dx[i] = sum;
}

// One block for 32 outputs and one of (c, u, v); its threads share the places as in sum_columns.
__global__ void conv_direct_dweight(ConvBackward a) {
  UNROLLED_SHARED(parts);  // [kSumParts][kSumColumns]
  const WindowShape& s = a.shape;
  const Group group = group_of(s, a.O, a.groups);
  const int64_t each = group.depth * s.h * s.w, tap = blockIdx.x % each;
  const int64_t c = tap / (s.h * s.w), u = tap / s.w % s.h, v = tap % s.w;
  const int lane = threadIdx.x % kSumColumns, part = threadIdx.x / kSumColumns;
  const int64_t o = blockIdx.x / each * kSumColumns + lane;
  float sum = 0.0f;
  if (o < a.O)
    for (int64_t place = part; place < places(s); place += kSumParts) {
      const int64_t pixel = seen(s, spot_of(place, s.rows, s.columns), u, v);
      if (pixel < 0) continue;
      const int64_t channel = o / group.outputs * group.depth + c;
      sum = multiply_add(a.dy[place * a.O + o], a.x[pixel * s.C + channel], sum);
    }
  parts[part * kSumColumns + lane] = sum;
  __syncthreads();
  if (part != 0 || o >= a.O) return;
  for (int other = 1; other < kSumParts; ++other) sum += parts[other * kSumColumns + lane];
  a.dweight[o * each + tap] += sum;
}

// Calls run(the chunk's shape, its first image, its windows as rows) for chunks of images. Where
// places see single pixels, these are the rows themselves.
template <class F>
void for_chunks(const WindowShape& s, const float* x, float* columns, Device& device, F run) {
  const bool flat = is_flat(s);
  for (int64_t n = 0; n < s.N; n += chunk_images(s)) {
    WindowShape chunk = s;
    chunk.N = smaller(chunk_images(s), s.N - n);
    const float* images = x + n * s.H * s.W * s.C;
    const int64_t size = places(chunk) * taps(s);
    if (!flat) launch_flat(write_columns, {chunk, images, columns, size}, size, device);
    run(chunk, n, flat ? images : columns);
  }
}

void turn_weight(const WindowShape& s, int64_t O, const float* weight, float* to, Device& device) {
  launch_flat(turn, {const_cast<float*>(weight), to, O * taps(s), s.C, s.h * s.w}, O * taps(s),
              device);
}

void conv_by_products(const Conv& a, Device& device) {
  const WindowShape& s = a.shape;
  const ConvPieces at(s, a.O, a.groups);
  float* weight = a.scratch + at.weight;
  turn_weight(s, a.O, a.weight, weight, device);
  for_chunks(s, a.x, a.scratch + at.columns, device,
             [&](const WindowShape& chunk, int64_t n, const float* rows) {
               multiply<float>(device, false, true, places(chunk), a.O, taps(s), {rows, taps(s)},
                               {weight, taps(s)}, 0.0f, {a.y + n * s.rows * s.columns * a.O, a.O});
             });
}

void conv_backward_by_products(const ConvBackward& a, Device& device) {
  const WindowShape& s = a.shape;
  const ConvBackwardPieces at(s, a.O, a.groups, a.activation);
  float *weight = a.scratch + at.weight, *dweight = a.scratch + at.dweight;
  float* columns = a.scratch + at.columns;
  if (a.dx != nullptr) turn_weight(s, a.O, a.weight, weight, device);
  for_chunks(s, a.x, columns, device, [&](const WindowShape& chunk, int64_t n, const float* rows) {
    const float* dz = a.dy + n * s.rows * s.columns * a.O;
    multiply<float>(device, true, false, a.O, taps(s), places(chunk), {dz, a.O}, {rows, taps(s)},
                    n == 0 ? 0.0f : 1.0f, {dweight, taps(s)});
    if (a.dx == nullptr) return;
    float* dx = a.dx + n * s.H * s.W * s.C;
    const bool flat = is_flat(s);
    multiply<float>(device, false, false, places(chunk), taps(s), a.O, {dz, a.O}, {weight, taps(s)},
                    0.0f, {flat ? dx : columns, taps(s)});
    const int64_t size = pixels(chunk) * s.C;
    if (!flat) launch_flat(gather_columns, {chunk, columns, dx, size}, size, device);
  });
  if (s.N > 0)
    launch_flat(add_turned, {a.dweight, dweight, a.O * taps(s), s.C, s.h * s.w}, a.O * taps(s),
                device);
}

}  // namespace

int64_t conv_scratch(const WindowShape& shape, int64_t O, int64_t groups) {
  return ConvPieces(shape, O, groups).pieces.total;
}

void conv(const Conv& a, Device& device) {
  const int64_t size = places(a.shape) * a.O;
  if (a.groups == 1)
    conv_by_products(a, device);
  else
    launch_flat(conv_direct, a, size, device);
  if (a.bias != nullptr || a.residual != nullptr || a.activation != Activation::kNone)
    launch_flat(finish, {a.y, a.bias, a.residual, size, a.O, a.activation}, size, device);
}

int64_t conv_backward_scratch(const WindowShape& shape, int64_t O, int64_t groups,
                              Activation activation) {
  return ConvBackwardPieces(shape, O, groups, activation).pieces.total;
}

void conv_backward(const ConvBackward& given, Device& device) {
  ConvBackward a = given;
  const WindowShape& s = a.shape;
  if (a.activation != Activation::kNone) {
    float* dz = a.scratch + ConvBackwardPieces(s, a.O, a.groups, a.activation).dz;
    const int64_t size = places(s) * a.O;
    launch_flat(write_behind, {a.y, a.dy, dz, size, a.activation}, size, device);
    a.dy = dz;
  }
  add_column_sums(a.dy, places(s), a.O, a.dbias, device);
  if (a.groups == 1) {
    conv_backward_by_products(a, device);
    return;
  }
  const int64_t each = s.C / a.groups * s.h * s.w;
  launch(conv_direct_dweight, a, ceil_div(a.O, kSumColumns) * each, kSumColumns * kSumParts,
         kSumColumns * kSumParts * sizeof(float), device.stream);
  if (a.dx != nullptr) launch_flat(conv_direct_dx, a, pixels(s) * s.C, device);
}

}  // namespace unrolled::cuda
