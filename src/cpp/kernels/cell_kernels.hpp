// What a table of an instruction set says of it: its name and the scans of every cell.
#pragma once

#include "kernels/backward.hpp"

#define UNROLLED_STRING_(x) #x
#define UNROLLED_STRING(x) UNROLLED_STRING_(x)

namespace unrolled::UNROLLED_ISA {

template <class Cell, class T, class O>
constexpr CellKernels<T> cell_kernels() {
  return {Layout<Cell, T, O>::sizes, Layout<Cell, T, O>::pack, run_forward<Cell, T, O>,
          run_backward<Cell, T, O>};
}

// Int8 is for inference.
template <class Cell>
constexpr CellKernels<float> int8_kernels() {
  return {Layout<Cell, float, Int8>::sizes, Layout<Cell, float, Int8>::pack,
          run_forward<Cell, float, Int8>, nullptr};
}

#define UNROLLED_BF16(Cell) cell_kernels<Cell, float, Bf16>(),
#define UNROLLED_INT8(Cell) int8_kernels<Cell>(),
constexpr CellKernels<float> kCellsBf16[] = {UNROLLED_NARROW_CELLS(UNROLLED_BF16)};
constexpr CellKernels<float> kCellsInt8[] = {UNROLLED_NARROW_CELLS(UNROLLED_INT8)};

}  // namespace unrolled::UNROLLED_ISA
