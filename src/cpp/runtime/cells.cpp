#include "runtime/cells.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>

#include "kernels/extension.hpp"
#include "runtime/dispatch.hpp"
#include "runtime/fork.hpp"

namespace unrolled {
namespace {

// Loaded cells, the latest last. Objects stay loaded: packed weights point into them.
struct Loaded {
  std::mutex mutex;
  std::vector<const CellExtension*> cells;
};

Loaded& loaded() {
  static Loaded* const instance = [] {
    keep_usable_after_fork<loaded>();
    return new Loaded;  // outlives weights that static objects hold
  }();
  return *instance;
}

template <class T>
const CellKernels<T>* kernels_in(const CellExtension& extension) {
  if constexpr (sizeof(T) == sizeof(float))
    return extension.f32;
  else
    return extension.f64;
}

const CellInfo* find_in(const KernelTable& table, const std::string& name) {
  for (int i = 0; i < table.cell_count; ++i)
    if (name == table.cells[i].name) return &table.cells[i];
  return nullptr;
}

}  // namespace

template <class T>
FoundCell<T> lookup_cell(const KernelTable& table, const std::string& name, Precision precision) {
  if (const CellInfo* info = find_in(table, name)) {
    const CellKernels<T>* cells = kernels_of<T>(table).cells[static_cast<int>(precision)];
    const bool narrow = precision != Precision::kFull;
    const int64_t count = narrow ? table.narrow_cells : table.cell_count;
    const int64_t cell = info - table.cells;
    return {info, cells == nullptr || cell >= count ? nullptr : cells + cell};
  }
  FoundCell<T> found{};
  const std::lock_guard lock(loaded().mutex);
  for (auto it = loaded().cells.rbegin(); it != loaded().cells.rend(); ++it) {
    const CellExtension& extension = **it;
    if (name != extension.info.name || std::string(table.isa) != extension.isa) continue;
    if (found.info == nullptr) found.info = &extension.info;
    if (extension.precision == precision && kernels_in<T>(extension) != nullptr)
      return {&extension.info, kernels_in<T>(extension)};
  }
  return found;
}

std::vector<std::string> cell_names(const KernelTable& table) {
  std::vector<std::string> names;
  for (int i = 0; i < table.cell_count; ++i) names.emplace_back(table.cells[i].name);
  const std::lock_guard lock(loaded().mutex);
  for (const CellExtension* extension : loaded().cells)
    if (std::find(names.begin(), names.end(), extension->info.name) == names.end())
      names.emplace_back(extension->info.name);
  return names;
}

void load_cell(const std::string& path) {
  void* const object = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr)
    throw std::invalid_argument(std::string("[load_cell] expected the shared object of a cell: ") +
                                dlerror());
  const auto get = reinterpret_cast<const CellExtension* (*)()>(dlsym(object, "unrolled_cell"));
  if (get == nullptr)
    throw std::invalid_argument("[load_cell] expected " + path + " to hold a cell, found none");
  const CellExtension* const extension = get();
  const std::vector<std::string> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), extension->isa) == isas.end())
    throw std::invalid_argument("[load_cell] expected a cell for an instruction set of this CPU, " +
                                path + " is for " + extension->isa);
  if (find_in(kernels(), extension->info.name) != nullptr)
    throw std::invalid_argument(std::string("[load_cell] expected a new name, got ") +
                                extension->info.name);
  const std::lock_guard lock(loaded().mutex);
  loaded().cells.push_back(extension);
}

template FoundCell<float> lookup_cell(const KernelTable&, const std::string&, Precision);
template FoundCell<double> lookup_cell(const KernelTable&, const std::string&, Precision);

}  // namespace unrolled
