#include "cuda/host/load_cell.hpp"

#include <dlfcn.h>

#include <stdexcept>

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

void load_cell(const std::string& path) {
  // It stays loaded: layers point into it.
  void* const object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr)
    throw std::invalid_argument(std::string("[load_cell] expected the shared object of a cell: ") +
                                dlerror());
  const auto get =
      reinterpret_cast<const CellExtension* (*)()>(dlsym(object, "unrolled_cuda_cell"));
  if (get == nullptr)
    throw std::invalid_argument("[load_cell] expected " + path + " to hold a cell, found none");
  add_cell(*get());
}

}  // namespace unrolled::cuda
