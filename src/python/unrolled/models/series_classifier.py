"""A model that says what a whole series is: convolutions, recurrent layers, pooled over time."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Dropout, Initialiser, Layer, Linear, Recurrent
from ..layers._checks import checked_size
from ..layers._place import move, place_of
from ..layers._types import Array
from ._configured import ConfiguredModel
from ._series_front_end import Lengths, SeriesFrontEnd


class SeriesModel(ConfiguredModel):
    """A stack of recurrent layers over ragged series, with logits of each series as a whole.

        h_t = recurrent(u)_t    with u = x, or what convolutions make of x, see `SeriesFrontEnd`
        y = W [mean_t h_t; max_t h_t] + b

    Convolutions tell the shape around a step, which recurrent layers need many series to find, and
    with strides they leave fewer steps of a long series to read. The mean tells what a series is
    like all along, the maximum whether something occurs in it at all, however briefly. Both reach
    every step directly, so that gradients need not travel through the whole series as they must to
    a last state.

    Shapes: T steps, B batch, I inputs, O outputs, H hidden, D directions.
        x (T, B, I); lengths (B,); y (B, O).

    Args:
        input_size: I.
        output_size: O.
        hidden_size: H.
        num_layers: how many recurrent layers.
        cell: a name from `unrolled.functional.cells()`.
        bidirectional: read in both directions.
        conv: channels of the convolutions; 0 = there are none.
        strides: of the two convolutions, 1 to 7 and 1 to 5.
        dropout: probability of dropping each input of a recurrent layer but the first, and each
            pooled number, in training.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, strides that will not do, an unknown cell or initialiser, a
            dropout outside 0 <= p < 1.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        cell: str = "gru",
        bidirectional: bool = True,
        conv: int = 0,
        strides: Sequence[int] = (1, 1),
        dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        self.input_size = checked_size("SeriesModel", "input_size", input_size)
        rng = np.random.default_rng() if rng is None else rng
        self.config = {
            "input_size": input_size,
            "output_size": output_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "bidirectional": bool(bidirectional),
            "conv": conv,
            "strides": list(strides),
            "dropout": dropout,
            "dtype": str(np.dtype(dtype)),
        }
        children: dict[str, Layer] = {}
        self.front_end: SeriesFrontEnd | None = None
        if conv:
            self.front_end = SeriesFrontEnd(
                input_size, conv, strides, dtype=dtype, rng=rng, init=init
            )
            children["front_end"] = self.front_end
        elif list(strides) != [1, 1]:
            raise ValueError(
                "[SeriesModel] strides are those of the convolutions: expected 1 and 1 without, "
                f"got {list(strides)}"
            )
        self.rnn: Recurrent[Any] = Recurrent(
            cell,
            conv or input_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        self.dropout = Dropout(dropout)
        self.head = Linear(2 * self.rnn.output_size, output_size, dtype=dtype, rng=rng, init=init)
        children |= {"rnn": self.rnn, "dropout": self.dropout, "head": self.head}
        super().__init__(children=children)

    def __call__(self, x: Array, lengths: Lengths | None = None) -> Array:
        """Returns the logits y (B, O); arguments as of `vjp`."""
        lengths = self._checked(x, lengths)
        x = move(x, self.place)
        if self.front_end is not None:
            x, lengths = self.front_end(x, lengths), self.front_end.steps(lengths)
        hidden, _ = self.rnn(x, lengths=lengths)
        pooled, _ = _pool_vjp(hidden, lengths)
        return self.head(pooled)

    def vjp(
        self,
        x: Array,
        lengths: Lengths | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns y, with dropout, and its pullback, which adds to `grads`; x gets no gradient.

        Parameters and x must not change between `vjp` and its pullback.

        Args:
            x: (T, B, I), on the host wherever the model lies.
            lengths: (B,) steps of each series, 1 <= lengths <= T; None = T.
            rng: where dropout comes from; needed only with dropout.
        """
        lengths = self._checked(x, lengths)
        x = move(x, self.place)
        front_pullback: Callable[[Array], None] | None = None
        if self.front_end is not None:
            x, front_pullback = self.front_end.vjp(x, lengths)
            lengths = self.front_end.steps(lengths)
        (hidden, _), rnn_pullback = self.rnn.vjp(x, lengths=lengths, rng=rng)
        pooled, pool_pullback = _pool_vjp(hidden, lengths)
        dropped, dropout_pullback = self.dropout.vjp(pooled, rng=rng)
        y, head_pullback = self.head.vjp(dropped)

        def pullback(dy: Array) -> None:
            dhidden = pool_pullback(dropout_pullback(head_pullback(dy)))
            dx, _ = rnn_pullback(dhidden, needs_dx=front_pullback is not None)
            if front_pullback is not None:
                front_pullback(dx)

        return y, pullback

    def _checked(self, x: Array, lengths: Lengths | None) -> Lengths:
        """Returns the lengths of the series, which must have steps."""
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(
                f"[SeriesModel] expected x of shape (T, B, I) = (T, B, {self.input_size}), "
                f"got {x.shape}"
            )
        steps, batch, _ = x.shape
        if lengths is None:
            lengths = np.full(batch, steps, np.int64)
        if lengths.shape != (batch,):
            raise ValueError(
                f"[SeriesModel] expected lengths of shape (B,) = ({batch},), got {lengths.shape}"
            )
        if batch and not (lengths.min() >= 1 and lengths.max() <= steps):
            raise ValueError(
                f"[SeriesModel] expected lengths in 1..{steps}, "
                f"got {lengths.min()}..{lengths.max()}"
            )
        return lengths


def _pool_vjp(hidden: Array, lengths: Lengths) -> tuple[Array, Callable[[Array], Array]]:
    """Mean and maximum over time, and the pullback dpooled -> dhidden.

    Shapes: hidden (T, B, H), zero after the end of a row as `Recurrent` has it; pooled (B, 2 * H).
    """
    steps, _, size = hidden.shape
    place = place_of(hidden)
    inside = move((np.arange(steps)[:, None] < lengths)[..., None], place)  # (T, B, 1)
    share = move((1.0 / lengths[:, None]).astype(hidden.dtype), place)  # (B, 1)
    mean = hidden.sum(axis=0) * share
    # A fixed winner, the first, takes the whole gradient where several steps share the maximum.
    winner = np.where(inside, hidden, hidden.dtype.type(-np.inf)).argmax(axis=0)[None]  # (1, B, H)
    maximum = np.take_along_axis(hidden, winner, axis=0)[0]
    step = move(np.arange(steps)[:, None, None], place)

    def pullback(dpooled: Array) -> Array:
        dhidden: Array = inside * (dpooled[:, :size] * share)
        dhidden += (step == winner) * dpooled[:, size:]
        return dhidden

    return np.concatenate([mean, maximum], axis=1), pullback
