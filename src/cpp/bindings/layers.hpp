// Python's handles of packed weights and of what a forward pass saved, of either precision.
#pragma once

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "api/sequence.hpp"
#include "bindings/arrays.hpp"

namespace unrolled {

using WeightsOf =
    std::variant<std::shared_ptr<const Weights<float>>, std::shared_ptr<const Weights<double>>>;
using SavedOf =
    std::variant<std::shared_ptr<const Saved<float>>, std::shared_ptr<const Saved<double>>>;

struct PyWeights {
  WeightsOf held;
};

struct PySaved {
  SavedOf held;
  // The kernels read these again in the pullback.
  py::array x;
  std::vector<py::array> updates;
  std::optional<py::array> factors;
};

}  // namespace unrolled
