// The functions of sequence.hpp: chooses the cell.
#include "cuda/normalised_scan.hpp"
#include "cuda/phased_scan.hpp"
#include "cuda/scan.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {
namespace {

struct Entry {
  Sizes (*sizes)(const Layer& layer, const Plan& plan, bool training, bool factors);
  bool (*fits)(const Layer& layer, const Device& device);
  void (*forward)(const Forward& args, Device& device);
  void (*backward)(const Backward& args, Device& device);
};

template <class Cell>
constexpr bool projects() {
  if constexpr (Phased<Cell>)
    return Cell::kProjects;
  else
    return false;
}

template <class Cell>
constexpr CellInfo cell_info() {
  return {.name = Cell::kName,
          .gate_count = Cell::kGateCount,
          .state_count = Cell::kStateCount,
          .unit_count = Cell::kUnitCount,
          .gates = Cell::kGates,
          .states = Cell::kStates,
          .units = Cell::kUnitNames,
          .recurrent = Cell::kRecurrent,
          .projects = projects<Cell>(),
          .normalises = Normalised<Cell>,
          .clips = Cell::kClipsCell,
          .function_count = Cell::kFunctionCount,
          .functions = Cell::kFunctions};
}

#define UNROLLED_INFO(Cell) cell_info<Cell>(),
constexpr CellInfo kCells[] = {UNROLLED_CELLS(UNROLLED_INFO)};

template <class Cell, class E>
constexpr Entry entry() {
  if constexpr (Phased<Cell>) {
    using Run = PhasedScan<Cell>;
    return {Run::sizes, Run::fits, Run::forward, Run::backward};
  } else if constexpr (Normalised<Cell>) {
    using Run = NormalisedScan<Cell>;
    return {Run::sizes, Run::fits, Run::forward, Run::backward};
  } else {
    using Run = Scan<Cell, E>;
    return {Run::sizes, Run::fits, Run::forward, Run::backward};
  }
}

#define UNROLLED_FULL(Cell) entry<Cell, float>(),
#define UNROLLED_BF16(Cell) entry<Cell, Bf16>(),
constexpr Entry kFull[] = {UNROLLED_CELLS(UNROLLED_FULL)};
constexpr Entry kBf16[] = {UNROLLED_NARROW_CELLS(UNROLLED_BF16)};

const Entry& find(const Layer& layer) {
  return layer.precision == Precision::kBf16 ? kBf16[layer.cell] : kFull[layer.cell];
}

}  // namespace

int cell_count() { return sizeof(kCells) / sizeof(kCells[0]); }
const CellInfo* cells() { return kCells; }

bool has(int cell, Precision precision) {
  constexpr int kNarrow = sizeof(kBf16) / sizeof(kBf16[0]);
  return precision == Precision::kFull || (precision == Precision::kBf16 && cell < kNarrow);
}

Sizes sizes(const Layer& layer, const Plan& plan, bool training, bool factors) {
  return find(layer).sizes(layer, plan, training, factors);
}

bool fits(const Layer& layer, const Device& device) { return find(layer).fits(layer, device); }

void forward(const Forward& args, Device& device) { find(args.layer).forward(args, device); }

void backward(const Backward& args, Device& device) { find(args.layer).backward(args, device); }

}  // namespace unrolled::cuda
