// The functions of sequence.hpp: chooses the cell.
#include <deque>
#include <mutex>

#include "cuda/cell_runs.hpp"

namespace unrolled::cuda {
namespace {

#define UNROLLED_INFO(Cell) info_of<Cell>(),
constexpr CellInfo kCells[] = {UNROLLED_CELLS(UNROLLED_INFO)};
#define UNROLLED_FULL(Cell) runs_of<Cell, float>(),
#define UNROLLED_BF16(Cell) runs_of<Cell, Bf16>(),
constexpr CellRuns kFull[] = {UNROLLED_CELLS(UNROLLED_FULL)};
constexpr CellRuns kBf16[] = {UNROLLED_NARROW_CELLS(UNROLLED_BF16)};
constexpr int kListed = sizeof(kCells) / sizeof(kCells[0]);
constexpr int kNarrow = sizeof(kBf16) / sizeof(kBf16[0]);

// Cells that were added; they stay where they are.
struct Added {
  std::mutex mutex;
  std::deque<CellExtension> cells;
};
Added& added() {
  static Added& instance = *new Added;
  return instance;
}
const CellExtension& added_cell(int cell) {
  const std::lock_guard lock(added().mutex);
  return added().cells[static_cast<size_t>(cell - kListed)];
}

const CellRuns& find(const Layer& layer) {
  const bool narrow = layer.precision == Precision::kBf16;
  if (layer.cell < kListed) return narrow ? kBf16[layer.cell] : kFull[layer.cell];
  const CellExtension& extension = added_cell(layer.cell);
  return narrow ? extension.bf16 : extension.full;
}

}  // namespace

int cell_count() {
  const std::lock_guard lock(added().mutex);
  return kListed + static_cast<int>(added().cells.size());
}

const CellInfo& cell_info(int cell) {
  return cell < kListed ? kCells[cell] : added_cell(cell).info;
}

void add_cell(const CellExtension& extension) {
  const std::lock_guard lock(added().mutex);
  added().cells.push_back(extension);
}

bool has(int cell, Precision precision) {
  return precision == Precision::kFull ||
         (precision == Precision::kBf16 && (cell < kNarrow || cell >= kListed));
}

Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors) {
  return find(layer).sizes(layer, plan, training, factors);
}

bool fits(const Layer& layer, const Device& device) { return find(layer).fits(layer, device); }

void forward(const Forward& args, Device& device) { find(args.layer).forward(args, device); }

void backward(const Backward& args, Device& device) { find(args.layer).backward(args, device); }

}  // namespace unrolled::cuda
