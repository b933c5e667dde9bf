// The functions of sequence.hpp: chooses the cell.
#include "cuda/scan.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {
namespace {

struct Entry {
  Sizes (*sizes)(int64_t I, int64_t H, const Plan& plan, bool training);
  bool (*fits)(int64_t H, const Device& device);
  void (*forward)(const Forward& args, Device& device);
  void (*backward)(const Backward& args, Device& device);
};

template <class Cell>
constexpr CellInfo cell_info() {
  return {Cell::kName,  Cell::kGateCount, Cell::kStateCount, Cell::kUnitCount,
          Cell::kGates, Cell::kStates,    Cell::kUnitNames,  Cell::kRecurrent};
}

#define UNROLLED_INFO(Cell) cell_info<Cell>(),
constexpr CellInfo kCells[] = {UNROLLED_CELLS(UNROLLED_INFO)};

#define UNROLLED_ENTRY(Cell) \
  {Scan<Cell>::sizes, Scan<Cell>::fits, Scan<Cell>::forward, Scan<Cell>::backward},
constexpr Entry kEntries[] = {UNROLLED_CELLS(UNROLLED_ENTRY)};

}  // namespace

int cell_count() { return sizeof(kCells) / sizeof(kCells[0]); }
const CellInfo* cells() { return kCells; }

Sizes sizes(int cell, int64_t I, int64_t H, const Plan& plan, bool training) {
  return kEntries[cell].sizes(I, H, plan, training);
}

bool fits(int cell, int64_t H, const Device& device) { return kEntries[cell].fits(H, device); }

void forward(const Forward& args, Device& device) {
  kEntries[args.layer.cell].forward(args, device);
}

void backward(const Backward& args, Device& device) {
  kEntries[args.layer.cell].backward(args, device);
}

}  // namespace unrolled::cuda
