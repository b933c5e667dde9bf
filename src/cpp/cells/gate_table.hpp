// What gates apply where a cell lets it be chosen. Plain, as table.hpp.
#pragma once

namespace unrolled {

// The activation functions of ONNX's recurrent operators, with their alpha a and beta b.
enum class Function : int {
  kSigmoid,          // 1 / (1 + e^-x)
  kTanh,             // tanh x
  kRelu,             // max(x, 0)
  kAffine,           // a x + b
  kLeakyRelu,        // x where x > 0, else a x
  kThresholdedRelu,  // x where x >= a, else 0
  kScaledTanh,       // a tanh(b x)
  kHardSigmoid,      // min(max(a x + b, 0), 1)
  kElu,              // x where x > 0, else a (e^x - 1)
  kSoftsign,         // x / (1 + |x|)
  kSoftplus,         // log(1 + e^x)
};
inline constexpr int kFunctions = 11;

template <class T>
struct GateFunction {
  Function function;
  T alpha, beta;
};

inline constexpr int kMostGateFunctions = 3;

template <class T>
struct GateOptions {
  GateFunction<T> functions[kMostGateFunctions];  // in the order of the cell
  T limit;       // gates read their z as min(max(z, -limit), limit); infinity: as it is
  bool coupled;  // f = 1 - i in an LSTM
};

}  // namespace unrolled
