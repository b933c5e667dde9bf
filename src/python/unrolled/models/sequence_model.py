"""A sequence model: numbers or classes for a sequence as a whole, or for each of its steps."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Linear, Recurrent
from ..layers._place import move
from ..layers._types import Array
from ._configured import ConfiguredModel


class SequencePullback(Protocol):
    """Carries gradients back through one `SequenceModel.vjp`; see there."""

    def __call__(self, dy: Array, *, needs_dx: bool = True) -> Any: ...


class SequenceModel(ConfiguredModel):
    """A stack of recurrent layers with an affine map on its last state, or on each of its outputs.

        h_t = recurrent(x_t, h_{t-1})
        y = W h_T + b            or, with every_step, y_t = W h_t + b

    The outputs are numbers (regression) or logits (classification); the loss is the caller's::

        model = SequenceModel(1, 10, cell="gru", rng=np.random.default_rng(0))
        y, pullback = model.vjp(x)                     # x (T, B, 1) -> y (B, 10)
        (loss, count), loss_pullback = training.cross_entropy_vjp(y, classes)
        pullback(loss_pullback(1.0), needs_dx=False)   # adds to model.grads

    Shapes: T steps, B batch, I inputs, O outputs, H hidden, L layers.
        x (T, B, I); y (B, O), with every_step (T, B, O); lengths (B,).

    Args:
        input_size: I.
        output_size: O.
        hidden_size: H.
        num_layers: L.
        cell: a name from `unrolled.functional.cells()`, as "lstm", "gru", "rnn_tanh".
        every_step: give an output at each step rather than one after the last.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, an unknown cell or initialiser.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        hidden_size: int = 128,
        num_layers: int = 1,
        cell: str = "lstm",
        every_step: bool = False,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        self.config = {
            "input_size": input_size,
            "output_size": output_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "every_step": every_step,
            "dtype": str(np.dtype(dtype)),
        }
        self.every_step = every_step
        self.rnn: Recurrent[Any] = Recurrent(
            cell, input_size, hidden_size, num_layers, dtype=dtype, rng=rng, init=init
        )
        self.head = Linear(hidden_size, output_size, dtype=dtype, rng=rng, init=init)
        super().__init__(children={"rnn": self.rnn, "head": self.head})

    def __call__(self, x: Array, lengths: Array | None = None) -> Array:
        """Returns y (B, O), each row's after its last step; with every_step y (T, B, O)."""
        hidden, state = self.rnn(move(x, self.place), lengths=lengths)
        return self.head(hidden if self.every_step else _top(state))

    def vjp(self, x: Array, lengths: Array | None = None) -> tuple[Array, SequencePullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=True)` adds to `grads` and returns dx (T, B, I), None if not needed.
        x may lie on the host, too, where the model does not; dx lies where the model does.
        Parameters and x must not change between `vjp` and its pullback.
        """
        x = move(x, self.place)
        (hidden, state), rnn_pullback = self.rnn.vjp(x, lengths=lengths)
        y, head_pullback = self.head.vjp(hidden if self.every_step else _top(state))

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            dhidden = head_pullback(dy)
            if self.every_step:
                dx, _ = rnn_pullback(dhidden, needs_dx=needs_dx)
            else:
                dx, _ = rnn_pullback(None, _only_top(state, dhidden), needs_dx=needs_dx)
            return dx

        return y, pullback


def _top(state: Any) -> Array:
    """Returns h (B, H) of the last layer from h (L, B, H) or (h, c)."""
    top: Array = (state[0] if isinstance(state, tuple) else state)[-1]
    return top


def _only_top(state: Any, dtop: Array) -> Any:
    """The transpose of `_top`: a gradient of `state` that is zero but for h of the last layer."""
    if isinstance(state, tuple):
        return (_only_top(state[0], dtop), *(np.zeros_like(array) for array in state[1:]))
    dstate = np.zeros_like(state)
    dstate[-1] = dtop
    return dstate
