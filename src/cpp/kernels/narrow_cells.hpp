// The scans in bfloat16 and int8 of the cells that have them, and the head in bfloat16.
#pragma once

#include "kernels/cell_kernels.hpp"
#include "kernels/head.hpp"

namespace unrolled::UNROLLED_ISA {

#define UNROLLED_BF16(Cell) cell_kernels<Cell, float, NarrowBf16>(),
#define UNROLLED_INT8(Cell) int8_kernels<Cell>(),
constexpr CellKernels<float> kCellsBf16[] = {UNROLLED_NARROW_CELLS(UNROLLED_BF16)};
constexpr CellKernels<float> kCellsInt8[] = {UNROLLED_NARROW_CELLS(UNROLLED_INT8)};
constexpr HeadKernels<float> kHeadBf16 = head_kernels<float, NarrowBf16>();

}  // namespace unrolled::UNROLLED_ISA
