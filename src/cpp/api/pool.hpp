// Pooling over images with channels last.
#pragma once

#include "api/windows.hpp"

namespace unrolled {

// y (N, H', W', C): the largest value that each place sees of x (N, H, W, C).
template <class T>
void run_max_pool(const ArrayView& x, const ArrayView& y, int64_t h, int64_t w,
                  const WindowOptions& windows);

// dx (N, H, W, C): each dy at the first of the places that are the largest.
template <class T>
void run_max_pool_backward(const ArrayView& x, const ArrayView& y, const ArrayView& dy,
                           const ArrayView& dx, int64_t h, int64_t w, const WindowOptions& windows);

}  // namespace unrolled
