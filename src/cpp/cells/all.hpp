// The list of cells, and the contract that each cell header fulfils.
//
// A cell is a struct with
//   kName                 the name under which Python knows it
//   kGates, kGateCount    names and number G of the gates, in torch's order
//   kStates, kStateCount  names and number S of the states; state 0 is the output h
//   kSavedCount           values per unit and step that backward needs beside the entering states
//   kSplitGradient        true when the gradient of the recurrent product differs from that of
//                         the input product (as in GRU, where r stands between the two)
//   forward(x, r, state, next, saved)
//       x[G]      input part W_ih x_t + b_ih        r[G]     recurrent part W_hh h + b_hh
//       state[S]  states that enter the step        next[S]  states that leave it
//       saved     what backward will get (not stored at inference: the compiler drops it)
//   backward(saved, state, d, dx, dr)
//       d[S]      in: gradients of the states that leave the step
//                 out: gradients of the entering states, WITHOUT the path through W_hh, which
//                 the scan adds from dr
//       dx[G]     gradient of the input part
//       dr[G]     gradient of the recurrent part; left alone unless kSplitGradient
// Both are element-wise over hidden units and templated on V: a Vec on CPUs, float on CUDA.
// Nothing outside src/cpp/cells knows a gate equation. A new cell is: its header, one line in
// UNROLLED_CELLS, its NumPy twin in the reference. A padded unit (zero weights, biases and states)
// must keep zero states.
//
// A cell whose step has a second product, of a row m that has to be whole first, states its two
// phases instead; it is multiplied in full precision only.
//   kFirstGates      gates 0 .. kFirstGates - 1 have their recurrent part from the product with h
//   kProjects        the second product is h' = W_hr m with W_hr (P, H), so that h has P columns;
//                    else it is that of the one last gate, with its rows of W_hh
//   kFirstSaved      values 0 .. kFirstSaved - 1 of `saved` are the first phase's
//   kFirstGradients  gates 0 .. kFirstGradients - 1 get dx in first_backward, the others before
//   first(x, r, state, next, saved, m)    gives m and next[1 ..]; r[kFirstGates]
//   second(x, u, state, next, saved)      gives next[0]; u is the second product with its bias
//   second_backward(saved, state, d, dx, du)      d[0] as above, du the gradient of u
//   first_backward(saved, state, dm, d, dx, m)    d as above, given the gradient of m; m again.
//                                                 The gradient of r is that of x.
//   kExtras          names of further parameters: here weight_hr where kProjects
// Where kProjects, the second phase has P units: it sees d[0] and u alone, and the first one no h.
//
// A cell whose products are normalised over all gates of a row is as the first ones, but has
//   kExtras          gain_ih and gain_hh; biases are added behind the norms
//   kNormalisesCell  the state c' is normalised, too, by gain_c and shift_c, on its way to h'.
//                    Then forward gives in next[0] what `output` makes h' of with the normalised
//                    c', `cell` gives c' once more, output_backward the gradient of the normalised
//                    c' and dx of the last gate, and `backward` the rest from d[1].
#pragma once

#include "cells/elman.hpp"
#include "cells/gru.hpp"
#include "cells/gru_norm.hpp"
#include "cells/gru_reset_before.hpp"
#include "cells/lstm.hpp"
#include "cells/lstm_norm.hpp"
#include "cells/lstm_projected.hpp"

#define UNROLLED_CELLS(X) \
  X(ElmanTanh) X(ElmanRelu) X(Lstm) X(Gru) X(GruResetBefore) X(LstmProjected) X(LstmNorm) X(GruNorm)
