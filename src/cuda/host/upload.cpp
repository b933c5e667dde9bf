#include "cuda/host/upload.hpp"

#include "cuda/host/context.hpp"

namespace unrolled::cuda {

const int64_t* upload(const char* where, const int64_t* values, int64_t count, Argument memory,
                      Arguments& given, uintptr_t stream) {
  auto* to = Arguments(where).array<int64_t>("memory", "(integers,)", {count}, memory);
  given.note("memory", memory);
  const CurrentDevice current(given.device());
  ensure(cudaMemcpyAsync(to, values, static_cast<size_t>(count) * sizeof(int64_t),
                         cudaMemcpyHostToDevice, reinterpret_cast<cudaStream_t>(stream)),
         "integers to be copied to the device");
  return to;
}

}  // namespace unrolled::cuda
