// Recurrent layers: the scan forward, and BPTT. Every argument is checked here; kernels trust what
// they get.
#pragma once

#include <memory>
#include <vector>

#include "api/plan.hpp"
#include "api/weights.hpp"

namespace unrolled {

// What a forward pass leaves for its pullbacks.
template <class T>
struct Saved {
  std::shared_ptr<const Weights<T>> weights;
  int64_t T_steps, B;
  std::unique_ptr<RaggedPlan> plan;
  Sequence<const T> x, update[kMaxStates];
  double cell_clip = kUnlimited;
  const T* factors = nullptr;
  Lookup<T> lookup;
  Buffer<int64_t> tokens;  // a copy: the pullback may come after the caller changed his own
  int64_t recompute;
  // Parts of `memory`; some may be missing, see place_saved.
  Buffer<T> memory;
  Rows<T> states[kMaxStates];  // that enter each step
  Rows<T> multiplied;          // see ForwardArgs
  T* values;                   // for saved_rows tokens
  int64_t saved_rows;
  T* moments;                    // of normalised products, for saved_rows tokens
  Rows<T> entering[kMaxStates];  // states that enter each window
  T* initial[kMaxStates];        // copies

  int64_t bytes() const { return memory.bytes() + tokens.bytes(); }
};

struct ForwardArrays {
  ArrayView x, y;
  ArrayView tokens;  // (T, B), present: x is a table (V, I) whose rows they look up
  std::vector<ArrayView> initial, final;  // initial may be empty: zeros
  // (T, B, H) each: the states after the output that leave each step, and shares of new values that
  // states take. Both may be empty.
  std::vector<ArrayView> others, updates;
  ArrayView lengths, resets;
  bool reverse;
  double cell_clip = kUnlimited;  // see ForwardArgs::cell_limit
  ArrayView factors;              // (B, H) of h in the recurrent product; absent: ones
};

// Runs the scan; with `save` returns what backward needs, else null. `recompute` is kStoreAll,
// kStoreStates or a number of steps. What is saved lies in `memory`, or in memory of its own.
template <class T>
std::unique_ptr<Saved<T>> run_forward(const std::shared_ptr<const Weights<T>>& weights,
                                      const ForwardArrays& arrays, bool save, int64_t recompute,
                                      Buffer<T> memory = {});

struct BackwardArrays {
  ArrayView dy, dx;                         // both may be absent
  std::vector<ArrayView> dothers;           // may be empty: zeros
  std::vector<ArrayView> dfinal, dinitial;  // dfinal may be empty: zeros
  LayerArrays grads;                        // biases may be absent
  bool accumulate_dx;
  // See BackwardArgs.
  double clip_value = kUnlimited, clip_norm = kUnlimited;
};

template <class T>
void run_backward(const Saved<T>& saved, const BackwardArrays& arrays);

}  // namespace unrolled
