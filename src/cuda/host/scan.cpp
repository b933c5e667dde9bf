#include "cuda/host/scan.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "api/limits.hpp"
#include "cuda/host/arguments.hpp"
#include "cuda/host/ensure.hpp"
#include "cuda/host/key.hpp"

namespace unrolled::cuda {
namespace {

int find_cell(const std::string& name) {
  std::string names;
  for (int i = cell_count() - 1; i >= 0; --i)  // the latest of a name
    if (name == cell_info(i).name) return i;
  for (int i = 0; i < cell_count(); ++i) names.append(i == 0 ? "" : ", ").append(cell_info(i).name);
  fail_value("[cell] expected one of ", names, ", got '", name, "'");
}

// Those of a scan.
class ScanArguments : public Arguments {
 public:
  explicit ScanArguments(const CellInfo& info) : Arguments(info.name), info_(info) {}
  explicit ScanArguments(const Weights& weights)
      : Arguments(weights.info().name, weights.device), info_(weights.info()) {}

  // One (B, H) array a state, or none of them where they may be missing. `prefix` and the state's
  // name are what an array is called.
  template <class T>
  void states(const char* prefix, const Weights& weights, int64_t B,
              const std::vector<Argument>& given, bool may_miss, T** out) {
    if (given.empty() && may_miss) return;
    check_count("state arrays", 0, given);
    for (int k = 0; k < info_.state_count; ++k) {
      const std::string name = std::string(prefix) + info_.states[k];
      out[k] = array<T>(name.c_str(), letters(k, "(B, H)", "(B, R)"), {B, weights.state_size(k)},
                        given[static_cast<size_t>(k)]);
    }
  }
  // (T, B, H) arrays of the states from number `first` on, all or none.
  template <class T>
  void step_states(const char* prefix, int first, const Weights& weights, int64_t T_steps,
                   int64_t B, const std::vector<Argument>& given, Sequence<T>* out) {
    if (given.empty()) return;
    check_count((std::string("arrays ") + prefix + " of shape (T, B, H)").c_str(), first, given);
    for (int k = first; k < info_.state_count; ++k) {
      const std::string name = std::string(prefix) + " of " + info_.states[k];
      out[k] =
          sequence<T>(name.c_str(), letters(k, "(T, B, H)", "(T, B, R)"),
                      {T_steps, B, weights.state_size(k)}, given[static_cast<size_t>(k - first)]);
    }
  }
  // The memory of the states that enter each token, as `sizes` tells.
  template <class T>
  void entering_states(const Sizes& sizes, const std::vector<Argument>& given, T** out) {
    check_count("state arrays", 0, given);
    for (int k = 0; k < info_.state_count; ++k)
      out[k] = array<T>((std::string("states of ") + info_.states[k]).c_str(), "(tokens*H,)",
                        {sizes.states[k]}, given[static_cast<size_t>(k)]);
  }
  // Of the shape of a state: `projected` where it is an h that has columns of its own.
  const char* letters(int k, const char* usual, const char* projected) const {
    return k == 0 && info_.projects ? projected : usual;
  }
  // Parameters, or, where they are written, their gradients. All that the cell has must be there,
  // but for biases.
  template <class T>
  LayerParameters<T> parameters(const ParameterArguments& given, int64_t I, int64_t H, int64_t R) {
    const auto take = [&](const char* name, const char* letters,
                          std::initializer_list<int64_t> shape, Argument argument, bool possible,
                          bool needed) {
      name += access<T>() == Access::kWrite ? 0 : 1;  // "dweight_ih" or "weight_ih"
      if (argument != nullptr && !possible)
        fail_value("[", info_.name, "] expected no ", name, ", which this cell does not have");
      if (argument == nullptr && needed)
        fail_value("[", info_.name, "] expected ", name, " of shape ", letters, ", got None");
      return array<T>(name, letters, shape, argument);
    };
    const int64_t rows = info_.gate_count * H;
    const bool recurrent = info_.recurrent, units = info_.unit_count > 0;
    const bool projects = info_.projects;
    return {take("dweight_ih", "(G*H, I)", {rows, I}, given.weight_ih, true, true),
            take("dweight_hh", projects ? "(G*H, R)" : "(G*H, H)", {rows, R}, given.weight_hh,
                 recurrent, recurrent),
            take("dbias_ih", "(G*H,)", {rows}, given.bias_ih, true, false),
            take("dbias_hh", "(G*H,)", {rows}, given.bias_hh, recurrent, false),
            take("dweight_unit", "(P*H,)", {info_.unit_count * H}, given.weight_unit, units,
                 units && info_.function_count == 0),
            take("dweight_hr", "(R, H)", {R, H}, given.weight_hr, projects, projects)};
  }

