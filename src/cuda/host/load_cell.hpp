// Cells of users' own on a device.
#pragma once

#include <string>

namespace unrolled::cuda {

// Adds the cell of a shared object (export_cell.hpp); of two with one name the later one is found.
// Throws std::invalid_argument where the file holds none.
void load_cell(const std::string& path);

}  // namespace unrolled::cuda
