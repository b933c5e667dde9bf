// Chooses the kernel table once: the best instruction set that the CPU has, or the one that the
// environment variable UNROLLED_ISA names.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace unrolled {

// The table in use. The first call chooses; it throws std::invalid_argument when UNROLLED_ISA
// names an instruction set that is unknown or that this CPU lacks.
const KernelTable& kernels();

// Names that force_isa accepts on this CPU, the slowest first.
std::vector<std::string> available_isas();

// Switches the table in use; throws as kernels() does. For tests: objects packed before keep the
// layout of their own ISA and are refused by calls made under another.
void force_isa(const std::string& name);

template <class T>
inline const Kernels<T>& kernels_of(const KernelTable& table) {
  if constexpr (sizeof(T) == sizeof(float))
    return table.f32;
  else
    return table.f64;
}

}  // namespace unrolled
