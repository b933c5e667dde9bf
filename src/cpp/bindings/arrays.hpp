// NumPy arrays to views. Nothing is cast or copied: a wrong dtype or layout is the api's error.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "api/array.hpp"

namespace unrolled {

namespace py = pybind11;

inline Kind kind_of(const py::dtype& dtype) {
  if (dtype.byteorder() == '>') return Kind::kOther;
  const auto size = dtype.itemsize();
  switch (dtype.kind()) {
    case 'f':
      return size == 4 ? Kind::kFloat32 : size == 8 ? Kind::kFloat64 : Kind::kOther;
    case 'i':
      return size == 8 ? Kind::kInt64 : Kind::kOther;
    case 'b':
      return Kind::kBool;
    default:
      return Kind::kOther;
  }
}

inline ArrayView view_of(const py::array& array) {
  ArrayView view;
  const py::dtype dtype = array.dtype();
  view.present = true;
  view.kind = kind_of(dtype);
  // The text is made only where an error may need it: it costs more than the rest of the call.
  view.kind_name = view.kind == Kind::kOther ? std::string(py::str(dtype)) : std::string();
  view.dimensions = static_cast<int>(array.ndim());
  if (view.dimensions > kMaxDimensions)
    fail_value("expected an array of at most ", kMaxDimensions, " dimensions, got ",
               view.dimensions);
  view.data = const_cast<void*>(array.data());
  view.writable = array.writeable();
  // NumPy has dtypes without bytes.
  const py::ssize_t size = std::max<py::ssize_t>(dtype.itemsize(), 1);
  view.aligned = reinterpret_cast<uintptr_t>(view.data) % static_cast<size_t>(size) == 0;
  for (int i = 0; i < view.dimensions; ++i) {
    view.shape[i] = array.shape(i);
    view.strides[i] = array.strides(i) / size;
    // The stride of an axis of length 1 means nothing.
    if (view.shape[i] > 1 && array.strides(i) % size != 0) view.aligned = false;
  }
  return view;
}

inline ArrayView view_of(const std::optional<py::array>& array) {
  return array ? view_of(*array) : ArrayView{};
}

inline std::vector<ArrayView> views_of(const std::vector<py::array>& arrays) {
  std::vector<ArrayView> views;
  views.reserve(arrays.size());
  for (const py::array& array : arrays) views.push_back(view_of(array));
  return views;
}

// Calls f(T{}) with the floating-point type of `view`.
template <class F>
auto with_dtype(const char* function, const char* name, const ArrayView& view, F&& f) {
  if (view.kind == Kind::kFloat32) return f(float{});
  if (view.kind == Kind::kFloat64) return f(double{});
  throw DtypeError("[" + std::string(function) + "] expected " + name +
                   " of dtype float32 or float64, got " + dtype_text(view));
}

}  // namespace unrolled
