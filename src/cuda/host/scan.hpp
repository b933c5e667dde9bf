// Recurrent layers on a device: every argument is checked here, then sequence.hpp's scan is put on
// the caller's stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/gates.hpp"
#include "api/plan.hpp"
#include "cuda/host/arguments.hpp"
#include "cuda/host/context.hpp"

namespace unrolled::cuda {

// In torch's shapes; null is what the cell does not have, and biases may be.
struct ParameterArguments {
  Argument weight_ih, weight_hh, bias_ih, bias_hh, weight_unit, weight_hr;
};

// The parameters of one direction of one layer: views of the caller's arrays.
struct Weights {
  Weights(const std::string& cell, const ParameterArguments& arrays, Math math, Path path,
          const GateChoice& gates);
  const CellInfo& info() const { return cell_info(layer.cell); }
  int64_t state_size(int k) const { return k == 0 ? layer.R : layer.H; }

  Layer layer;
  Math math;
  Path path;
  int device;  // -1 where only an address would tell
};

// Which rows are live at which step, on the host and, once uploaded, on the device.
class DevicePlan {
 public:
  DevicePlan(const std::string& cell, int64_t T, int64_t B, const ArrayView& lengths,
             const ArrayView& resets, bool reverse);
  // Of the memory that `upload` copies to.
  int64_t bytes() const { return static_cast<int64_t>(image_.size()); }
  // Returns, with `wait`, when the copy is there for any stream.
  void upload(const DeviceArray& memory, uintptr_t stream, bool wait);

  int64_t T_steps, B;
  RaggedPlan host;
  PlanArrays device{};

 private:
  std::vector<uint8_t> image_;
};

struct ForwardArguments {
  Argument x, y;
  std::vector<Argument> others, updates;  // may be empty: not wanted, no zoneout
  double cell_clip;                       // infinity: none
  Argument factors;                       // may be null
  std::vector<Argument> initial, final;   // initial may be empty: zeros
  std::vector<Argument> states;           // memory that `sizes` tells
  Argument saved, scratch;                // likewise; saved null at inference
};

struct BackwardArguments {
  Argument x, dy, dx;  // dy and dx may be null
  bool accumulate_dx;
  std::vector<Argument> dothers, updates;
  double cell_clip;  // as in forward, as are factors
  Argument factors;
  double clip_value, clip_norm;            // infinity: none
  std::vector<Argument> dfinal, dinitial;  // dfinal may be empty: zeros
  std::vector<Argument> states;
  Argument saved;
  ParameterArguments grads;
  Argument scratch;
};

// Work and memory for the scans of a plan; `factors`: with some.
Sizes sizes(const Weights& weights, const DevicePlan& plan, bool training, bool factors);
void forward(const Weights& weights, const DevicePlan& plan, const ForwardArguments& arrays,
             uintptr_t stream);
void backward(const Weights& weights, const DevicePlan& plan, const BackwardArguments& arrays,
              uintptr_t stream);

}  // namespace unrolled::cuda
