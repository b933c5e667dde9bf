// A scan of one cell: the order of matrix products and kernels on the stream.
#pragma once

#include "cuda/persistent.hpp"
#include "cuda/products.hpp"

namespace unrolled::cuda {

// Rows of the batch up to which Path::kAuto takes a persistent kernel: estimates, not measured. A
// tile of rows costs reading the block's weights from shared memory, and its own values, of which
// there are G times as many on the way back, from the L2 cache into every multiprocessor. A matrix
// product of few rows costs reading all weights from the L2 cache, and two launches.
inline constexpr int64_t kPersistentForwardBatch = 16, kPersistentBackwardBatch = 8;

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

template <class Cell>
struct Scan {
  static constexpr int G = Cell::kGateCount, S = Cell::kStateCount, P = Cell::kUnitCount;

  struct ForwardPieces : Pieces {
    int64_t counter, gates, recurrent, gathered;

    ForwardPieces(int64_t I, int64_t H, const Plan& plan)
        : counter(take(1)),
          gates(take(plan.tokens * G * H)),
          recurrent(take(Cell::kRecurrent ? plan.B * G * H : 0)),
          gathered(take(plan.tokens * I)) {}
  };

  struct BackwardPieces : Pieces {
    int64_t counter, carry[S], dinput, drecurrent, dunit, gathered;

    BackwardPieces(int64_t I, int64_t H, const Plan& plan) : counter(take(1)) {
      for (int64_t& at : carry) at = take(plan.B * H);
      dinput = take(plan.tokens * G * H);
      drecurrent = Cell::kSplitGradient ? take(plan.tokens * G * H) : dinput;
      dunit = take(plan.tokens * P * H);
      gathered = take(plan.tokens * I);
    }
  };

  static Sizes sizes(int64_t I, int64_t H, const Plan& plan, bool training) {
    Sizes sizes{};
    sizes.states = (training ? plan.tokens : 2 * plan.B) * H;
    sizes.forward = ForwardPieces(I, H, plan).total;
    if (!training) return sizes;
    sizes.saved = plan.tokens * Cell::kSavedCount * H;
    sizes.backward = BackwardPieces(I, H, plan).total;
    return sizes;
  }

  // A block multiplies its units' gates with h, or its units' columns with the gradients of gates.
  static Slice forward_slice(int64_t H, int64_t B, const Device& device) {
    return make_slice(H, G, H, B, device.multiprocessors);
  }
  static Slice backward_slice(int64_t H, int64_t B, const Device& device) {
    return make_slice(H, 1, G * H, B, device.multiprocessors);
  }

  static bool fits(int64_t H, const Device& device) {
    return Cell::kRecurrent && has_room(forward_slice(H, kTileRows, device), device) &&
           has_room(backward_slice(H, kTileRows, device), device);
  }

  static void forward(const Forward& a, Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = a.layer.H;
    const ForwardPieces at(a.layer.I, H, plan);
    input_product(a, G * H, a.scratch + at.gates, a.scratch + at.gathered, device);
    ForwardScan scan{};
    scan.plan = on_device(plan, a.arrays);
    scan.H = H;
    scan.gates = a.scratch + at.gates;
    scan.bias_input = a.layer.weights.bias_ih;
    scan.bias_recurrent = a.layer.weights.bias_hh;
    scan.weight_unit = a.layer.weights.weight_unit;
    scan.saved = a.saved;
    for (int k = 0; k < S; ++k) {
      scan.y[k] = a.y[k];
      scan.update[k] = a.update[k];
      scan.initial[k] = a.initial[k];
      scan.final[k] = a.final[k];
      scan.states[k] = a.states[k];
    }
    if constexpr (Cell::kRecurrent)
      forward_steps(a, scan, at, device);
    else
      launch(forward_alone<Cell>, scan, step_blocks(plan.B, H), kStepThreads, 0, device.stream);
  }

