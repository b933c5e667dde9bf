// Recurrent layers: packing of parameters, the scan forward, and BPTT. Every argument is checked
// here; kernels trust what they get.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/array.hpp"
#include "kernels/table.hpp"
#include "runtime/arena.hpp"

namespace unrolled {

// Index of a cell by name; ValueError that lists the names otherwise.
int find_cell(const std::string& name);

// One direction of one layer, packed for the ISA in use when it was made.
template <class T>
struct Weights {
  const KernelTable* table;
  int cell;
  bool backward;  // transposed copies are there
  LayerSizes sizes;
  PackedLayer<T> packed;
  Buffer<T> memory;

  const CellInfo& info() const { return table->cells[cell]; }
};

struct LayerArrays {
  ArrayView weight_ih, weight_hh, bias_ih, bias_hh;
};

template <class T>
Weights<T> pack_weights(const std::string& cell, const LayerArrays& arrays, bool backward);

// Rows ordered by length, and where the tokens of each step stand; see kernels/table.hpp.
class RaggedPlan {
 public:
  RaggedPlan(const char* function, int64_t T, int64_t B, const ArrayView& lengths,
             const ArrayView& resets, bool reverse);
  const Plan& view() const { return plan_; }
  int64_t length(int64_t ordered_row) const { return lengths_[static_cast<size_t>(ordered_row)]; }

 private:
  std::vector<int64_t> live_, offset_, order_, lengths_;
  std::vector<uint8_t> resets_;  // a copy: the pullback may come after the caller changed his own
  Plan plan_;
};

// What a forward pass leaves for its pullbacks.
template <class T>
struct Saved {
  std::shared_ptr<const Weights<T>> weights;
  int64_t T_steps, B;
  std::unique_ptr<RaggedPlan> plan;
  Sequence<const T> x;
  Lookup<T> lookup;
  Buffer<int64_t> tokens;  // a copy: the pullback may come after the caller changed his own
  Buffer<T> states[kMaxStates];
  Buffer<T> values;
  int64_t state_stride;

  int64_t bytes() const { return states[0].bytes() + states[1].bytes() + values.bytes(); }
};

struct ForwardArrays {
  ArrayView x, y;
  ArrayView tokens;  // (T, B), present: x is a table (V, I) whose rows they look up
  std::vector<ArrayView> initial, final;  // initial may be empty: zeros
  ArrayView lengths, resets;
  bool reverse;
};

// Runs the scan; with `save` returns what backward needs, else null.
template <class T>
std::unique_ptr<Saved<T>> run_forward(const std::shared_ptr<const Weights<T>>& weights,
                                      const ForwardArrays& arrays, bool save);

struct BackwardArrays {
  ArrayView dy, dx;                         // both may be absent
  std::vector<ArrayView> dfinal, dinitial;  // dfinal may be empty: zeros
  LayerArrays grads;                        // biases may be absent
  bool accumulate_dx;
};

template <class T>
void run_backward(const Saved<T>& saved, const BackwardArrays& arrays);

}  // namespace unrolled
