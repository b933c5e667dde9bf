// Packed parameters of one direction of one recurrent layer.
#pragma once

#include <string>
#include <vector>

#include "api/array.hpp"
#include "api/gates.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"
#include "runtime/cells.hpp"
#include "runtime/dispatch.hpp"

namespace unrolled {

// "full", "bf16" or "int8"; ValueError that lists the names otherwise, or when T has no such
// kernels.
template <class T>
Precision find_precision(const std::string& name);

// Names of the precisions that a cell of the table has for float32.
std::vector<std::string> cell_precisions(const KernelTable& table, int cell);

// A cell by name, in a precision that find_precision<T> gave; ValueError that lists the names
// otherwise.
template <class T>
FoundCell<T> find_cell(const std::string& name, Precision precision);

// One direction of one layer, packed for the ISA in use when it was made.
template <class T>
struct Weights {
  const KernelTable* table;
  FoundCell<T> cell;
  bool backward;  // transposed copies are there
  LayerSizes sizes;
  PackedLayer<T> packed;
  Buffer<T> memory;

  const CellInfo& info() const { return *cell.info; }
  const CellKernels<T>& kernels() const { return *cell.kernels; }
  // Columns of state k.
  int64_t state_size(int k) const { return k == 0 ? packed.R : packed.H; }
};

// Elements of the memory of packed weights.
inline int64_t packed_size(const LayerSizes& s, bool backward) {
  return s.input + s.recurrent + 2 * s.bias + s.unit + s.second + s.second_bias +
         (backward ? s.input_t + s.recurrent_t + s.second_t : 0);
}

struct LayerArrays {
  ArrayView weight_ih, weight_hh, bias_ih, bias_hh, weight_unit, weight_hr;
};

// Gives weights whose sizes are known `memory` of at least packed_size elements, or memory of their
// own.
template <class T>
void place_weights(Weights<T>& weights, Buffer<T> memory);

// The arrays as parameters of a cell, or with access to write as their gradients, checked: all that
// the cell has must be there, but for biases, and parameters of units of a cell with functions. R:
// columns of the state h.
template <class T>
LayerParameters<T> layer_parameters(const CellInfo& info, const LayerArrays& arrays, int64_t I,
                                    int64_t H, int64_t R, Access access);

// They lie in `memory`, or in memory of their own.
template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward, const GateChoice& gates = {}, Buffer<T> memory = {});

}  // namespace unrolled
