// The structs of DLPack's stable C interface, versions 0.x and 1.x.
// Source: https://dmlc.github.io/dlpack/latest/c_api.html
#pragma once

#include <cstdint>

namespace unrolled::cuda::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

struct Device {
  int32_t type, id;
};

struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t dimensions;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: C-contiguous
  uint64_t byte_offset;
};

// What a capsule "dltensor" holds.
struct Managed {
  Tensor tensor;
  void* context;
  void (*release)(Managed*);
};

// What a capsule "dltensor_versioned" holds.
struct ManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*release)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};
inline constexpr uint64_t kReadOnly = 1;

}  // namespace unrolled::cuda::dlpack
