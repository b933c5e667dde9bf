"""ONNX's recurrent operators written out in NumPy: the general path, for inference only.

It computes every combination of activations and options that the operators have, a step at a time
for all rows at once. Only products are those of the kernels: it is slow beside the cells of this
package, which run what they can.

Shapes: T steps, B batch, I input, H hidden, G gates, as ONNX has them (G: i o f c, z r h, or one).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import functional
from ..layers._types import Array
from ._onnx_activations import Activation
from ._onnx_node import Equations
from ._onnx_operators import GATES

#: The states of one step, the output first.
_States = tuple[Array, ...]


@dataclass(frozen=True)
class Parameters:
    """What one direction multiplies by, in ONNX's order of gates.

    Attributes:
        w: (G*H, I).
        r: (G*H, H).
        bias: (2*G*H,), those of the input before those of the state; None: zeros.
        peepholes: (3*H,) of the gates i, o, f; None: zeros.
    """

    w: Array
    r: Array
    bias: Array | None = None
    peepholes: Array | None = None


def run_equations(
    step: "Step",
    x: Array,
    states: Sequence[Array],
    lengths: Array | None,
    *,
    reverse: bool,
    out: Array,
) -> _States:
    """Runs one direction and returns the final states, (B, H) each.

    Args:
        step: what is computed.
        x: (T, B, I), in the dtype of the parameters as all arrays.
        states: those before the first step, (B, H) each.
        lengths: (B,), row b ends after lengths[b] steps; None: all take T.
        reverse: from each row's last step to its first.
        out: (T, B, H), where the output goes; zero after the end of a row.
    """
    known = step.of_input(np.ascontiguousarray(x))  # W x + Wb, (T, B, G*H)
    order = range(len(x))
    final = tuple(map(np.ascontiguousarray, states))
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN keep their meaning
        for t in reversed(order) if reverse else order:
            after = step(known[t], final)
            if lengths is None:
                out[t], final = after[0], after
                continue
            live = (t < lengths)[:, None]
            out[t] = np.where(live, after[0], 0)
            final = tuple(np.where(live, new, old) for new, old in zip(after, final, strict=True))
    return final


class Step:
    """One step of an operator: from what it knows of its input, and the states, to the states.

    Its products have packed copies of the parameters.
    """

    def __init__(self, equations: Equations, parameters: Parameters) -> None:
        self._option, self._clip = equations.option, equations.clip
        gates, output = equations.activations[:2], equations.activations[2:]
        self._functions: list[Callable[[Array], Array]] = [*map(self._clipped, gates), *output]
        self._gates = GATES[equations.op_type]
        rows, hidden = parameters.r.shape
        zeros = np.zeros(2 * rows, parameters.r.dtype)
        bias, peepholes = parameters.bias, parameters.peepholes
        input_bias, state_bias = np.split(zeros if bias is None else bias, 2)
        self.of_input = partial(functional.linear, weight=parameters.w, bias=input_bias)
        # The last gate of a GRU multiplies by itself, all others at once.
        end = rows - hidden if equations.op_type == "GRU" else rows
        self._of_state, self._of_candidate = (
            functional.PackedLinear(parameters.r[part], state_bias[part])
            for part in (slice(0, end), slice(end, rows))
        )
        self._p = np.split(np.zeros(3 * hidden, zeros.dtype) if peepholes is None else peepholes, 3)
        self._compute = _EQUATIONS[equations.op_type]

    def __call__(self, known: Array, states: _States) -> _States:
        return self._compute(self, known, states)

    def _clipped(self, function: Activation) -> Callable[[Array], Array]:
        clip = self._clip
        if clip is None:
            return function
        return lambda x: function(np.clip(x, -clip, clip))

    def _split(self, rows: Array) -> list[Array]:
        return np.split(rows, self._gates, axis=-1)

    def rnn(self, known: Array, states: _States) -> _States:
        """h = f(W x + Wb + R h + Rb)."""
        (f,) = self._functions
        return (f(known + self._of_state(states[0])),)

    def gru(self, known: Array, states: _States) -> _States:
        """h = (1 - z) n + z h, with the reset gate before or after the product with R_h."""
        f, g = self._functions
        (h,), (xz, xr, xn) = states, self._split(known)
        hz, hr = np.split(self._of_state(h), 2, axis=-1)
        z, r = f(xz + hz), f(xr + hr)
        product = r * self._of_candidate(h) if self._option else self._of_candidate(r * h)
        return ((1 - z) * g(xn + product) + z * h,)

    def lstm(self, known: Array, states: _States) -> _States:
        """h = o h(c), c = f c + i g; where the gates i and f are coupled, f = 1 - i.

        The clip is one of the gates: h reads c as it is, as ONNX Runtime has it too.
        """
        f, g, h = self._functions
        before, c = states
        pi, po, pf = self._p
        xi, xo, xf, xc = self._split(known + self._of_state(before))
        i = f(xi + pi * c)
        forget = 1 - i if self._option else f(xf + pf * c)
        c = forget * c + i * g(xc)
        return f(xo + po * c) * h(c), c


_EQUATIONS: Mapping[str, Callable[[Step, Array, _States], _States]] = {
    "RNN": Step.rnn,
    "GRU": Step.gru,
    "LSTM": Step.lstm,
}
