// Images on a device: arguments are checked here, then images.hpp's work is put on the caller's
// stream.
#pragma once

#include "api/windows.hpp"
#include "cuda/host/arguments.hpp"

namespace unrolled::cuda {

struct ConvArguments {
  Argument x, weight;  // (N, H, W, C), (O, C / groups, h, w)
  WindowOptions windows;
  int64_t groups;
  Activation activation;
};
// Elements of scratch, forward or backward, of a result with so many places (H', W').
int64_t conv_scratch(const ConvArguments& of, int64_t rows, int64_t columns, bool backward);
// bias (O,) and residual, as y, may be null; y (N, H', W', O).
void conv(const ConvArguments& of, Argument bias, Argument residual, Argument y, Argument scratch,
          uintptr_t stream);
// dx and dbias may be null; dweight and dbias are added to.
void conv_backward(const ConvArguments& of, Argument y, Argument dy, Argument dx, Argument dweight,
                   Argument dbias, Argument scratch, uintptr_t stream);

void max_pool(Argument x, Argument y, int64_t h, int64_t w, const WindowOptions& windows,
              uintptr_t stream);
void max_pool_backward(Argument x, Argument y, Argument dy, Argument dx, int64_t h, int64_t w,
                       const WindowOptions& windows, uintptr_t stream);

// x (..., C), mean and variance (C,).
void moments(Argument x, Argument mean, Argument variance, uintptr_t stream);
struct NormaliseArguments {
  Argument x, mean, variance, weight;  // (..., C), then (C,) each
  double epsilon;
  Activation activation;
};
void normalise(const NormaliseArguments& of, Argument bias, Argument y, uintptr_t stream);
// dweight and dbias (C,) are added to; dx may be null; sums (2 C,) is scratch.
void normalise_backward(const NormaliseArguments& of, bool of_batch, Argument y, Argument dy,
                        Argument dweight, Argument dbias, Argument dx, Argument sums,
                        uintptr_t stream);

}  // namespace unrolled::cuda
