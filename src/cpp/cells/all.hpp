// The list of cells, and the contract that each cell header fulfils.
//
// A cell is a struct, derived from CellBase, with
//   kName                 the name under which Python knows it
//   kGates, kGateCount    names and number G of the gates, in torch's order
//   kStates, kStateCount  names and number S of the states; state 0 is the output h
//   kSavedCount           values per unit and step that backward needs beside the entering states
//   kSplitGradient        true when the gradient of the recurrent product differs from that of
//                         the input product (as in GRU, where r stands between the two)
//   kUnitNames, kUnitCount  names and number P of parameters that each unit has for itself, as
//                         peephole weights; none by default
//   kRecurrent            false when the recurrent part is not a product: there is no W_hh, r is
//                         zero, and h acts within its own unit alone
//   forward(x, r, p, state, next, saved)
//       x[G]      input part W_ih x_t + b_ih        r[G]     recurrent part W_hh h + b_hh
//       p[P]      parameters of the unit
//       state[S]  states that enter the step        next[S]  states that leave it
//       saved     what backward will get (not stored at inference: the compiler drops it)
//   backward(saved, p, state, d, dx, dr, dp)
//       d[S]      in: gradients of the states that leave the step
//                 out: gradients of the entering states, WITHOUT the path through W_hh, which
//                 the scan adds from dr
//       dx[G]     gradient of the input part
//       dr[G]     gradient of the recurrent part; left alone unless kSplitGradient
//       dp[P]     gradient of the parameters of the unit, of this step and row
// Both are element-wise over hidden units and templated on V: a Vec on CPUs, float on CUDA.
// Nothing outside src/cpp/cells knows a gate equation. A new cell is: its header, one line in
// UNROLLED_CELLS, its NumPy twin in the reference. A padded unit (zero weights, biases, parameters
// and states) must keep h zero and its other states finite.
//
// Cells of UNROLLED_NARROW_CELLS are compiled for bfloat16 and int8, too.
//
// What does not fit: cells that need a whole row first (LayerNorm) or a second product per step
// (reset-before GRU, projection). They will declare an explicit second phase; this contract is
// not bent for them.
#pragma once

#include "cells/elman.hpp"
#include "cells/gru.hpp"
#include "cells/indrnn.hpp"
#include "cells/lstm.hpp"
#include "cells/lstm_coupled.hpp"
#include "cells/lstm_peephole.hpp"
#include "cells/mgu.hpp"
#include "cells/min_gru.hpp"
#include "cells/slstm.hpp"

#define UNROLLED_NARROW_CELLS(X) X(ElmanTanh) X(ElmanRelu) X(Lstm) X(Gru)
#define UNROLLED_CELLS(X)  \
  UNROLLED_NARROW_CELLS(X) \
  X(LstmPeephole) X(LstmCoupled) X(Mgu) X(MinGru) X(IndRnn) X(Slstm)
