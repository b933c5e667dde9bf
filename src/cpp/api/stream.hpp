// A stack of recurrent layers one step at a time. Everything that a step needs is made once, so
// that a step allocates nothing and enters the thread team once for all layers.
#pragma once

#include <memory>
#include <vector>

#include "api/sequence.hpp"

namespace unrolled {

template <class T>
class StackStream {
 public:
  // `states` holds the (B, H) arrays of each layer; they are read and written by every step and
  // must outlive the stream. `updates` is empty or the share of its new value that each state takes
  // in a step, `cell_clip` the limit of the state c. Throws when they do not fit the weights.
  StackStream(std::vector<std::shared_ptr<const Weights<T>>> weights,
              const std::vector<std::vector<ArrayView>>& states, const std::vector<double>& updates,
              double cell_clip);
  StackStream(const StackStream&) = delete;

  // y (B, H) = the last layer's output for x (B, I).
  void step(const ArrayView& x, const ArrayView& y);

 private:
  int64_t batch_;
  int team_size_;
  bool turns_ = false, back_ = false;  // whether steps turn round, and whether the next one does
  std::vector<std::shared_ptr<const Weights<T>>> weights_;
  int64_t offset_[2];  // of the one step
  std::vector<int64_t> order_;
  Plan plan_;
  std::vector<Buffer<T>> memory_;
  std::vector<ForwardArgs<T>> layers_;
};

}  // namespace unrolled
