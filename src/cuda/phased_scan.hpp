// A scan of a cell with two products a step: the order of matrix products and kernels.
#pragma once

#include "cuda/phased.hpp"
#include "cuda/scan_parts.hpp"

namespace unrolled::cuda {

template <Phased Cell>
struct PhasedScan {
  // The gates of the first product, and what the second one gives: h, or the last gate.
  static constexpr int G = Cell::kGateCount, F = Cell::kFirstGates, S = Cell::kStateCount;

  struct ForwardPieces : Pieces {
    int64_t h, gates, first, middle, second, values, gathered;

    ForwardPieces(const Layer& layer, const Plan& plan, bool training, bool factors)
        : h(take(factors ? state_rows(plan, training) * layer.R : 0)),
          gates(take(plan.tokens * G * layer.H)),
          first(take(plan.B * F * layer.H)),
          middle(take(plan.B * layer.H)),
          second(take(plan.B * layer.R)),
          values(take(training ? 0 : plan.B * Cell::kSavedCount * layer.H)),
          gathered(take(plan.tokens * layer.I)) {}
  };

  struct BackwardPieces : Pieces {
    int64_t h, product, carry[S], dinput, dfirst, dsecond, middle, dmiddle, gathered;

    BackwardPieces(const Layer& layer, const Plan& plan, bool factors)
        : h(take(factors ? plan.tokens * layer.R : 0)), product(take(plan.B * layer.R)) {
      for (int64_t& at : carry) at = take(plan.B * larger(layer.H, layer.R));
      dinput = take(plan.tokens * G * layer.H);
      dfirst = F < G ? take(plan.tokens * F * layer.H) : dinput;
      dsecond = take(plan.tokens * layer.R);
      middle = take(plan.tokens * layer.H);
      dmiddle = take(plan.B * layer.H);
      gathered = take(plan.tokens * layer.I);
    }
  };

  static Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors) {
    Sizes sizes{};
    const int64_t rows = state_rows(plan, training);
    for (int k = 0; k < S; ++k) sizes.states[k] = rows * (k == 0 ? layer.R : layer.H);
    sizes.forward = ForwardPieces(layer, plan, training, factors).total;
    if (!training) return sizes;
    sizes.saved = plan.tokens * Cell::kSavedCount * layer.H;
    sizes.backward = BackwardPieces(layer, plan, factors).total;
    return sizes;
  }

  static bool fits(const Layer&, const Device&) { return false; }

  static void forward(const Forward& a, Device& device) {
    const Plan& plan = *a.plan;
    const Layer& layer = a.layer;
    const int64_t H = layer.H, R = layer.R;
    const ForwardPieces at(layer, plan, a.saved != nullptr, a.factors != nullptr);
    input_product(a, G * H, layer.weights.weight_ih, a.scratch + at.gathered, a.scratch + at.gates,
                  device);
    ForwardScan<float> scan = forward_scan<float>(a);
    scan.gates = a.scratch + at.gates;
    scan.h = a.factors == nullptr ? a.states[0] : a.scratch + at.h;
    float *first = a.scratch + at.first, *second = a.scratch + at.second;
    float* middle = a.scratch + at.middle;
    for (int64_t s = -1; s < plan.T; ++s) {  // from -1 into the first position
      const Position here = position(plan, s), next = position(plan, s + 1);
      const int64_t rows = s < 0 ? plan.B : larger(here.live, next.live);
      const bool kept = a.saved != nullptr;
      float* values = kept ? a.saved : a.scratch + at.values;
      const auto run = [&](auto kernel, int64_t units, const float* product, const float* bias) {
        launch(
            kernel,
            PhasedForward{scan, here, next, product, bias, middle, values, kept ? here.token : 0},
            step_blocks(rows, units), kStepThreads, 0, device.stream);
      };
      multiply<float>(device, false, true, here.live, F * H, R,
                      {scan.h + state_row(scan, here) * R, R}, {layer.weights.weight_hh, R}, 0.0f,
                      {first, F * H});
      run(first_forward<Cell>, H, first, layer.weights.bias_hh);
      multiply<float>(device, false, true, here.live, R, H, {middle, H},
                      {second_weight(layer.weights, H), H}, 0.0f, {second, R});
      run(second_forward<Cell>, R, second, second_bias(layer.weights, H));
    }
  }

  static void backward(const Backward& a, Device& device) {
    const Plan& plan = *a.plan;
    const Layer& layer = a.layer;
    const int64_t H = layer.H, R = layer.R;
    const BackwardPieces at(layer, plan, a.factors != nullptr);
    BackwardScan<float> scan = backward_scan<float>(a);
    scan.dinput = a.scratch + at.dinput;
    scan.drecurrent = a.scratch + at.dfirst;
    for (int k = 0; k < S; ++k) scan.carry[k] = a.scratch + at.carry[k];
    float *product = a.scratch + at.product, *dmiddle = a.scratch + at.dmiddle;
    float *dsecond = a.scratch + at.dsecond, *middle = a.scratch + at.middle;
    const auto step = [&](const Position& here, const Position& later, const float* through,
                          int64_t rows) {
      const PhasedBackward args{scan, here, later, through, dmiddle, dsecond, middle};
      launch(second_backward<Cell>, args, step_blocks(rows, R), kStepThreads, 0, device.stream);
      multiply<float>(device, false, false, here.live, H, R, {dsecond + here.token * R, R},
                      {second_weight(layer.weights, H), H}, 0.0f, {dmiddle, H});
      launch(first_backward<Cell>, args, step_blocks(rows, H), kStepThreads, 0, device.stream);
    };
    const auto multiply_later = [&](const Position& later) {
      multiply<float>(device, false, false, later.live, R, F * H,
                      {scan.drecurrent + later.token * F * H, F * H}, {layer.weights.weight_hh, R},
                      0.0f, {product, R});
    };
    walk_back(a, scan, product, device, multiply_later, step);
    input_backward<float>(a, G * H, scan.dinput, layer.weights.weight_ih, a.scratch + at.gathered,
                          device);
    add_column_sums(scan.dinput, plan.tokens, G * H, a.grads.bias_ih, device);
    add_column_sums(scan.drecurrent, plan.tokens, F * H, a.grads.bias_hh, device);
    add_product(a.grads.weight_hh, scan.drecurrent, F * H, entering_h(a, a.scratch + at.h, device),
                R, plan.tokens, device);
    add_product(second_weight(a.grads, H), dsecond, R, middle, H, plan.tokens, device);
    add_column_sums(dsecond, plan.tokens, R, second_bias(a.grads, H), device);
  }

 private:
  // The matrix (R, H) of the second product, its bias, or their gradients; null where there is
  // none.
  template <class T>
  static T* second_weight(const LayerParameters<T>& of, int64_t H) {
    if constexpr (Cell::kProjects) return of.weight_hr;
    return of.weight_hh == nullptr ? nullptr : of.weight_hh + F * H * H;
  }
  template <class T>
  static T* second_bias(const LayerParameters<T>& of, int64_t H) {
    return Cell::kProjects || of.bias_hh == nullptr ? nullptr : of.bias_hh + F * H;
  }
};

}  // namespace unrolled::cuda
