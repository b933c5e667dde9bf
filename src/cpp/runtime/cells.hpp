// Cells by name: those of the kernel table, and those loaded from shared objects.
#pragma once

#include <string>
#include <vector>

#include "kernels/table.hpp"

namespace unrolled {

template <class T>
struct FoundCell {
  const CellInfo* info;           // null: there is no such cell
  const CellKernels<T>* kernels;  // null: not in this precision
};

// The cell `name` for the instruction set of `table`. What it points to lives as long as the
// program.
template <class T>
FoundCell<T> lookup_cell(const KernelTable& table, const std::string& name, Precision precision);

// Names of the cells that lookup_cell finds, those of the table first.
std::vector<std::string> cell_names(const KernelTable& table);

// Loads the cell of a shared object, compiled for one instruction set and precision; one that was
// loaded before under the same name is not found any more, but stays valid where it is in use.
// Throws std::invalid_argument when the file holds no cell, one whose name the tables have, or one
// for an instruction set that this CPU lacks.
void load_cell(const std::string& path);

}  // namespace unrolled
