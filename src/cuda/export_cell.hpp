// The unit of one cell outside the list: a source file includes this header, defines the cell as
// cells/all.hpp asks and exports it. nvcc makes a shared object of it.
#pragma once

#include "cuda/cell_runs.hpp"

// Ends the source file with the object's only symbol.
#define UNROLLED_EXPORT_CUDA_CELL(Cell)                                                  \
  extern "C" __attribute__((visibility("default"))) const unrolled::cuda::CellExtension* \
  unrolled_cuda_cell() noexcept {                                                        \
    using namespace unrolled;                                                            \
    using namespace unrolled::cuda;                                                      \
    static const CellExtension extension = {info_of<Cell>(), runs_of<Cell, float>(),     \
                                            runs_of<Cell, Bf16>()};                      \
    return &extension;                                                                   \
  }
