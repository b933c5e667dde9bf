// Packed parameters of one direction of one recurrent layer.
#pragma once

#include <string>
#include <vector>

#include "api/array.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/dispatch.hpp"

namespace unrolled {

// "full", "bf16" or "int8"; ValueError that lists the names otherwise, or when T has no such
// kernels.
template <class T>
Precision find_precision(const std::string& name);

// Names of the precisions that a cell of the table has for float32.
std::vector<std::string> cell_precisions(const KernelTable& table, int cell);

// Index of a cell by name; ValueError that lists the names otherwise.
int find_cell(const std::string& name);

// One direction of one layer, packed for the ISA in use when it was made.
template <class T>
struct Weights {
  const KernelTable* table;
  int cell;
  Precision precision;
  bool backward;  // transposed copies are there
  LayerSizes sizes;
  PackedLayer<T> packed;
  Buffer<T> memory;

  const CellInfo& info() const { return table->cells[cell]; }
  const CellKernels<T>& kernels() const {
    return kernels_of<T>(*table).cells[static_cast<int>(precision)][cell];
  }
};

// Elements of the memory of packed weights.
inline int64_t packed_size(const LayerSizes& s, bool backward) {
  return s.input + s.recurrent + 2 * s.bias + s.unit + (backward ? s.input_t + s.recurrent_t : 0);
}

struct LayerArrays {
  ArrayView weight_ih, weight_hh, bias_ih, bias_hh, weight_unit;
};

// The arrays as parameters of a cell, or with access to write as their gradients, checked: all that
// the cell has must be there, but for biases.
template <class T>
LayerParameters<T> layer_parameters(const CellInfo& info, const LayerArrays& arrays, int64_t I,
                                    int64_t H, Access access);

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward);

}  // namespace unrolled