 private:
  void check_count(const char* what, int first, const std::vector<Argument>& given) const {
    const int expected = info_.state_count - first;
    if (static_cast<int>(given.size()) != expected)
      fail_value("[", info_.name, "] expected ", expected, " ", what, " for cell ", info_.name,
                 ", got ", given.size());
  }

  const CellInfo& info_;
};

// Zeros a (T, B, width) array.
void clear(const Sequence<float>& to, int64_t T, int64_t B, int64_t width, cudaStream_t stream) {
  const auto fill = [&](float* data, int64_t stride, int64_t rows) {
    ensure(cudaMemset2DAsync(data, static_cast<size_t>(stride) * sizeof(float), 0,
                             static_cast<size_t>(width) * sizeof(float), static_cast<size_t>(rows),
                             stream),
           "an array to be cleared");
  };
  if (to.row >= width && to.step == B * to.row)
    fill(to.data, to.row, T * B);
  else if (to.step >= width && to.row == T * to.step)  // batch first
    fill(to.data, to.step, T * B);
  else
    for (int64_t t = 0; t < T; ++t)
      for (int64_t b = 0; b < B; ++b) fill(to.data + t * to.step + b * to.row, width, 1);
}

}  // namespace

Weights::Weights(const std::string& cell, const ParameterArguments& arrays, Math math, Path path,
                 const GateChoice& gates)
    : math(math), path(path) {
  layer.cell = find_cell(cell);
  layer.precision = math == Math::kBf16 ? Precision::kBf16 : Precision::kFull;
  if (!has(layer.cell, layer.precision))
    fail_value("[", cell, "] expected precision 'full' or 'tf32' for this cell, got 'bf16'");
  layer.gates = gate_options<float>(info(), gates);
  const int64_t I = layer.I = axis(view(arrays.weight_ih), 1);
  const int64_t H = layer.H = axis(view(arrays.weight_ih), 0) / info().gate_count;
  const int64_t R = layer.R = info().projects ? axis(view(arrays.weight_hh), 1) : H;
  ScanArguments given(info());
  layer.weights = given.parameters<const float>(arrays, I, H, R);
  device = given.known_device();
  if (R < 1) fail_value("[", cell, "] expected proj_size of at least 1, got ", R);
  if (I < 1 || H < 1)
    fail_value("[", cell, "] expected input_size and hidden_size of at least 1, got ", I, " and ",
               H);
}

DevicePlan::DevicePlan(const std::string& cell, int64_t T, int64_t B, const ArrayView& lengths,
                       const ArrayView& resets, bool reverse)
    : T_steps(T), B(B), host(cell.c_str(), T, B, lengths, resets, reverse) {
  const Plan& plan = host.view();
  const auto append = [&](const auto* values, int64_t count) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(values);
    image_.insert(image_.end(), bytes, bytes + static_cast<size_t>(count) * sizeof values[0]);
  };
  append(plan.live, plan.T);
  append(plan.offset, plan.T + 1);
  append(plan.order, plan.B);
  if (plan.resets != nullptr) append(plan.resets, T * B);
}

void DevicePlan::upload(const DeviceArray& memory, uintptr_t stream, bool wait) {
  const Expected expected{"plan", "memory", "(bytes,)", {bytes()}};
  check_shape(expected, memory.view());
  check_contiguous(expected, memory.view());
  auto* start = static_cast<uint8_t*>(memory.view().data);
  const CurrentDevice current(std::max(memory.device(), 0));
  ensure(cudaMemcpyAsync(start, image_.data(), image_.size(), cudaMemcpyHostToDevice,
                         reinterpret_cast<cudaStream_t>(stream)),
         "the plan to be copied to the device");
  if (wait) ensure(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(stream)), "a copy to end");
  const Plan& plan = host.view();
  const auto* words = reinterpret_cast<const int64_t*>(start);
  device.live = words;
  device.offset = device.live + plan.T;
  device.order = device.offset + plan.T + 1;
  device.resets =
      plan.resets == nullptr ? nullptr : reinterpret_cast<const uint8_t*>(device.order + plan.B);
}

Sizes sizes(const Weights& weights, const DevicePlan& plan, bool training, bool factors) {
  return sizes(weights.layer, plan.host.view(), training, factors);
}