  static void backward(const Backward& a, Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = a.layer.H;
    const BackwardPieces at(a.layer.I, H, plan);
    BackwardScan scan{};
    scan.plan = on_device(plan, a.arrays);
    scan.H = H;
    scan.weight_unit = a.layer.weights.weight_unit;
    scan.saved = a.saved;
    scan.dinput = a.scratch + at.dinput;
    scan.drecurrent = a.scratch + at.drecurrent;
    scan.dunit = a.scratch + at.dunit;
    for (int k = 0; k < S; ++k) {
      scan.dy[k] = a.dy[k];
      scan.update[k] = a.update[k];
      scan.dfinal[k] = a.dfinal[k];
      scan.dinitial[k] = a.dinitial[k];
      scan.states[k] = a.states[k];
      scan.carry[k] = a.scratch + at.carry[k];
    }
    // Rows without any step; what this gives to the others is overwritten.
    const Position outside = position(plan, -1);
    if (plan.T == 0 || plan.live[0] < plan.B) step(scan, outside, outside, plan.B, device);
    if constexpr (Cell::kRecurrent)
      backward_steps(a, scan, at, device);
    else
      launch(backward_alone<Cell>, scan, step_blocks(plan.B, H), kStepThreads, 0, device.stream);
    products_backward(a, G * H, scan.dinput, scan.drecurrent, a.scratch + at.gathered, device);
    add_column_sums(scan.dunit, plan.tokens, P * H, a.grads.weight_unit, device);
  }

 private:
  static void forward_steps(const Forward& a, const ForwardScan& scan, const ForwardPieces& at,
                            Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = scan.H;
    const float* weight_hh = a.layer.weights.weight_hh;
    float* recurrent = a.scratch + at.recurrent;
    const auto step = [&](int64_t s, int64_t rows) {
      launch(forward_step<Cell>, {scan, position(plan, s), position(plan, s + 1), recurrent},
             step_blocks(rows, H), kStepThreads, 0, device.stream);
    };

    step(-1, plan.B);  // into the first position; rows without any step end here
    const Slice slice = forward_slice(H, plan.B, device);
    if (is_persistent(a.path, slice, plan.B <= kPersistentForwardBatch, device)) {
      launch_persistent(
          slice.tile == 1 ? persistent_forward<Cell, 1> : persistent_forward<Cell, kTileRows>,
          Persistent<ForwardScan>{scan, slice, weight_hh, counter(a, at)}, device);
      return;
    }
    for (int64_t s = 0; s < plan.T; ++s) {
      const Position here = position(plan, s);
      multiply(device, false, true, here.live, G * H, H,
               {a.states[0] + state_row(scan, here) * H, H}, {weight_hh, H}, 0.0f,
               {recurrent, G * H});
      step(s, larger(here.live, position(plan, s + 1).live));
    }
  }

  static void backward_steps(const Backward& a, const BackwardScan& scan, const BackwardPieces& at,
                             Device& device) {
    const Plan& plan = *a.plan;
    const int64_t H = scan.H;
    const float* weight_hh = a.layer.weights.weight_hh;
    const Slice slice = backward_slice(H, plan.B, device);
    if (is_persistent(a.path, slice, plan.B <= kPersistentBackwardBatch, device)) {
      launch_persistent(
          slice.tile == 1 ? persistent_backward<Cell, 1> : persistent_backward<Cell, kTileRows>,
          Persistent<BackwardScan>{scan, slice, weight_hh, counter(a, at)}, device);
      return;
    }
    for (int64_t s = plan.T - 1; s >= -1; --s) {
      const Position here = position(plan, s), later = position(plan, s + 1);
      multiply(device, false, false, later.live, H, G * H,
               {scan.drecurrent + later.token * G * H, G * H}, {weight_hh, H}, 1.0f,
               {scan.carry[0], H});
      step(scan, here, later, larger(here.live, later.live), device);
    }
  }

  static void step(const BackwardScan& scan, const Position& here, const Position& later,
                   int64_t rows, Device& device) {
    launch(backward_step<Cell>, {scan, here, later}, step_blocks(rows, scan.H), kStepThreads, 0,
           device.stream);
  }

  static bool has_room(const Slice& slice, const Device& device) {
    return device.multiprocessors > 0 && slice.units * slice.tile <= kPersistentThreads &&
           slice.shared_bytes() <= device.shared_bytes;
  }

  static bool is_persistent(Path path, const Slice& slice, bool few_rows, const Device& device) {
    return (path == Path::kPersistent || (path == Path::kAuto && few_rows)) &&
           has_room(slice, device);
  }

  template <class Args, class At>
  static unsigned* counter(const Args& a, const At& at) {
    return reinterpret_cast<unsigned*>(a.scratch + at.counter);
  }

  template <class Args>
  static void launch_persistent(void (*kernel)(Args), const Args& args, Device& device) {
    launch(clear_counter, Counter{args.counter}, 1, 1, 0, device.stream);
    launch(kernel, args, args.slice.blocks, kPersistentThreads, args.slice.shared_bytes(),
           device.stream, true);
  }
};

}  // namespace unrolled::cuda
