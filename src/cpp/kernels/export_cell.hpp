// The unit of one cell outside the tables: a source file includes this header, defines the cell as
// cells/all.hpp asks and exports it. It is compiled like the other units of its instruction set,
// into a shared object.
#pragma once

#include "kernels/cell_kernels.hpp"
#include "kernels/extension.hpp"

namespace unrolled::UNROLLED_ISA {

template <class Cell, Precision precision>
constexpr CellKernels<float> kernels_in() {
  if constexpr (precision == Precision::kFull)
    return cell_kernels<Cell, float, Full<float>>();
  else if constexpr (precision == Precision::kBf16)
    return cell_kernels<Cell, float, Bf16>();
  else
    return int8_kernels<Cell>();
}

// What unrolled_cell() of float32 kernels in a precision points to, and of float64 kernels.
template <class Cell, Precision precision>
struct ExtensionF32 {
  static constexpr CellKernels<float> kKernels = kernels_in<Cell, precision>();
  static constexpr CellExtension kValue = {UNROLLED_STRING(UNROLLED_ISA), cell_info<Cell>(),
                                           precision, &kKernels, nullptr};
};
template <class Cell>
struct ExtensionF64 {
  static constexpr CellKernels<double> kKernels = cell_kernels<Cell, double, Full<double>>();
  static constexpr CellExtension kValue = {UNROLLED_STRING(UNROLLED_ISA), cell_info<Cell>(),
                                           Precision::kFull, nullptr, &kKernels};
};

}  // namespace unrolled::UNROLLED_ISA

// Ends the source file with the object's only symbol. The argument is one of the above.
#define UNROLLED_EXPORT_CELL(...)                                                  \
  extern "C" __attribute__((visibility("default"))) const unrolled::CellExtension* \
  unrolled_cell() noexcept {                                                       \
    using namespace unrolled;                                                      \
    using namespace unrolled::UNROLLED_ISA;                                        \
    return &__VA_ARGS__::kValue;                                                   \
  }
