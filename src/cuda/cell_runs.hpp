// A cell as the scans know it: what it is made of, and what runs them. One entry of sequence.cu's
// list, or all that a shared object with a cell of a user's own holds.
#pragma once

#include "cuda/normalised_scan.hpp"
#include "cuda/phased_scan.hpp"
#include "cuda/scan.hpp"
#include "cuda/sequence.hpp"

namespace unrolled::cuda {

template <class Cell>
constexpr bool projects() {
  if constexpr (Phased<Cell>)
    return Cell::kProjects;
  else
    return false;
}

template <class Cell>
constexpr CellInfo info_of() {
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

template <class Run>
constexpr CellRuns runs() {
  return {Run::sizes, Run::fits, Run::forward, Run::backward};
}

template <class Cell, class E>
constexpr CellRuns runs_of() {
  if constexpr (Phased<Cell>)
    return runs<PhasedScan<Cell>>();
  else if constexpr (Normalised<Cell>)
    return runs<NormalisedScan<Cell>>();
  else
    return runs<Scan<Cell, E>>();
}

}  // namespace unrolled::cuda