void forward(const Weights& weights, const DevicePlan& plan, const ForwardArguments& arrays,
             uintptr_t stream) {
  const int64_t T = plan.T_steps, B = plan.B, I = weights.layer.I, R = weights.layer.R;
  check_cell_clip(weights.info(), arrays.cell_clip);
  check_factors(weights.info(), arrays.factors != nullptr);
  const Sizes size = sizes(weights, plan, arrays.saved != nullptr, arrays.factors != nullptr);
  ScanArguments given(weights);
  Forward args{};
  args.layer = weights.layer;
  args.plan = &plan.host.view();
  args.arrays = plan.device;
  args.x = given.sequence<const float>("x", "(T, B, I)", {T, B, I}, arrays.x);
  args.y[0] =
      given.sequence<float>("out", given.letters(0, "(T, B, H)", "(T, B, R)"), {T, B, R}, arrays.y);
  given.step_states<float>("steps", 1, weights, T, B, arrays.others, args.y);
  given.step_states<const float>("update", 0, weights, T, B, arrays.updates, args.update);
  args.cell_limit = static_cast<float>(arrays.cell_clip);
  args.factors = given.array<const float>("recurrent_factors", given.letters(0, "(B, H)", "(B, R)"),
                                          {B, R}, arrays.factors);
  given.states<const float>("state ", weights, B, arrays.initial, true, args.initial);
  given.states<float>("state ", weights, B, arrays.final, false, args.final);
  given.entering_states<float>(size, arrays.states, args.states);
  args.saved = given.array<float>("saved", "(saved,)", {size.saved}, arrays.saved);
  args.scratch = given.array<float>("scratch", "(scratch,)", {size.forward}, arrays.scratch);
  args.path = weights.path;

  const CurrentDevice current(given.device());
  Context& context = Context::of(given.device(), reinterpret_cast<void*>(stream));
  for (int k = 0; k < kMaxStates && !args.plan->ordered; ++k)
    if (args.y[k].data != nullptr)
      clear(args.y[k], T, B, weights.state_size(k), reinterpret_cast<cudaStream_t>(stream));
  const Key key('f', weights.math, args.layer, *args.plan, args.arrays, args.x, args.y, args.update,
                args.factors, args.cell_limit, args.initial, args.final, args.states, args.saved,
                args.scratch, args.path);
  context.run(weights.math, key.bytes(), [&] { forward(args, context); });
}

void backward(const Weights& weights, const DevicePlan& plan, const BackwardArguments& arrays,
              uintptr_t stream) {
  const int64_t T = plan.T_steps, B = plan.B, I = weights.layer.I;
  const int64_t H = weights.layer.H, R = weights.layer.R;
  check_clip_gradient(weights.info(), arrays.clip_value, arrays.clip_norm);
  const Sizes size = sizes(weights, plan, true, arrays.factors != nullptr);
  ScanArguments given(weights);
  Backward args{};
  args.layer = weights.layer;
  args.plan = &plan.host.view();
  args.arrays = plan.device;
  args.x = given.sequence<const float>("x", "(T, B, I)", {T, B, I}, arrays.x);
  args.dy[0] = given.sequence<const float>("dy", given.letters(0, "(T, B, H)", "(T, B, R)"),
                                           {T, B, R}, arrays.dy);
  given.step_states<const float>("dsteps", 1, weights, T, B, arrays.dothers, args.dy);
  given.step_states<const float>("update", 0, weights, T, B, arrays.updates, args.update);
  args.cell_limit = static_cast<float>(arrays.cell_clip);
  args.factors = given.array<const float>("recurrent_factors", given.letters(0, "(B, H)", "(B, R)"),
                                          {B, R}, arrays.factors);
  args.clip_value = static_cast<float>(arrays.clip_value);
  args.clip_norm = static_cast<float>(arrays.clip_norm);
  args.dx = given.sequence<float>("dx", "(T, B, I)", {T, B, I}, arrays.dx);
  args.accumulate_dx = arrays.accumulate_dx;
  given.states<const float>("dstate ", weights, B, arrays.dfinal, true, args.dfinal);
  given.states<float>("dstate ", weights, B, arrays.dinitial, false, args.dinitial);
  given.entering_states<const float>(size, arrays.states, args.states);
  args.saved = given.array<const float>("saved", "(saved,)", {size.saved}, arrays.saved);
  args.grads = given.parameters<float>(arrays.grads, I, H, R);
  args.scratch = given.array<float>("scratch", "(scratch,)", {size.backward}, arrays.scratch);
  args.path = weights.path;

  const CurrentDevice current(given.device());
  Context& context = Context::of(given.device(), reinterpret_cast<void*>(stream));
  if (args.dx.data != nullptr && !args.accumulate_dx && !args.plan->ordered)
    clear(args.dx, T, B, I, reinterpret_cast<cudaStream_t>(stream));
  const Key key('b', weights.math, args.layer, *args.plan, args.arrays, args.x, args.dy, args.dx,
                args.update, args.factors, args.cell_limit, args.clip_value, args.clip_norm,
                args.accumulate_dx, args.dfinal, args.dinitial, args.states, args.saved, args.grads,
                args.scratch, args.path);
  context.run(weights.math, key.bytes(), [&] { backward(args, context); });
}

}  // namespace unrolled::cuda
