// Convolutions and pooling over images with channels last.
#pragma once

#include "api/array.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"

namespace unrolled {

// Place (i, j) of the result sees lines i * down - top .. of an image and columns
// j * right - left ..; how many places there are is said by the array of the result.
struct WindowOptions {
  int64_t down, right, top, left;
};

struct ConvOptions {
  WindowOptions windows;
  int64_t groups;
  Activation activation;
};

// A weight (O, C / G, h, w) and a bias (O) or none, packed for the forward pass.
template <class T>
struct PackedConv {
  const KernelTable& table;
  int64_t O, C, groups, h, w;
  bool depthwise;
  Buffer<T> weight, bias;
};

template <class T>
PackedConv<T> pack_conv(const ArrayView& weight, const ArrayView& bias, int64_t groups);

// y (N, H', W', O) = activation(convolution of x (N, H, W, C) + residual, as y or absent).
template <class T>
void run_packed_conv(const PackedConv<T>& packed, const ArrayView& x, const ArrayView& residual,
                     const ArrayView& y, const WindowOptions& windows, Activation activation);

template <class T>
void run_conv(const ArrayView& x, const ArrayView& weight, const ArrayView& bias,
              const ArrayView& y, const ConvOptions& options);

// Adds to dweight and dbias; writes dx unless it is absent. Nothing but a member's block of windows
// and the parts of dweight is stored on the way.
template <class T>
void run_conv_backward(const ArrayView& x, const ArrayView& weight, const ArrayView& y,
                       const ArrayView& dy, const ArrayView& dx, const ArrayView& dweight,
                       const ArrayView& dbias, const ConvOptions& options);

// y (N, H', W', C): the largest value that each place sees of x (N, H, W, C).
template <class T>
void run_max_pool(const ArrayView& x, const ArrayView& y, int64_t h, int64_t w,
                  const WindowOptions& windows);

// dx (N, H, W, C): each dy at the first of the places that are the largest.
template <class T>
void run_max_pool_backward(const ArrayView& x, const ArrayView& y, const ArrayView& dy,
                           const ArrayView& dx, int64_t h, int64_t w, const WindowOptions& windows);

}  // namespace unrolled
