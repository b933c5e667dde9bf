// Arrays in the memory of a device, as Python hands them over: DLPack or, where there is none, the
// CUDA array interface. Nothing is copied.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <string>

#include "api/array.hpp"

namespace unrolled::cuda {

namespace py = pybind11;

// A view of somebody's array, which lives as long as the view.
class DeviceArray {
 public:
  // `where` and `name` are for errors. `stream` is the cudaStream_t that will read and write the
  // array: what its producer has still to write is written before. TypeError for what is no array
  // of a CUDA device.
  DeviceArray(const std::string& where, const std::string& name, py::object array,
              uintptr_t stream);
  ~DeviceArray();
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  const ArrayView& view() const { return view_; }
  // The number of its device; -1 where only its address would tell.
  int device() const { return device_; }

 private:
  void from_dlpack(uintptr_t stream);
  void from_interface(uintptr_t stream);

  std::string subject_;  // "[where] expected name"
  py::object owner_;
  ArrayView view_;
  int device_ = -1;
  std::function<void()> release_;
};

}  // namespace unrolled::cuda
