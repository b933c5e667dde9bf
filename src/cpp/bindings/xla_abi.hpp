// The part of XLA's foreign function interface that a handler on the CPU meets, in our own words:
// plain structs whose layout XLA promises to keep, with new fields at their end alone. XLA is not
// needed to build; a test compares these declarations with the header that jaxlib ships. Versions
// 0.1 to 0.3 of the interface have them as they stand here.
//
// Source: xla/ffi/api/c_api.h of the OpenXLA project.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unrolled::xla {

inline constexpr int kMajor = 0, kFirstMinor = 1, kLastMinor = 3;

enum class Code : int { kInvalidArgument = 3, kResourceExhausted = 8, kInternal = 13 };
enum class DType : int { kPred = 1, kS32 = 4, kS64 = 5, kU8 = 6, kF32 = 11, kF64 = 12 };
enum class AttributeType : int { kScalar = 3, kString = 4 };
inline constexpr int kBufferType = 1, kMetadataType = 1, kExecuteStage = 3;

struct Extension {
  size_t struct_size;
  int type;
  Extension* next;
};

struct Version {
  size_t struct_size;
  Extension* extension;
  int major, minor;
};

struct Error;

struct ErrorRequest {
  size_t struct_size;
  Extension* extension;
  const char* message;
  Code code;
};

// The first of many functions; the others are not called.
struct Api {
  size_t struct_size;
  Extension* extension;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorRequest* request);
};

struct Buffer {
  size_t struct_size;
  Extension* extension;
  DType dtype;
  void* data;
  int64_t rank;
  int64_t* dims;
};

struct Text {
  const char* data;
  size_t size;
};

struct Scalar {
  DType dtype;
  void* value;
};

// Arguments, and results.
struct Buffers {
  size_t struct_size;
  Extension* extension;
  int64_t size;
  int* types;
  void** items;
};

struct Attributes {
  size_t struct_size;
  Extension* extension;
  int64_t size;
  AttributeType* types;
  Text** names;
  void** items;
};

struct Frame {
  size_t struct_size;
  Extension* extension;
  const Api* api;
  void* context;
  int stage;
  Buffers arguments, results;
  Attributes attributes;
};

// What a handler is asked for once, by an extension of an otherwise empty frame.
struct Metadata {
  size_t struct_size;
  Version version;  // of the interface that the handler speaks
  uint32_t traits;
};

// What XLA gives as struct_size leaves out padding behind the last field.
inline constexpr size_t kMetadataBytes = offsetof(Metadata, traits) + sizeof(Metadata::traits);

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

}  // namespace unrolled::xla
