#include "cuda/host/device_array.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/host/dlpack.hpp"
#include "cuda/host/ensure.hpp"

namespace unrolled::cuda {
namespace {

// Python's protocols call the default stream 1, because 0 could mean several.
uintptr_t protocol_stream(uintptr_t stream) { return stream == 0 ? 1 : stream; }

Kind kind_of(char letter, int64_t bytes) {
  if (letter == 'f' && bytes == 4) return Kind::kFloat32;
  if (letter == 'f' && bytes == 8) return Kind::kFloat64;
  if (letter == 'i' && bytes == 8) return Kind::kInt64;
  if (letter == 'b' && bytes == 1) return Kind::kBool;
  return Kind::kOther;
}

// Fills in everything but the address; `strides` count elements.
ArrayView make_view(const std::string& subject, Kind kind, std::string kind_name,
                    const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  ArrayView view;
  view.present = true;
  view.kind = kind;
  if (kind == Kind::kOther) view.kind_name = std::move(kind_name);
  if (shape.size() > kMaxDimensions)
    fail_value(subject, " of at most ", kMaxDimensions, " dimensions, got ", shape.size());
  view.dimensions = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), view.shape);
  std::copy(strides.begin(), strides.end(), view.strides);
  return view;
}

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

void place(ArrayView& view, uintptr_t address, int64_t bytes, bool writable) {
  view.data = reinterpret_cast<void*>(address);
  view.writable = writable;
  view.aligned = view.aligned && address % static_cast<uintptr_t>(std::max<int64_t>(bytes, 1)) == 0;
}

// What is put on `reader` from now on waits for what is on `writer`.
void wait_for(uintptr_t writer, uintptr_t reader) {
  cudaEvent_t event;
  ensure(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "an event");
  cudaError_t status = cudaEventRecord(event, reinterpret_cast<cudaStream_t>(writer));
  if (status == cudaSuccess)
    status = cudaStreamWaitEvent(reinterpret_cast<cudaStream_t>(reader), event, 0);
  cudaEventDestroy(event);
  ensure(status, "one stream to wait for another");
}

// The kind of an element, and its name.
std::pair<Kind, std::string> dtype_of(dlpack::DataType type) {
  if (type.lanes != 1) return {Kind::kOther, "vectors"};
  const int64_t bytes = type.bits / 8;
  const std::string bits = std::to_string(type.bits);
  switch (type.code) {
    case dlpack::kInt:
      return {kind_of('i', bytes), "int" + bits};
    case dlpack::kUint:
      return {Kind::kOther, "uint" + bits};
    case dlpack::kFloat:
      return {kind_of('f', bytes), "float" + bits};
    case dlpack::kBfloat:
      return {Kind::kOther, "bfloat" + bits};
    case dlpack::kComplex:
      return {Kind::kOther, "complex" + bits};
    case dlpack::kBool:
      return {kind_of('b', bytes), "bool"};
    default:
      return {Kind::kOther, "another dtype"};
  }
}

ArrayView view_of(const std::string& subject, const dlpack::Tensor& tensor, bool writable) {
  const std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.dimensions);
  const std::vector<int64_t> strides =
      tensor.strides == nullptr
          ? contiguous_strides(shape)
          : std::vector<int64_t>(tensor.strides, tensor.strides + tensor.dimensions);
  const auto [kind, name] = dtype_of(tensor.dtype);
  ArrayView view = make_view(subject, kind, name, shape, strides);
  view.aligned = true;
  place(view, reinterpret_cast<uintptr_t>(tensor.data) + tensor.byte_offset, tensor.dtype.bits / 8,
        writable);
  return view;
}

}  // namespace

DeviceArray::DeviceArray(const std::string& where, const std::string& name, py::object array,
                         uintptr_t stream)
    : subject_("[" + where + "] expected " + name), owner_(std::move(array)) {
  const std::string type = py::str(py::type::handle_of(owner_).attr("__name__"));
  if (py::hasattr(owner_, "__dlpack__") && py::hasattr(owner_, "__dlpack_device__")) {
    const auto [kind, id] = owner_.attr("__dlpack_device__")().cast<std::pair<int, int>>();
    if (kind != dlpack::kCuda && kind != dlpack::kCudaManaged)
      throw DtypeError(subject_ + " to be on a CUDA device, got a " + type + " elsewhere");
    device_ = id;
    from_dlpack(stream);
  } else if (py::hasattr(owner_, "__cuda_array_interface__")) {
    from_interface(stream);
  } else {
    throw DtypeError(subject_ + " to be an array of a CUDA device, got a " + type);
  }
}

DeviceArray::~DeviceArray() {
  if (release_) release_();
}

void DeviceArray::from_dlpack(uintptr_t stream) {
  using namespace py::literals;
  const py::object export_ = owner_.attr("__dlpack__");
  const uintptr_t to = protocol_stream(stream);
  py::object capsule;
  try {
    capsule = export_("stream"_a = to, "max_version"_a = py::make_tuple(1, 0));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    capsule = export_("stream"_a = to);  // a producer of DLPack 0.x
  }
  const auto take = [&]<class Managed>(const char* name, const char* used, bool writable) {
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
    view_ = view_of(subject_, managed->tensor, writable);
    if (PyCapsule_SetName(capsule.ptr(), used) != 0) throw py::error_already_set();
    if (managed->release != nullptr) release_ = [managed] { managed->release(managed); };
  };
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 0) {
    const auto* versioned = static_cast<dlpack::ManagedVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (versioned->major != 1)
      throw DtypeError(subject_ + " as a tensor of DLPack 1, got one of DLPack " +
                       std::to_string(versioned->major));
    take.template operator()<dlpack::ManagedVersioned>("dltensor_versioned",
                                                       "used_dltensor_versioned",
                                                       (versioned->flags & dlpack::kReadOnly) == 0);
  } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor") != 0) {
    take.template operator()<dlpack::Managed>("dltensor", "used_dltensor", true);
  } else {
    throw DtypeError(subject_ + " to give a capsule of DLPack, got something else");
  }
}

void DeviceArray::from_interface(uintptr_t stream) {
  const py::dict interface = owner_.attr("__cuda_array_interface__");
  const auto shape = interface["shape"].cast<std::vector<int64_t>>();
  const auto type = interface["typestr"].cast<std::string>();
  const auto [address, read_only] = interface["data"].cast<std::pair<uintptr_t, bool>>();
  const bool known = type.size() >= 3 && type[0] != '>';
  const int64_t bytes = type.size() >= 3 ? std::max(std::atoll(type.c_str() + 2), 1LL) : 1;
  std::vector<int64_t> strides = contiguous_strides(shape);
  bool whole = true;
  if (interface.contains("strides") && !interface["strides"].is_none()) {
    strides = interface["strides"].cast<std::vector<int64_t>>();
    if (strides.size() != shape.size())
      fail_value(subject_, " with a stride for each of its ", shape.size(), " axes, got ",
                 strides.size());
    for (size_t i = 0; i < strides.size(); ++i) {
      whole = whole && (shape[i] <= 1 || strides[i] % bytes == 0);
      strides[i] /= bytes;
    }
  }
  view_ = make_view(subject_, known ? kind_of(type[1], bytes) : Kind::kOther, type, shape, strides);
  view_.aligned = whole;
  place(view_, address, bytes, !read_only);
  if (interface.contains("stream") && !interface["stream"].is_none()) {
    const auto writer = interface["stream"].cast<uintptr_t>();
    if (writer != protocol_stream(stream)) wait_for(writer, stream);
  }
}

}  // namespace unrolled::cuda
