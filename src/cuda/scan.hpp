// A scan of one cell: the order of matrix products and kernels on the stream.
#pragma once

#include "cuda/persistent.hpp"
#include "cuda/scan_parts.hpp"

namespace unrolled::cuda {

// Rows of the batch up to which Path::kAuto takes a persistent kernel: estimates, not measured. A
// tile of rows costs reading the block's weights from shared memory, and its own values, of which
// there are G times as many on the way back, from the L2 cache into every multiprocessor. A matrix
// product of few rows costs reading all weights from the L2 cache, and two launches.
inline constexpr int64_t kPersistentForwardBatch = 16, kPersistentBackwardBatch = 8;

template <class Cell, class E>
struct Scan {
  static constexpr int G = Cell::kGateCount, S = Cell::kStateCount, P = Cell::kUnitCount;

  static int64_t rounded_copy(int64_t size) { return kIsRounded<E> ? floats_of<E>(size) : 0; }
  static int64_t copy_of_h(int64_t size, bool factors) {
    return kIsRounded<E> || factors ? floats_of<E>(size) : 0;
  }

  struct ForwardPieces : Pieces {
    int64_t counter, weight_ih, weight_hh, h, gates, recurrent, gathered;

    ForwardPieces(int64_t I, int64_t H, const Plan& plan, bool training, bool factors)
        : counter(take(1)),
          weight_ih(take(rounded_copy(G * H * I))),
          weight_hh(take(Cell::kRecurrent ? rounded_copy(G * H * H) : 0)),
          h(take(copy_of_h(state_rows(plan, training) * H, factors))),
          gates(take(plan.tokens * G * H)),
          recurrent(take(Cell::kRecurrent ? plan.B * G * H : 0)),
          gathered(take(floats_of<E>(plan.tokens * I))) {}
  };

  struct BackwardPieces : Pieces {
    int64_t counter, weight_ih, weight_hh, h, product, carry[S], dinput, drecurrent, dunit,
        gathered;

    BackwardPieces(int64_t I, int64_t H, const Plan& plan, bool factors)
        : counter(take(1)),
          weight_ih(take(rounded_copy(G * H * I))),
          weight_hh(take(Cell::kRecurrent ? rounded_copy(G * H * H) : 0)),
          h(take(copy_of_h(plan.tokens * H, factors))),
          product(take(Cell::kRecurrent ? plan.B * H : 0)) {
      for (int64_t& at : carry) at = take(plan.B * H);
      dinput = take(floats_of<E>(plan.tokens * G * H));
      drecurrent = Cell::kSplitGradient ? take(floats_of<E>(plan.tokens * G * H)) : dinput;
      dunit = take(plan.tokens * P * H);
      gathered = take(plan.tokens * I);
    }
  };

  static Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors) {
    Sizes sizes{};
    const int64_t I = layer.I, H = layer.H;
    for (int k = 0; k < S; ++k) sizes.states[k] = state_rows(plan, training) * H;
    sizes.forward = ForwardPieces(I, H, plan, training, factors).total;
    if (!training) return sizes;
    sizes.saved = plan.tokens * Cell::kSavedCount * H;
    sizes.backward = BackwardPieces(I, H, plan, factors).total;
    return sizes;
  }

  // A block multiplies its units' gates with h, or its units' columns with the gradients of gates.
  static Slice forward_slice(int64_t H, int64_t B, const Device& device) {
    return make_slice(H, G, H, B, kIsRounded<E>, device.multiprocessors);
  }
  static Slice backward_slice(int64_t H, int64_t B, const Device& device) {
    return make_slice(H, 1, G * H, B, kIsRounded<E>, device.multiprocessors);
  }

  static bool fits(const Layer& layer, const Device& device) {
    const int64_t H = layer.H;
    return Cell::kRecurrent && has_room(forward_slice(H, kTileRows, device), device) &&
           has_room(backward_slice(H, kTileRows, device), device);
  }

  static void forward(const Forward& a, Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = a.layer.H;
    const ForwardPieces at(a.layer.I, H, plan, a.saved != nullptr, a.factors != nullptr);
    const E* weight_ih =
        operand(a.layer.weights.weight_ih, G * H * a.layer.I, piece<E>(a, at.weight_ih), device);
    input_product(a, G * H, weight_ih, piece<E>(a, at.gathered), a.scratch + at.gates, device);
    ForwardScan<E> scan = forward_scan<E>(a);
    scan.gates = a.scratch + at.gates;
    if constexpr (kIsRounded<E>)
      scan.h = piece<E>(a, at.h);
    else
      scan.h = a.factors == nullptr ? a.states[0] : piece<E>(a, at.h);
    if constexpr (Cell::kRecurrent)
      forward_steps(a, scan, at, device);
    else
      launch(forward_alone<Cell, E>, scan, step_blocks(plan.B, H), kStepThreads, 0, device.stream);
  }

