// The kernels over images of this instruction set; kernels/images.cpp makes them.
#pragma once

#include "kernels/image_table.hpp"

namespace unrolled::UNROLLED_ISA {

extern const ImageKernels<float> kImagesF32;
extern const ImageKernels<double> kImagesF64;

}  // namespace unrolled::UNROLLED_ISA
