// One ISA unit. CMake compiles this file once per instruction set with -DUNROLLED_ISA=<name> and
// that set's flags; everything it includes lives in namespace unrolled::<name>, and the only thing
// that it exports is its table.
#ifndef UNROLLED_ISA
#error "compile with -DUNROLLED_ISA=generic|avx2|avx512|neon"
#endif

#include "cells/all.hpp"
#include "kernels/backward.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/forward.hpp"
#include "kernels/head.hpp"

#define UNROLLED_STRING_(x) #x
#define UNROLLED_STRING(x) UNROLLED_STRING_(x)

namespace unrolled::UNROLLED_ISA {
namespace {

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
  return {Layout<Cell, T>::sizes, Layout<Cell, T>::pack, run_forward<Cell, T>,
          run_backward<Cell, T>};
}

template <class Cell>
constexpr CellInfo cell_info() {
  return {Cell::kName, Cell::kGateCount, Cell::kStateCount, Cell::kGates, Cell::kStates};
}

#define UNROLLED_INFO(Cell) cell_info<Cell>(),
#define UNROLLED_F32(Cell) cell_kernels<Cell, float>(),
#define UNROLLED_F64(Cell) cell_kernels<Cell, double>(),
constexpr CellInfo kCells[] = {UNROLLED_CELLS(UNROLLED_INFO)};
constexpr CellKernels<float> kCellsF32[] = {UNROLLED_CELLS(UNROLLED_F32)};
constexpr CellKernels<double> kCellsF64[] = {UNROLLED_CELLS(UNROLLED_F64)};

template <class T>
constexpr Kernels<T> kernels(const CellKernels<T>* cells) {
  return {.cells = cells,
          .panel = kPlainPanel<T>,
          .outer_scratch = kOuterScratch<T>,
          .pack_linear = pack_linear<T>,
          .pack_linear_t = pack_linear_t<T>,
          .linear = linear<T>,
          .linear_backward = linear_backward<T>,
          .cross_entropy = cross_entropy<T>,
          .adam = adam<T>,
          .sgd = sgd<T>,
          .square_sums = square_sums<T>,
          .apply_math = apply_math<T>,
          .run_fma = run_fma<T>,
          .sum_all = sum_all<T>};
}

constexpr KernelTable kTable = {UNROLLED_STRING(UNROLLED_ISA), sizeof(kCells) / sizeof(kCells[0]),
                                kCells, kernels<float>(kCellsF32), kernels<double>(kCellsF64)};

}  // namespace

const KernelTable& table() { return kTable; }

}  // namespace unrolled::UNROLLED_ISA