  static void backward(const Backward& a, Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = a.layer.H;
    const BackwardPieces at(a.layer.I, H, plan, a.factors != nullptr);
    BackwardScan<E> scan = backward_scan<E>(a);
    scan.dinput = piece<E>(a, at.dinput);
    scan.drecurrent = piece<E>(a, at.drecurrent);
    scan.dunit = a.scratch + at.dunit;
    for (int k = 0; k < S; ++k) scan.carry[k] = a.scratch + at.carry[k];
    // Rows without any step; what this gives to the others is overwritten.
    const Position outside = position(plan, -1);
    if (plan.T == 0 || plan.live[0] < plan.B) step(scan, outside, outside, nullptr, plan.B, device);
    if (Cell::kRecurrent || clips_norm(a))
      backward_steps(a, scan, at, device);
    else
      launch(backward_alone<Cell, E>, scan, step_blocks(plan.B, H), kStepThreads, 0, device.stream);
    const E* weight_ih =
        operand(a.layer.weights.weight_ih, G * H * a.layer.I, piece<E>(a, at.weight_ih), device);
    input_backward<E>(a, G * H, scan.dinput, weight_ih, a.scratch + at.gathered, device);
    add_column_sums<E>(scan.dinput, plan.tokens, G * H, a.grads.bias_ih, device);
    add_column_sums<E>(scan.drecurrent, plan.tokens, G * H, a.grads.bias_hh, device);
    if constexpr (Cell::kRecurrent)
      add_product<E>(a.grads.weight_hh, scan.drecurrent, G * H,
                     entering_h(a, piece<E>(a, at.h), device), H, plan.tokens, device);
    add_column_sums(scan.dunit, plan.tokens, P * H, a.grads.weight_unit, device);
  }

 private:
  static void forward_steps(const Forward& a, const ForwardScan<E>& scan, const ForwardPieces& at,
                            Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = scan.H;
    const E* weight_hh =
        operand(a.layer.weights.weight_hh, G * H * H, piece<E>(a, at.weight_hh), device);
    float* recurrent = a.scratch + at.recurrent;
    const auto step = [&](int64_t s, int64_t rows) {
      launch(forward_step<Cell, E>, {scan, position(plan, s), position(plan, s + 1), recurrent},
             step_blocks(rows, H), kStepThreads, 0, device.stream);
    };

    step(-1, plan.B);  // into the first position; rows without any step end here
    const Slice slice = forward_slice(H, plan.B, device);
    if (is_persistent(a.path, slice, plan.B <= kPersistentForwardBatch, device)) {
      launch_persistent(
          slice.tile == 1 ? persistent_forward<Cell, E, 1> : persistent_forward<Cell, E, kTileRows>,
          Persistent<ForwardScan<E>, E>{scan, slice, weight_hh, piece<unsigned>(a, at.counter)},
          device);
      return;
    }
    for (int64_t s = 0; s < plan.T; ++s) {
      const Position here = position(plan, s);
      multiply<E>(device, false, true, here.live, G * H, H, {scan.h + state_row(scan, here) * H, H},
                  {weight_hh, H}, 0.0f, {recurrent, G * H});
      step(s, larger(here.live, position(plan, s + 1).live));
    }
  }

  static void backward_steps(const Backward& a, const BackwardScan<E>& scan,
                             const BackwardPieces& at, Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = scan.H;
    const E* weight_hh = nullptr;
    if constexpr (Cell::kRecurrent) {
      weight_hh = operand(a.layer.weights.weight_hh, G * H * H, piece<E>(a, at.weight_hh), device);
      const Slice slice = backward_slice(H, plan.B, device);
      if (!clips_norm(a) &&
          is_persistent(a.path, slice, plan.B <= kPersistentBackwardBatch, device)) {
        launch_persistent(
            slice.tile == 1 ? persistent_backward<Cell, E, 1>
                            : persistent_backward<Cell, E, kTileRows>,
            Persistent<BackwardScan<E>, E>{scan, slice, weight_hh, piece<unsigned>(a, at.counter)},
            device);
        return;
      }
    }
    for (int64_t s = plan.T - 1; s >= -1; --s) {
      const Position here = position(plan, s), later = position(plan, s + 1);
      float* product = Cell::kRecurrent ? a.scratch + at.product : nullptr;
      if constexpr (Cell::kRecurrent)
        multiply<E>(device, false, false, later.live, H, G * H,
                    {scan.drecurrent + later.token * G * H, G * H}, {weight_hh, H}, 0.0f,
                    {product, H});
      step(scan, here, later, clip_of_norm(a, scan, product, later.live, device),
           larger(here.live, later.live), device);
    }
  }

  static void step(const BackwardScan<E>& scan, const Position& here, const Position& later,
                   const float* product, int64_t rows, Device& device) {
    launch(backward_step<Cell, E>, {scan, here, later, product}, step_blocks(rows, scan.H),
           kStepThreads, 0, device.stream);
  }

  static bool has_room(const Slice& slice, const Device& device) {
    return device.multiprocessors > 0 && slice.units * slice.tile <= kPersistentThreads &&
           slice.shared_bytes() <= device.shared_bytes;
  }

  static bool is_persistent(Path path, const Slice& slice, bool few_rows, const Device& device) {
    return (path == Path::kPersistent || (path == Path::kAuto && few_rows)) &&
           has_room(slice, device);
  }

  template <class Args>
  static void launch_persistent(void (*kernel)(Args), const Args& args, Device& device) {
    launch(clear_counter, Counter{args.counter}, 1, 1, 0, device.stream);
    launch(kernel, args, args.slice.blocks, kPersistentThreads, args.slice.shared_bytes(),
           device.stream, true);
  }
};

}  // namespace unrolled::cuda
