// What the scans of all cells share: scratch memory, and the arguments of their kernels.
#pragma once

#include "cuda/products.hpp"
#include "cuda/step_kernels.hpp"

namespace unrolled::cuda {

// Pieces of scratch, one after the other: where each begins, and the floats of all.
struct Pieces {
  int64_t total = 0;

  int64_t take(int64_t floats) {
    constexpr int64_t kAlignment = 32;  // 128 bytes
    const int64_t at = total;
    total += ceil_div(floats, kAlignment) * kAlignment;
    return at;
  }
};

// Scratch from `at` on.
template <class T, class Args>
T* piece(const Args& a, int64_t at) {
  return reinterpret_cast<T*>(a.scratch + at);
}

// Rows of each of Forward::states; see state_row.
inline int64_t state_rows(const Plan& plan, bool training) {
  return training ? plan.tokens : 2 * plan.B;
}

// All that does not lie in scratch.
template <class E>
ForwardScan<E> forward_scan(const Forward& a) {
  ForwardScan<E> scan{};
  scan.plan = on_device(*a.plan, a.arrays);
  scan.H = a.layer.H;
  scan.R = a.layer.R;
  scan.bias_input = a.layer.weights.bias_ih;
  scan.bias_recurrent = a.layer.weights.bias_hh;
  scan.weight_unit = a.layer.weights.weight_unit;
  scan.factors = a.factors;
  scan.cell_limit = a.cell_limit;
  scan.choice = a.layer.gates;
  scan.saved = a.saved;
  for (int k = 0; k < kMaxStates; ++k) {
    scan.y[k] = a.y[k];
    scan.update[k] = a.update[k];
    scan.initial[k] = a.initial[k];
    scan.final[k] = a.final[k];
    scan.states[k] = a.states[k];
  }
  return scan;
}

template <class E>
BackwardScan<E> backward_scan(const Backward& a) {
  BackwardScan<E> scan{};
  scan.plan = on_device(*a.plan, a.arrays);
  scan.H = a.layer.H;
  scan.R = a.layer.R;
  scan.weight_unit = a.layer.weights.weight_unit;
  scan.factors = a.factors;
  scan.cell_limit = a.cell_limit;
  scan.choice = a.layer.gates;
  scan.clip_value = a.clip_value;
  scan.saved = a.saved;
  for (int k = 0; k < kMaxStates; ++k) {
    scan.dy[k] = a.dy[k];
    scan.update[k] = a.update[k];
    scan.dfinal[k] = a.dfinal[k];
    scan.dinitial[k] = a.dinitial[k];
    scan.states[k] = a.states[k];
  }
  return scan;
}

inline bool clips_norm(const Backward& a) { return a.clip_norm < static_cast<float>(kUnlimited); }

// Clips, where it is to, the norm of the gradient of h that the carry and the product (live, R)
// from the later step are together. Returns what of the product the step has still to add.
template <class E>
const float* clip_of_norm(const Backward& a, const BackwardScan<E>& scan, const float* product,
                          int64_t live, Device& device) {
  if (!clips_norm(a)) return product;
  launch(clip_norm<E>, {scan, product, a.clip_norm}, live, kStepThreads,
         kStepThreads * sizeof(double), device.stream);
  return nullptr;
}

// All steps back: rows without any step first, what this gives to the others is overwritten; then
// from the last position to the one before the first the product (rows, R) of the later step with
// W_hh, and the step. What of the product the step has still to add, it is given.
template <class Multiply, class Step>
void walk_back(const Backward& a, const BackwardScan<float>& scan, float* product, Device& device,
               Multiply multiply_later, Step step) {
  const Plan& plan = *a.plan;
  const Position outside = position(plan, -1);
  if (plan.T == 0 || plan.live[0] < plan.B) step(outside, outside, nullptr, plan.B);
  for (int64_t s = plan.T - 1; s >= -1; --s) {
    const Position here = position(plan, s), later = position(plan, s + 1);
    multiply_later(later);
    step(here, later, clip_of_norm(a, scan, product, later.live, device),
         larger(here.live, later.live));
  }
}

}  // namespace unrolled::cuda
