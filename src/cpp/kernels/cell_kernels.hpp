// The scans of one cell as a table of an instruction set holds them, and what it says of the cell.
#pragma once

#include "kernels/backward.hpp"

#define UNROLLED_STRING_(x) #x
#define UNROLLED_STRING(x) UNROLLED_STRING_(x)

namespace unrolled::UNROLLED_ISA {

template <class Cell>
constexpr CellInfo cell_info() {
  return {Cell::kName,      Cell::kGateCount, Cell::kStateCount, Cell::kUnitCount,
          Cell::kGates,     Cell::kStates,    Cell::kUnitNames,  Cell::kRecurrent,
          projects<Cell>(), Normalised<Cell>, Cell::kClipsCell,  Cell::kFunctionCount,
          Cell::kFunctions};
}

template <class Cell, class T, class O>
constexpr CellKernels<T> cell_kernels() {
  return {Layout<Cell, T, O>::sizes, Layout<Cell, T, O>::pack, run_forward<Cell, T, O>,
          run_backward<Cell, T, O>};
}

// Int8 is for inference.
template <class Cell>
constexpr CellKernels<float> int8_kernels() {
  using Y = Layout<Cell, float, NarrowInt8>;
  return {Y::sizes, Y::pack, run_forward<Cell, float, NarrowInt8>, nullptr};
}

}  // namespace unrolled::UNROLLED_ISA
