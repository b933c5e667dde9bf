// run_scan INPUT OUTPUT: runs one scan, forward and, with gradients, back, in the emulation.
//
// INPUT: 16 numbers, three limits, what gates apply, then the arrays in the order of main(), one
// behind the other; each optional one after the number 1, or the number 0 alone. OUTPUT: the
// results, likewise in the order of main(). Memory that a scan has to write before it reads is NaN;
// y and dx begin as kUntouched.
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "api/plan.hpp"
#include "cuda/bf16.hpp"
#include "cuda/emulation.hpp"

namespace {

using namespace unrolled;

constexpr float kUntouched = 7.0f;  // tests/test_cuda_emulation.py knows it, too

class PlainDevice : public cuda::Device {
 public:
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
            int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) override {
    multiply(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
            const cuda::Bf16* a, int64_t lda, const cuda::Bf16* b, int64_t ldb, float beta,
            float* c, int64_t ldc) override {
    multiply(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }

 private:
  template <class E>
  static void multiply(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                       const E* a, int64_t lda, const E* b, int64_t ldb, float beta, float* c,
                       int64_t ldc) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (int64_t l = 0; l < k; ++l)
          sum += cuda::to_float(transpose_a ? a[l * lda + i] : a[i * lda + l]) *
                 cuda::to_float(transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
        float& to = c[i * ldc + j];
        to = beta == 0.0f ? sum : sum + beta * to;
      }
  }
};

struct Input {
  std::FILE* file;

  template <class T>
  std::vector<T> array(int64_t size) {
    std::vector<T> values(static_cast<size_t>(size));
    if (size > 0 && std::fread(values.data(), sizeof(T), values.size(), file) != values.size()) {
      std::fprintf(stderr, "run_scan: the input is too short\n");
      std::exit(1);
    }
    return values;
  }
  int64_t number() { return array<int64_t>(1)[0]; }
  // Empty, with null data, where it was left out.
  template <class T>
  std::vector<T> optional(int64_t size) {
    return number() != 0 ? array<T>(size) : std::vector<T>();
  }
};

std::vector<float> unset(int64_t size, float value = std::numeric_limits<float>::quiet_NaN()) {
  return std::vector<float>(static_cast<size_t>(size), value);
}

template <class T>
T* data(std::vector<T>& values) {
  return values.empty() ? nullptr : values.data();
}

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

void write(std::FILE* file, const std::vector<float>& values) {
  if (values.empty()) return;
  if (std::fwrite(values.data(), sizeof(float), values.size(), file) != values.size()) std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Input in{std::fopen(argv[1], "rb")};
  std::FILE* out = std::fopen(argv[2], "wb");
  if (in.file == nullptr || out == nullptr) return 2;

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
  const CellInfo& info = cuda::cells()[cell];
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
  if (!training) return std::fclose(out);

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
  return std::fclose(out);
}
