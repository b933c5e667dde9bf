#include "bindings/xla_call.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>

namespace unrolled {
namespace {

void check_size(const char* name, size_t got, size_t needed) {
  if (got < needed)
    fail_value("[jax] expected a ", name, " of at least ", needed, " bytes from XLA, got ", got,
               "; install a version of jaxlib that this version of unrolled knows");
}

Kind kind_of(xla::DType dtype) {
  switch (dtype) {
    case xla::DType::kF32:
      return Kind::kFloat32;
    case xla::DType::kF64:
      return Kind::kFloat64;
    case xla::DType::kS64:
      return Kind::kInt64;
    case xla::DType::kPred:
      return Kind::kBool;
    default:
      return Kind::kOther;
  }
}

size_t size_of(xla::DType dtype) {
  switch (dtype) {
    case xla::DType::kF64:
    case xla::DType::kS64:
      return 8;
    case xla::DType::kF32:
    case xla::DType::kS32:
      return 4;
    default:
      return 1;
  }
}

ArrayView view_of(const xla::Buffers& buffers, int64_t index, bool writable) {
  if (index >= buffers.size || buffers.types[index] != xla::kBufferType)
    fail_value("[jax] expected a buffer number ", index, " from XLA, got ", buffers.size);
  const auto& buffer = *static_cast<const xla::Buffer*>(buffers.items[index]);
  check_size("buffer", buffer.struct_size, sizeof(xla::Buffer));
  if (buffer.rank > kMaxDimensions)
    fail_value("[jax] expected at most ", kMaxDimensions, " dimensions, got ", buffer.rank);
  ArrayView view;
  view.data = buffer.data;
  view.kind = kind_of(buffer.dtype);
  if (view.kind == Kind::kOther)
    view.kind_name = buffer.dtype == xla::DType::kS32  ? "int32"
                     : buffer.dtype == xla::DType::kU8 ? "uint8"
                                                       : "another dtype";
  view.dimensions = static_cast<int>(buffer.rank);
  view.aligned = reinterpret_cast<uintptr_t>(buffer.data) % size_of(buffer.dtype) == 0;
  view.writable = writable;
  view.present = true;
  std::copy(buffer.dims, buffer.dims + buffer.rank, view.shape);
  for (int64_t i = buffer.rank - 1, stride = 1; i >= 0; stride *= view.shape[i--])
    view.strides[i] = stride;
  return view;
}

// XLA's threads take tiny numbers for zero. Ours do not, and results are the same in every call.
class PlainFloats {
 public:
  PlainFloats() { set(kPlain); }
  ~PlainFloats() { set(before_); }
  PlainFloats(const PlainFloats&) = delete;
  PlainFloats& operator=(const PlainFloats&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kPlain = 0x1f80;
  static uint64_t get() { return __builtin_ia32_stmxcsr(); }
  static void set(uint64_t mode) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kPlain = 0;
  static uint64_t get() {
    uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  static constexpr uint64_t kPlain = 0;
  static uint64_t get() { return 0; }
  static void set(uint64_t) {}
#endif
  const uint64_t before_ = get();
};

// Of the interface; what XLA asks about a handler comes without its own version.
std::atomic<int> spoken_minor{xla::kLastMinor};

void check_version(int major, int minor) {
  if (major != xla::kMajor || minor < xla::kFirstMinor)
    fail_value("[jax] expected version ", xla::kMajor, ".", xla::kFirstMinor, " to ", xla::kMajor,
               ".", xla::kLastMinor,
               " of XLA's foreign function interface, or a later one that is ",
               "compatible with them, got ", major, ".", minor);
}

void describe(const xla::Frame& frame) {
  check_size("metadata extension", frame.extension->struct_size, sizeof(xla::MetadataExtension));
  xla::Metadata& metadata =
      *reinterpret_cast<const xla::MetadataExtension*>(frame.extension)->metadata;
  check_size("metadata", metadata.struct_size, xla::kMetadataBytes);
  metadata.version = {sizeof(xla::Version), nullptr, xla::kMajor, spoken_minor};
  metadata.traits = 0;
}

xla::Error* report(const xla::Frame& frame, xla::Code code, const char* message) {
  // Old versions ask about handlers without it, and refuse one that has not told its version.
  if (frame.api == nullptr) return nullptr;
  xla::ErrorRequest request{sizeof(xla::ErrorRequest), nullptr, message, code};
  return frame.api->create_error(&request);
}

}  // namespace

XlaCall::XlaCall(const xla::Frame& frame) : frame_(frame) {
  check_size("call frame", frame.struct_size, sizeof(xla::Frame));
  check_version(frame.api->version.major, frame.api->version.minor);
  check_size("list of arguments", frame.arguments.struct_size, sizeof(xla::Buffers));
  check_size("list of results", frame.results.struct_size, sizeof(xla::Buffers));
  check_size("list of attributes", frame.attributes.struct_size, sizeof(xla::Attributes));
  if (frame.stage != xla::kExecuteStage)
    fail_value("[jax] expected XLA to call for execution (", xla::kExecuteStage, "), got ",
               frame.stage);
}

ArrayView XlaCall::argument() { return view_of(frame_.arguments, arguments_++, false); }

ArrayView XlaCall::result() { return view_of(frame_.results, results_++, true); }

std::vector<ArrayView> XlaCall::arguments(int count) {
  std::vector<ArrayView> views;
  while (count-- > 0) views.push_back(argument());
  return views;
}

std::vector<ArrayView> XlaCall::results(int count) {
  std::vector<ArrayView> views;
  while (count-- > 0) views.push_back(result());
  return views;
}

const void* XlaCall::attribute(std::string_view name, xla::AttributeType type) const {
  const xla::Attributes& given = frame_.attributes;
  for (int64_t i = 0; i < given.size; ++i)
    if (given.types[i] == type &&
        std::string_view(given.names[i]->data, given.names[i]->size) == name)
      return given.items[i];
  fail_value("[jax] expected the attribute ", name, ", got none");
}

std::string XlaCall::text(std::string_view name) const {
  const auto& text = *static_cast<const xla::Text*>(attribute(name, xla::AttributeType::kString));
  return {text.data, text.size};
}

bool XlaCall::flag(std::string_view name) const {
  const auto& scalar =
      *static_cast<const xla::Scalar*>(attribute(name, xla::AttributeType::kScalar));
  if (scalar.dtype != xla::DType::kPred)
    fail_value("[jax] expected the attribute ", name, " to be a bool");
  return *static_cast<const bool*>(scalar.value);
}

void speak_version(int major, int minor) {
  check_version(major, minor);
  spoken_minor = std::min(minor, xla::kLastMinor);
}

xla::Error* answer(xla::Frame* frame, void (*body)(XlaCall& call)) {
  const xla::Extension* const extension = frame->extension;
  try {
    if (extension != nullptr && extension->type == xla::kMetadataType) {
      describe(*frame);
    } else {
      const PlainFloats plain;
      XlaCall call(*frame);
      body(call);
    }
    return nullptr;
  } catch (const std::invalid_argument& wrong) {
    return report(*frame, xla::Code::kInvalidArgument, wrong.what());
  } catch (const std::bad_alloc&) {
    return report(*frame, xla::Code::kResourceExhausted, "[jax] out of memory");
  } catch (const std::exception& error) {
    return report(*frame, xla::Code::kInternal, error.what());
  }
}

}  // namespace unrolled
