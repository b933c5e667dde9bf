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
  int64_t state_size(int k) const { return k == 0 ? packed.P : packed.H; }
  const CellKernels<T>& kernels() const {
    return kernels_of<T>(*table).cells[static_cast<int>(precision)][cell];
  }
};

// ValueError where the cell is not multiplied in this precision.
template <class T>
const CellKernels<T>& find_kernels(const KernelTable& table, int cell, Precision precision);

// Elements of the memory of packed weights.
inline int64_t packed_size(const LayerSizes& s, bool backward) {
  return s.input + s.recurrent + 2 * s.bias + s.second + s.second_bias + s.norm +
         (backward ? s.input_t + s.recurrent_t + s.second_t : 0);
}

struct LayerArrays {
  ArrayView weight_ih, weight_hh, bias_ih, bias_hh;
  std::vector<ArrayView> extras;  // in the order of CellInfo::extras
};

// ValueError unless there is one array for each extra parameter of the cell. `prefix` is "d" for
// gradients.
void check_extra_count(const CellInfo& info, const char* prefix,
                       const std::vector<ArrayView>& extras);

// The extra parameters or their gradients, checked.
template <class T>
void read_extras(const CellInfo& info, const char* prefix, const std::vector<ArrayView>& extras,
                 int64_t H, int64_t P, Access access, T** to) {
  check_extra_count(info, prefix, extras);
  const int64_t gates = info.gate_count * H;
  for (size_t i = 0; i < extras.size(); ++i) {
    const std::string extra = info.extras[i], name = prefix + extra;
    if (extra == "weight_hr")
      to[i] = contiguous<T>({info.name, name.c_str(), "(P, H)", {P, H}}, extras[i], access);
    else if (extra == "gain_ih" || extra == "gain_hh")
      to[i] = contiguous<T>({info.name, name.c_str(), "(G*H,)", {gates}}, extras[i], access);
    else
      to[i] = contiguous<T>({info.name, name.c_str(), "(H,)", {H}}, extras[i], access);
  }
}

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, Precision precision,
                        bool backward);

}  // namespace unrolled
