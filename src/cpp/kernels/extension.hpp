// A cell that stands in no table: a shared object holds its scan, for one instruction set and in
// one precision. What compiles and loads it sees this struct alone, which the object's only symbol,
// unrolled_cell(), returns.
#pragma once

#include "kernels/table.hpp"

namespace unrolled {

struct CellExtension {
  const char* isa;
  CellInfo info;
  Precision precision;
  // One of the two; the other is null.
  const CellKernels<float>* f32;
  const CellKernels<double>* f64;
};

}  // namespace unrolled
