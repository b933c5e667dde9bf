// The plain interface of the kernels over images, whose channels are last: convolutions, pooling
// and batch normalisation. The rules are those of kernels/table.hpp.
//
// Letters: N images, H x W places of what is read, C its channels, O outputs, h x w taps of a
// kernel.
#pragma once

#include <cstdint>

#include "kernels/team.hpp"

namespace unrolled {

enum class Activation : int { kNone, kRelu, kRelu6 };
inline constexpr int kActivations = 3;

// Place (row, column) of the result sees lines row * down - top .. + h - 1 of an image and columns
// column * right - left .. + w - 1. Outside of the image all is zero; top and left may be negative.
struct WindowShape {
  int64_t N, H, W, C;
  int64_t h, w, down, right, top, left;
  int64_t rows, columns;  // places of the result
};

// How the places of a result are cut: each line into `pieces`, and blocks of at most `lines` lines
// (one, where there are pieces) and `channels` channels, whose windows a member copies together.
// Where channels do not meet, as in a depthwise convolution, a block has a few of them.
struct WindowBlocks {
  int64_t pieces, lines, channels;
};

// Places of images in memory, channels side by side.
template <class T>
struct Places {
  T* data;
  int64_t image, line, place;  // elements from one to the next
};

// Images that are read, (N, H, W, C). Where `y` is given, the result of an activation, they are its
// gradients: elements whose y the activation has cut off count as zeros.
template <class T>
struct Images {
  const T* data;
  const T* y;
  Activation activation;
};

// One convolution, or of the gradients of one. With G groups, group g reads C / G channels and
// makes O / G outputs. Depthwise: C = O = G.
template <class T>
struct ConvArgs {
  WindowShape shape;
  WindowBlocks blocks;
  int64_t O, groups;
  bool depthwise;
  int64_t least_in_place;  // so many places side by side, within their image, are not copied
  Images<T> x;
  const T* packed;    // by pack_conv
  const T* bias;      // (O), each group padded to whole panels, or null
  const T* residual;  // laid out as y, added before the activation, or null
  Places<T> y;
  Activation activation;
  T* scratch;  // [team size][scratch_size]: the block's windows
  int64_t scratch_size;
};

// The weight (O, C / G, h, w) as a convolution of rows x columns taps reads it; tap (m, l) is
// (first_u + m * step_u, first_v + l * step_v) of the weight. Packed
//   dense                 [group][panels of O / G][tap][C / G][panel]
//   dense, transposed     [group][panels of C / G][tap][O / G][panel], for gradients of inputs
//   depthwise             [tap][C padded to whole panels]
template <class T>
struct ConvPack {
  const T* weight;
  int64_t O, C, groups, h, w;
  int64_t rows, columns, first_u, step_u, first_v, step_v;
  bool depthwise, transposed;
  T* packed;
};

// dweight (O, C / G, h, w) and dbias (O) of a convolution. Places are summed in `parts` parts,
// which are then added in order; `outputs` says how many ranges of outputs a part is cut into.
template <class T>
struct ConvGradientArgs {
  WindowShape shape;
  WindowBlocks blocks;
  int64_t O, groups;
  bool depthwise;
  int64_t least_in_place;  // as of ConvArgs
  Images<T> x, dy;
  int64_t parts, outputs;
  T* sums;     // [parts][weights + O]
  T* scratch;  // [team size][scratch_size]: windows, then gradients, of a block
  int64_t scratch_size, windows_size;
  T *dweight, *dbias;  // added to; dbias may be null
};

template <class T>
struct PoolArgs {
  WindowShape shape;
  WindowBlocks blocks;
  const T* x;
  T* y;
  T* scratch;  // as of ConvArgs
  int64_t scratch_size;
};

template <class T>
struct PoolBackwardArgs {
  WindowShape shape;
  const T *x, *y, *dy;
  T* dx;  // written
};

// Mean and (biased) variance (C) of the channels of `rows` rows, summed in `parts` parts.
template <class T>
struct MomentsArgs {
  int64_t rows, C, parts;
  const T* x;
  double* sums;  // scratch: [parts][2][C]
  T *mean, *variance;
};

// y = activation((x - mean) * scale + bias), by channel.
template <class T>
struct NormaliseArgs {
  int64_t rows, C;
  const T *x, *mean, *scale, *bias;
  Activation activation;
  T* y;
};

// Gradients of that, where scale is weight * inverse and inverse is that of the deviation.
template <class T>
struct NormaliseBackwardArgs {
  int64_t rows, C, parts;
  const T *x, *mean, *scale, *inverse;
  Images<T> dy;
  bool of_batch;       // mean and inverse are functions of x
  double* sums;        // scratch: [parts][2][C]
  T* means;            // scratch: [2][C]
  T *dweight, *dbias;  // added to
  T* dx;               // written, or null
};

template <class T>
struct ImageKernels {
  int64_t lanes;
  void (*pack_conv)(const ConvPack<T>& args, const Team& team);
  void (*conv)(const ConvArgs<T>& args, const Team& team);
  void (*conv_gradient)(const ConvGradientArgs<T>& args, const Team& team);
  void (*max_pool)(const PoolArgs<T>& args, const Team& team);
  void (*max_pool_backward)(const PoolBackwardArgs<T>& args, const Team& team);
  void (*moments)(const MomentsArgs<T>& args, const Team& team);
  void (*normalise)(const NormaliseArgs<T>& args, const Team& team);
  void (*normalise_backward)(const NormaliseBackwardArgs<T>& args, const Team& team);
};

}  // namespace unrolled
