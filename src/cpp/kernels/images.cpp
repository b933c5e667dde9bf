// The kernels over images, a unit of their own beside kernels.cpp: both are long to compile.
#ifndef UNROLLED_ISA
#error "compile with -DUNROLLED_ISA=generic|avx2|avx512|neon"
#endif

#include "kernels/conv.hpp"
#include "kernels/conv_gradient.hpp"
#include "kernels/conv_pack.hpp"
#include "kernels/image_kernels.hpp"
#include "kernels/norm.hpp"

namespace unrolled::UNROLLED_ISA {
namespace {

template <class T>
constexpr ImageKernels<T> image_kernels() {
  return {.lanes = kLanes<T>,
          .pack_conv = pack_conv<T>,
          .conv = conv<T>,
          .conv_gradient = conv_gradient<T>,
          .max_pool = max_pool<T>,
          .max_pool_backward = max_pool_backward<T>,
          .moments = moments<T>,
          .normalise = normalise<T>,
          .normalise_backward = normalise_backward<T>};
}

}  // namespace

constexpr ImageKernels<float> kImagesF32 = image_kernels<float>();
constexpr ImageKernels<double> kImagesF64 = image_kernels<double>();

}  // namespace unrolled::UNROLLED_ISA
