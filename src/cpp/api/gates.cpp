#include "api/gates.hpp"

namespace unrolled {
namespace {

Function find_function(const CellInfo& info, const std::string& name) {
  std::string names;
  for (int i = 0; i < kFunctions; ++i) {
    if (name == kFunctionNames[i]) return static_cast<Function>(i);
    names += (i == 0 ? "" : ", ") + std::string(kFunctionNames[i]);
  }
  fail_value("[", info.name, "] expected functions out of ", names, ", got '", name, "'");
}

}  // namespace

const char* const kFunctionNames[kFunctions] = {
    "sigmoid",     "tanh",         "relu", "affine",   "leaky_relu", "thresholded_relu",
    "scaled_tanh", "hard_sigmoid", "elu",  "softsign", "softplus"};

template <class T>
GateOptions<T> gate_options(const CellInfo& info, const GateChoice& choice) {
  const size_t count = static_cast<size_t>(info.function_count);
  if (!choice.functions.empty() && choice.functions.size() != count)
    fail_value("[", info.name, "] expected ", count, " functions, got ", choice.functions.size());
  if (!(choice.limit > 0)) fail_value("[", info.name, "] expected limit > 0, got ", choice.limit);
  if (count == 0 && choice.limit < kUnlimited)
    fail_value("[", info.name, "] expected no limit of what gates read: the cell has none");
  if (choice.coupled && (count == 0 || info.state_count < 2))
    fail_value("[", info.name, "] expected coupled = false: the cell cannot couple its gates");
  GateOptions<T> options{{}, static_cast<T>(choice.limit), choice.coupled};
  for (size_t k = 0; k < count; ++k) {
    if (choice.functions.empty()) {
      options.functions[k] = {info.functions[k], T(0), T(0)};
      continue;
    }
    const auto& [name, alpha, beta] = choice.functions[k];
    options.functions[k] = {find_function(info, name), static_cast<T>(alpha), static_cast<T>(beta)};
  }
  return options;
}

template GateOptions<float> gate_options<float>(const CellInfo&, const GateChoice&);
template GateOptions<double> gate_options<double>(const CellInfo&, const GateChoice&);

}  // namespace unrolled
