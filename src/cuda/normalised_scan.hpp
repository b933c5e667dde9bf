// A scan of a cell whose products are normalised: the order of matrix products and kernels.
#pragma once

#include "cuda/normalised.hpp"
#include "cuda/scan_parts.hpp"

namespace unrolled::cuda {

template <Normalised Cell>
struct NormalisedScan {
  static constexpr int G = Cell::kGateCount, S = Cell::kStateCount;

  struct ForwardPieces : Pieces {
    int64_t h, gates, product, gathered;

    ForwardPieces(const Layer& layer, const Plan& plan, bool training, bool factors)
        : h(take(factors ? state_rows(plan, training) * layer.H : 0)),
          gates(take(plan.tokens * G * layer.H)),
          product(take(plan.B * G * layer.H)),
          gathered(take(plan.tokens * layer.I)) {}
  };

  struct BackwardPieces : Pieces {
    int64_t h, product, carry[S], dinput, drecurrent, dx, dr, dcell, cell, gathered;

    BackwardPieces(const Layer& layer, const Plan& plan, bool factors)
        : h(take(factors ? plan.tokens * layer.H : 0)), product(take(plan.B * layer.H)) {
      const int64_t gates = plan.tokens * G * layer.H;
      const int64_t cells = Cell::kNormalisesCell ? plan.tokens * layer.H : 0;
      for (int64_t& at : carry) at = take(plan.B * layer.H);
      dinput = take(gates);
      drecurrent = take(gates);
      dx = take(gates);
      dr = Cell::kSplitGradient ? take(gates) : dx;
      dcell = take(cells);
      cell = take(cells);
      gathered = take(plan.tokens * layer.I);
    }
  };

  static Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors) {
    Sizes sizes{};
    for (int k = 0; k < S; ++k) sizes.states[k] = state_rows(plan, training) * layer.H;
    sizes.forward = ForwardPieces(layer, plan, training, factors).total;
    if (!training) return sizes;
    sizes.saved = inverse_at(layer, plan) + 2 * plan.tokens;
    sizes.backward = BackwardPieces(layer, plan, factors).total;
    return sizes;
  }

  static bool fits(const Layer&, const Device&) { return false; }

  static void forward(const Forward& a, Device& device) {
    const Plan& plan = *a.plan;
    const Layer& layer = a.layer;
    const int64_t H = layer.H;
    const ForwardPieces at(layer, plan, a.saved != nullptr, a.factors != nullptr);
    float *gates = a.scratch + at.gates, *product = a.scratch + at.product;
    float* inverse = a.saved == nullptr ? nullptr : a.saved + inverse_at(layer, plan);
    input_product(a, G * H, layer.weights.weight_ih, a.scratch + at.gathered, gates, device);
    launch(normalise_input, {gates, inverse, G * H}, plan.tokens, kStepThreads, kRowSharedBytes,
           device.stream);
    ForwardScan<float> scan = forward_scan<float>(a);
    scan.gates = gates;
    scan.h = a.factors == nullptr ? a.states[0] : a.scratch + at.h;
    for (int64_t s = -1; s < plan.T; ++s) {  // from -1 into the first position
      const Position here = position(plan, s), next = position(plan, s + 1);
      multiply<float>(device, false, true, here.live, G * H, H,
                      {scan.h + state_row(scan, here) * H, H}, {layer.weights.weight_hh, H}, 0.0f,
                      {product, G * H});
      launch(normalised_forward<Cell>, {scan, here, next, product, inverse},
             s < 0 ? plan.B : larger(here.live, next.live), kStepThreads, kRowSharedBytes,
             device.stream);
    }
  }

  static void backward(const Backward& a, Device& device) {
    const Plan& plan = *a.plan;
    const Layer& layer = a.layer;
    const int64_t H = layer.H, tokens = plan.tokens;
    const BackwardPieces at(layer, plan, a.factors != nullptr);
    BackwardScan<float> scan = backward_scan<float>(a);
    scan.dinput = a.scratch + at.dinput;
    scan.drecurrent = a.scratch + at.drecurrent;
    for (int k = 0; k < S; ++k) scan.carry[k] = a.scratch + at.carry[k];
    float *product = a.scratch + at.product, *dx = a.scratch + at.dx, *dr = a.scratch + at.dr;
    float *dcell = a.scratch + at.dcell, *cell = a.scratch + at.cell;
    const auto step = [&](const Position& here, const Position& later, const float* through,
                          int64_t rows) {
      launch(normalised_backward<Cell>,
             {scan, here, later, through, a.saved + inverse_at(layer, plan), dx, dr, dcell, cell},
             rows, kStepThreads, kRowSharedBytes, device.stream);
    };
    const auto multiply_later = [&](const Position& later) {
      multiply<float>(device, false, false, later.live, H, G * H,
                      {scan.drecurrent + later.token * G * H, G * H}, {layer.weights.weight_hh, H},
                      0.0f, {product, H});
    };
    walk_back(a, scan, product, device, multiply_later, step);
    input_backward<float>(a, G * H, scan.dinput, layer.weights.weight_ih, a.scratch + at.gathered,
                          device);
    add_product(a.grads.weight_hh, scan.drecurrent, G * H, entering_h(a, a.scratch + at.h, device),
                H, tokens, device);
    add_column_sums(dx, tokens, G * H, a.grads.bias_ih, device);
    add_column_sums(dr, tokens, G * H, a.grads.bias_hh, device);
    float* gains = a.grads.weight_unit;
    if (gains == nullptr) return;
    const Rows<const float> hats{a.saved + Cell::kSavedCount * H, kKept<Cell> * H};
    add_column_sums(dx, tokens, G * H, gains, device, hats);
    add_column_sums(dr, tokens, G * H, gains + G * H, device, {hats.data + G * H, hats.stride});
    if constexpr (Cell::kNormalisesCell) {
      add_column_sums(dcell, tokens, H, gains + 2 * G * H, device, {cell, H});
      add_column_sums(dcell, tokens, H, gains + (2 * G + 1) * H, device);
    }
  }

 private:
  // Where the inverse deviations stand behind what else is saved.
  static int64_t inverse_at(const Layer& layer, const Plan& plan) {
    return plan.tokens * kKept<Cell> * layer.H;
  }
};

}  // namespace unrolled::cuda
