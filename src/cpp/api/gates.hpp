// What the gates of a cell apply, where that can be chosen.
#pragma once

#include <string>
#include <vector>

#include "api/array.hpp"

namespace unrolled {

// What the gates of a cell with functions apply.
struct GateChoice {
  struct Named {
    std::string name;
    double alpha, beta;
  };
  std::vector<Named> functions;  // in the order of the cell; empty: what it has by default
  double limit = kUnlimited;
  bool coupled = false;
};

// Names of the functions, in the order of their enumeration.
extern const char* const kFunctionNames[kFunctions];

// The choice as kernels take it; ValueError where the cell cannot do it.
template <class T>
GateOptions<T> gate_options(const CellInfo& info, const GateChoice& choice);

}  // namespace unrolled
