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
//   kClipsCell            true when the new state c may be limited: a `limit` then follows the
//                         other arguments of what makes c' or its gradient, and c' is
//                         clip(c', limit) to all that reads it. Infinity is no limit, as on CUDA
//   kFunctions, kFunctionCount  what gates apply where it may be chosen (see GateOptions), and by
//                         default; none by default. `options` then follow all other arguments of
//                         what a cell states, the packed parameters of units are zero where none
//                         are given, and states of padded units are kept zero
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
// A cell whose step has a second product, of a row m that has to be whole first, states its two
// phases instead of forward and backward:
//   kFirstGates      gates 0 .. kFirstGates - 1 have their recurrent part from the product with h
//   kProjects        the second product is h' = W_hr m with W_hr (R, H), so that h has R columns;
//                    else it is that of the one last gate, with its rows of W_hh
//   kFirstSaved      values 0 .. kFirstSaved - 1 of `saved` are the first phase's
//   kFirstGradients  gates 0 .. kFirstGradients - 1 get dx in first_backward, the others before
//   first(x, r, state, next, saved, m)    gives m and next[1 ..]; r[kFirstGates]; state[0] is h as
//                                         products read it, in first_backward, too
//   second(x, u, state, next, saved)      gives next[0]; u is the second product with its bias
//   second_backward(saved, state, d, dx, du)      d[0] as above, du the gradient of u
//   first_backward(saved, state, dm, d, dx, m)    d as above, given the gradient of m; m again.
//                                                 The gradient of r is that of x.
// Where kProjects, the second phase has R units: it sees d[0] and u alone, and the first one no h.
//
// A cell whose products are normalised over all gates of a row is as the first ones, but its
// parameters of units are G gains of the input part and G of the recurrent part, for the scan
// alone, and biases are added behind the norms. It has
//   kNormalisesCell  the state c' is normalised, too, by a gain and a shift of each unit, which
//                    follow, on its way to h'. Then forward gives in next[0] what `output` makes h'
//                    of with the normalised c', `cell` gives c' once more, output_backward the
//                    gradient of the normalised c' and dx of the last gate, and `backward` the rest
//                    from d[1].
#pragma once

#include "cells/elman.hpp"
#include "cells/elman_functions.hpp"
#include "cells/gru.hpp"
#include "cells/gru_functions.hpp"
#include "cells/gru_norm.hpp"
#include "cells/gru_reset_before.hpp"
#include "cells/indrnn.hpp"
#include "cells/lstm.hpp"
#include "cells/lstm_coupled.hpp"
#include "cells/lstm_functions.hpp"
#include "cells/lstm_norm.hpp"
#include "cells/lstm_peephole.hpp"
#include "cells/lstm_projected.hpp"
#include "cells/mgu.hpp"
#include "cells/min_gru.hpp"
#include "cells/slstm.hpp"

// clang-format off
#define UNROLLED_NARROW_CELLS(X) X(ElmanTanh) X(ElmanRelu) X(Lstm) X(Gru)
#define UNROLLED_FUSED_CELLS(X) \
  UNROLLED_NARROW_CELLS(X) X(LstmPeephole) X(LstmCoupled) X(Mgu) X(MinGru) X(IndRnn) X(Slstm)
#define UNROLLED_CELLS(X)                                                          \
  UNROLLED_FUSED_CELLS(X) X(LstmProjected) X(GruResetBefore) X(LstmNorm) X(GruNorm) \
  X(ElmanFunctions) X(LstmFunctions) X(GruFunctions) X(GruResetBeforeFunctions)
// clang-format on
