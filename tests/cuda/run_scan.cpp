// Runs one scan, forward and, with gradients, back, in the emulation.
//
// Input: 16 numbers, three limits, what gates apply, then the arrays in the order of run_scan(),
// one behind the other; each optional one after the number 1, or the number 0 alone. Output: the
// results, likewise in the order of run_scan(). Memory that a scan has to write before it reads is
// NaN; y and dx begin as kUntouched.
#include <utility>

#include "api/plan.hpp"
#include "cuda/program.hpp"

namespace unrolled {
namespace {

constexpr float kUntouched = 7.0f;  // tests/test_cuda_emulation.py knows it, too

template <class T>
ArrayView view(std::vector<T>& values, std::initializer_list<int64_t> shape) {
  ArrayView array;
  if (values.empty()) return array;
  array.data = values.data();
  array.kind = kKindOf<T>;
  array.present = array.aligned = true;
  for (const int64_t size : shape) array.shape[array.dimensions++] = size;
  for (int64_t i = array.dimensions - 1, stride = 1; i >= 0; stride *= array.shape[i--])
    array.strides[i] = stride;
  return array;
}

}  // namespace

void run_scan(Input& in, std::FILE* out) {
  const int cell = static_cast<int>(in.number());
  const auto precision = static_cast<Precision>(in.number());
  const int64_t I = in.number(), H = in.number(), R = in.number();
  const int64_t T = in.number(), B = in.number();
  const bool training = in.number() != 0, reverse = in.number() != 0;
  const bool batch_first = in.number() != 0, accumulate_dx = in.number() != 0;
  const auto path = static_cast<cuda::Path>(in.number());
  PlainDevice device;
  device.multiprocessors = in.number();
  device.shared_bytes = in.number();
  emulation::barriers = static_cast<emulation::Barriers>(in.number());
  emulation::seed(static_cast<unsigned>(in.number()));
  const auto limits = in.array<float>(3);   // of the cell, of gradients and of their norm
  const auto choice = in.array<float>(11);  // number, alpha and beta of three; limit and coupled
  GateOptions<float> gates{{}, choice[9], choice[10] != 0.0f};
  for (size_t k = 0; k < kMostGateFunctions; ++k)
    gates.functions[k] = {static_cast<Function>(choice[3 * k]), choice[3 * k + 1],
                          choice[3 * k + 2]};
  const CellInfo& info = cuda::cell_info(cell);
  const int64_t S = info.state_count, GH = info.gate_count * H, PH = info.unit_count * H;
  const int64_t widths = R + (S - 1) * H;  // of all states together
  const auto width = [&](int64_t k) { return k == 0 ? R : H; };
  const auto begin = [&](int64_t k) { return k == 0 ? 0 : R + (k - 1) * H; };

  auto lengths = in.optional<int64_t>(B);
  auto resets = in.optional<uint8_t>(T * B);
  auto x = in.array<float>(T * B * I);
  auto weight_ih = in.optional<float>(GH * I), weight_hh = in.optional<float>(GH * R);
  auto bias_ih = in.optional<float>(GH), bias_hh = in.optional<float>(GH);
  auto weight_unit = in.optional<float>(PH), weight_hr = in.optional<float>(R * H);
  auto initial = in.optional<float>(B * widths);
  auto update = in.optional<float>(T * B * widths);
  auto factors = in.optional<float>(B * R);
  auto dy = in.optional<float>(T * B * widths), dfinal = in.optional<float>(B * widths);

  const RaggedPlan plan("run_scan", T, B, view(lengths, {B}), view(resets, {T, B}), reverse);
  const Plan& host = plan.view();
  const cuda::PlanArrays arrays = {host.live, host.offset, host.order, host.resets};
  const cuda::Layer layer = {cell,
                             precision,
                             I,
                             H,
                             R,
                             {data(weight_ih), data(weight_hh), data(bias_ih), data(bias_hh),
                              data(weight_unit), data(weight_hr)},
                             gates};
  const cuda::Sizes sizes = cuda::sizes(layer, host, training, !factors.empty());
  const auto sequence = [&](auto* values, int64_t width) {
    using E = std::remove_pointer_t<decltype(values)>;
    return batch_first ? Sequence<E>{values, width, T * width}
                       : Sequence<E>{values, B * width, width};
  };
  const Sequence<const float> input = sequence(static_cast<const float*>(x.data()), I);

  auto y = unset(T * B * widths, kUntouched), final = unset(B * widths);
  auto saved = unset(sizes.saved), scratch = unset(sizes.forward);
  std::vector<std::vector<float>> states;
  for (int64_t k = 0; k < S; ++k) states.push_back(unset(sizes.states[k]));
  // One array a state, one behind the other; null where they were left out.
  const auto of_state = [&](auto& values, int64_t k) {
    return sequence(values.empty() ? nullptr : values.data() + T * B * begin(k), width(k));
  };
  cuda::Forward forward{};
  forward.layer = layer;
  forward.plan = &host;
  forward.arrays = arrays;
  forward.x = input;
  forward.factors = data(factors);
  forward.cell_limit = limits[0];
  forward.saved = data(saved);
  forward.scratch = scratch.data();
  forward.path = path;
  for (int64_t k = 0; k < S; ++k) {
    forward.y[k] = of_state(y, k);
    forward.update[k] = of_state(std::as_const(update), k);
    forward.initial[k] = initial.empty() ? nullptr : initial.data() + B * begin(k);
    forward.final[k] = final.data() + B * begin(k);
    forward.states[k] = states[static_cast<size_t>(k)].data();
  }
  cuda::forward(forward, device);
  write(out, y);
  write(out, final);
  if (!training) return;

  auto dx = unset(T * B * I, kUntouched), dinitial = unset(B * widths);
  const auto gradient = [](const std::vector<float>& of) { return unset(std::ssize(of), 1.0f); };
  auto dweight_ih = gradient(weight_ih), dweight_hh = gradient(weight_hh);
  auto dbias_ih = gradient(bias_ih), dbias_hh = gradient(bias_hh);
  auto dweight_unit = gradient(weight_unit), dweight_hr = gradient(weight_hr);
  auto scratch_back = unset(sizes.backward);
  cuda::Backward backward{};
  backward.layer = layer;
  backward.plan = &host;
  backward.arrays = arrays;
  backward.x = input;
  backward.dx = sequence(dx.data(), I);
  backward.accumulate_dx = accumulate_dx;
  backward.factors = data(factors);
  backward.cell_limit = limits[0];
  backward.clip_value = limits[1];
  backward.clip_norm = limits[2];
  backward.saved = saved.data();
  backward.grads = {data(dweight_ih), data(dweight_hh),   data(dbias_ih),
                    data(dbias_hh),   data(dweight_unit), data(dweight_hr)};
  backward.scratch = scratch_back.data();
  backward.path = path;
  for (int64_t k = 0; k < S; ++k) {
    backward.dy[k] = of_state(std::as_const(dy), k);
    backward.update[k] = of_state(std::as_const(update), k);
    backward.dfinal[k] = dfinal.empty() ? nullptr : dfinal.data() + B * begin(k);
    backward.dinitial[k] = dinitial.data() + B * begin(k);
    backward.states[k] = states[static_cast<size_t>(k)].data();
  }
  cuda::backward(backward, device);
  for (const auto* values :
       {&dx, &dinitial, &dweight_ih, &dweight_hh, &dbias_ih, &dbias_hh, &dweight_unit, &dweight_hr})
    write(out, *values);
}

}  // namespace unrolled
