// Convolutions over images with channels last.
#pragma once

#include "api/windows.hpp"
#include "runtime/arena.hpp"

namespace unrolled {

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

}  // namespace unrolled
