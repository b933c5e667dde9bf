// Views of the caller's arrays, and the checks that every argument passes. Error texts name the
// function, what was expected with its shape letters, and what came.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/table.hpp"

namespace unrolled {

enum class Kind { kFloat32, kFloat64, kInt64, kBool, kOther };

inline constexpr int kMaxDimensions = 4;

// A strided array; strides count elements. `data` is null for an argument that was left out.
struct ArrayView {
  void* data = nullptr;
  Kind kind = Kind::kOther;
  std::string kind_name;  // of a dtype that is none of Kind's; empty otherwise
  int dimensions = 0;
  int64_t shape[kMaxDimensions] = {};
  int64_t strides[kMaxDimensions] = {};
  bool aligned = false;  // data and strides are whole multiples of an element's size
  bool writable = false;
  bool present = false;
};

template <class T>
inline constexpr Kind kKindOf = Kind::kOther;
template <>
inline constexpr Kind kKindOf<float> = Kind::kFloat32;
template <>
inline constexpr Kind kKindOf<double> = Kind::kFloat64;
template <>
inline constexpr Kind kKindOf<int64_t> = Kind::kInt64;
template <>
inline constexpr Kind kKindOf<uint8_t> = Kind::kBool;

// "(4, 8)" and "float32", for error texts.
std::string shape_text(const ArrayView& view);
std::string dtype_text(const ArrayView& view);

// What is expected of an argument.
struct Expected {
  const char* function;
  const char* name;
  const char* letters;  // "(T, B, I)"
  std::initializer_list<int64_t> shape;
};

// Throws the ValueError whose text the parts make together.
template <class... Parts>
[[noreturn]] void fail_value(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

// The size of an axis, 0 where there is none; the check of the shape comes later.
inline int64_t axis(const ArrayView& view, int index) {
  return index < view.dimensions ? view.shape[index] : 0;
}

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Each throws TypeError (wrong dtype) or ValueError by way of std exceptions when the view differs.
void check_kind(const Expected& expected, const ArrayView& view, Kind kind);
void check_shape(const Expected& expected, const ArrayView& view);
void check_rows(const Expected& expected, const ArrayView& view);  // unit last stride
void check_contiguous(const Expected& expected, const ArrayView& view);
void check_writable(const Expected& expected, const ArrayView& view);

// A wrong dtype; the bindings turn it into TypeError.
struct DtypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

enum class Access { kRead, kWrite };

// Checked pointer to a C-contiguous array; null for an absent argument.
template <class T>
T* contiguous(const Expected& expected, const ArrayView& view, Access access) {
  if (!view.present) return nullptr;
  check_kind(expected, view, kKindOf<std::remove_const_t<T>>);
  check_shape(expected, view);
  check_contiguous(expected, view);
  if (access == Access::kWrite) check_writable(expected, view);
  return static_cast<T*>(view.data);
}

// Integers (N) in 0 .. limit. Negative ones are errors too, or mean "ignored".
const int64_t* checked_integers(const char* function, const char* name, const ArrayView& view,
                                int64_t N, int64_t limit, bool may_be_negative = false);

// A (T, B, width) argument with unit last stride.
template <class T>
Sequence<T> sequence(const Expected& expected, const ArrayView& view, Access access) {
  if (!view.present) return {nullptr, 0, 0};
  check_kind(expected, view, kKindOf<std::remove_const_t<T>>);
  check_shape(expected, view);
  check_rows(expected, view);
  if (access == Access::kWrite) check_writable(expected, view);
  // An axis of length 1 may have any stride in NumPy; give it the one that rows in place have.
  const int64_t width = view.shape[2];
  const int64_t row = view.shape[1] > 1   ? view.strides[1]
                      : view.shape[0] > 1 ? view.strides[0]
                                          : width;
  const int64_t step = view.shape[0] > 1 ? view.strides[0] : view.shape[1] * row;
  return {static_cast<T*>(view.data), step, row};
}

}  // namespace unrolled
