// Work of a few launches, put on the caller's stream.
#pragma once

#include "cuda/host/arguments.hpp"
#include "cuda/host/context.hpp"

namespace unrolled::cuda {

// Calls launch(Device&) for the device of the arrays, whose products are in float32.
template <class F>
void put(const Arguments& given, uintptr_t stream, F&& launch) {
  const CurrentDevice current(given.device());
  Context& context = Context::of(given.device(), reinterpret_cast<void*>(stream));
  context.run(Math::kFloat32, [&] { launch(static_cast<Device&>(context)); });
}

}  // namespace unrolled::cuda
