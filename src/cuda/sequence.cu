// The functions of sequence.hpp: chooses the cell.
#include "cuda/scan.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {
namespace {

struct Entry {
  Sizes (*sizes)(int64_t I, int64_t H, const Plan& plan, bool training, bool factors);
  bool (*fits)(int64_t H, const Device& device);
  void (*forward)(const Forward& args, Device& device);
  void (*backward)(const Backward& args, Device& device);
};

template <class Cell>
constexpr CellInfo cell_info() {
  return {Cell::kName,
          Cell::kGateCount,
          Cell::kStateCount,
          Cell::kUnitCount,
          Cell::kGates,
          Cell::kStates,
          Cell::kUnitNames,
          Cell::kRecurrent,
          false,
          false,
          Cell::kClipsCell,
          Cell::kFunctionCount,
          Cell::kFunctions};
}

#define UNROLLED_INFO(Cell) cell_info<Cell>(),
constexpr CellInfo kCells[] = {UNROLLED_FUSED_CELLS(UNROLLED_INFO)};

template <class Cell, class E>
constexpr Entry entry() {
  using Run = Scan<Cell, E>;
  return {Run::sizes, Run::fits, Run::forward, Run::backward};
}

#define UNROLLED_FULL(Cell) entry<Cell, float>(),
#define UNROLLED_BF16(Cell) entry<Cell, Bf16>(),
constexpr Entry kFull[] = {UNROLLED_FUSED_CELLS(UNROLLED_FULL)};
constexpr Entry kBf16[] = {UNROLLED_NARROW_CELLS(UNROLLED_BF16)};

const Entry& find(int cell, Precision precision) {
  return precision == Precision::kBf16 ? kBf16[cell] : kFull[cell];
}

}  // namespace

int cell_count() { return sizeof(kCells) / sizeof(kCells[0]); }
const CellInfo* cells() { return kCells; }

bool has(int cell, Precision precision) {
  constexpr int kNarrow = sizeof(kBf16) / sizeof(kBf16[0]);
  return precision == Precision::kFull || (precision == Precision::kBf16 && cell < kNarrow);
}

Sizes sizes(int cell, Precision precision, int64_t I, int64_t H, const Plan& plan, bool training,
            bool factors) {
  return find(cell, precision).sizes(I, H, plan, training, factors);
}

bool fits(int cell, Precision precision, int64_t H, const Device& device) {
  return find(cell, precision).fits(H, device);
}

void forward(const Forward& args, Device& device) {
  find(args.layer.cell, args.layer.precision).forward(args, device);
}

void backward(const Backward& args, Device& device) {
  find(args.layer.cell, args.layer.precision).backward(args, device);
}

}  // namespace unrolled::cuda
