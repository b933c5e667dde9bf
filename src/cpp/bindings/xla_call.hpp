// One call from XLA: its arrays as views, its attributes, and its errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/array.hpp"
#include "bindings/xla_abi.hpp"

namespace unrolled {

class XlaCall {
 public:
  // Throws std::invalid_argument where the frame is none that these declarations describe.
  explicit XlaCall(const xla::Frame& frame);

  // Arguments and results in their order, from one call of these to the next.
  ArrayView argument();
  ArrayView result();
  std::vector<ArrayView> arguments(int count);
  std::vector<ArrayView> results(int count);

  std::string text(std::string_view name) const;
  bool flag(std::string_view name) const;

 private:
  const void* attribute(std::string_view name, xla::AttributeType type) const;

  const xla::Frame& frame_;
  int64_t arguments_ = 0, results_ = 0;
};

// Sets the version of the interface that handlers say they speak: that of XLA, or the last one that
// is known. Throws std::invalid_argument if it is none that can be spoken.
void speak_version(int major, int minor);

// Answers XLA's frame: what it asks about the handler, or `body` with the call. Exceptions become
// XLA's errors.
xla::Error* answer(xla::Frame* frame, void (*body)(XlaCall& call));

}  // namespace unrolled
