// The arrays of a call: checked, taken to pointers, and all of one device.
#pragma once

#include <cuda_runtime_api.h>

#include <initializer_list>
#include <string>
#include <type_traits>

#include "cuda/host/device_array.hpp"
#include "cuda/host/ensure.hpp"

namespace unrolled::cuda {

using Argument = const DeviceArray*;  // null where it was left out

inline const ArrayView kAbsent{};

inline const ArrayView& view(Argument argument) {
  return argument == nullptr ? kAbsent : argument->view();
}

class Arguments {
 public:
  // `where` is for errors, and stays for as long as this does; `device` that of what came before.
  explicit Arguments(const char* where, int device = -1) : where_(where), device_(device) {}

  template <class T>
  T* array(const char* name, const char* letters, std::initializer_list<int64_t> shape,
           Argument argument) {
    const auto found = contiguous<T>({where_, name, letters, shape}, view(argument), access<T>());
    note(name, argument);
    return found;
  }
  template <class T>
  Sequence<T> sequence(const char* name, const char* letters, std::initializer_list<int64_t> shape,
                       Argument argument) {
    const auto found =
        unrolled::sequence<T>({where_, name, letters, shape}, view(argument), access<T>());
    note(name, argument);
    return found;
  }
  // An array (..., width) of `rows` rows in all.
  template <class T>
  T* rows(const char* name, const char* letters, int64_t rows, int64_t width, Argument argument) {
    const Expected expected{where_, name, letters, {rows, width}};
    T* found = contiguous<T>(expected, flattened(view(argument)), access<T>());
    note(name, argument);
    return found;
  }
  // How many rows that are.
  static int64_t count_rows(Argument argument) { return flattened(view(argument)).shape[0]; }

  // Throws unless the argument is on the device of those before.
  void note(const char* name, Argument argument) {
    if (argument == nullptr) return;
    if (address_ == nullptr) address_ = argument->view().data;
    const int device = argument->device();
    if (device < 0) return;
    if (device_ >= 0 && device != device_)
      fail_value("[", where_, "] expected all arrays on one device, cuda:", device_, ", got ", name,
                 " on cuda:", device);
    device_ = device;
  }
  // The device of all arrays, -1 where only an address would tell.
  int known_device() const { return device_; }
  int device() const {
    if (device_ >= 0) return device_;
    cudaPointerAttributes attributes{};
    if (address_ != nullptr)
      ensure(cudaPointerGetAttributes(&attributes, address_), "an address on a device");
    return attributes.device;
  }

 protected:
  template <class T>
  static constexpr Access access() {
    return std::is_const_v<T> ? Access::kRead : Access::kWrite;
  }

 private:
  // The same with two axes, where its rows lie one behind the other; else as it is.
  static ArrayView flattened(const ArrayView& view) {
    ArrayView flat = view;
    if (view.dimensions == 0) return flat;
    const int last = view.dimensions - 1;
    int64_t rows = 1, distance = view.shape[last];
    for (int i = last - 1; i >= 0; --i) {
      if (view.shape[i] > 1 && view.strides[i] != distance * rows) return flat;
      rows *= view.shape[i];
    }
    flat.dimensions = 2;
    flat.shape[0] = rows, flat.shape[1] = view.shape[last];
    flat.strides[0] = distance, flat.strides[1] = view.strides[last];
    return flat;
  }

  const char* where_;
  int device_;
  const void* address_ = nullptr;
};

}  // namespace unrolled::cuda
