"""An acoustic model: frames of sound in, logits of sounds or words out."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..layers import Dropout, Initialiser, Layer, Linear, Recurrent
from ..layers._checks import checked_size
from ..layers._place import move
from ..layers._types import Array
from ._acoustic_stream import AcousticStream, See, side_by_side
from ._configured import ConfiguredModel
from ._conv_front_end import ConvFrontEnd

Lengths = NDArray[np.int64]


class AcousticModel(ConfiguredModel):
    """A stack of recurrent layers over frames of features, with logits for each step or sequence.

        s_n = (x_{nq}, ..., x_{nq+k-1})              k frames side by side, every q frames
        h_n = recurrent(s_n, h_{n-1})
        y_n = W h_n + b          or, pooled, y = W mean_n h_n + b

    With `conv` channels s_n comes from convolutions over time and bands instead (CRNN); k and q are
    then those of the `ConvFrontEnd`.

    With a softmax over symbols and a blank the logits of the steps are what CTC takes; pooled ones
    say which of several words a sequence is. Reading q frames at a step divides the work by q.

    A pooled answer may be about the end of a sequence alone: `starts` says from which frame on h_n
    counts, while the frames before it are what the state comes from.

    Shapes: T frames, N steps, B batch, F features, V outputs, H hidden, D directions.
        x (T, B, F); lengths (B,) in frames; y (N, B, V), pooled (B, V).

    Args:
        features: F.
        outputs: V.
        hidden_size: H.
        num_layers: how many recurrent layers.
        cell: a name from `unrolled.functional.cells()`.
        bidirectional: read in both directions; such a model cannot be streamed.
        stack: k, frames that a step sees.
        stride: q, frames from step to step, at most `stack`.
        conv: channels of the convolutions before the recurrent layers; 0: frames side by side. With
            them `stack` and `stride` are theirs.
        pooled: one answer for a sequence rather than one for each step.
        dropout: probability of dropping each output of a recurrent layer in training.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, an unknown cell, a stride above `stack`, conv below 0.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        hidden_size: int = 128,
        num_layers: int = 2,
        cell: str = "gru",
        bidirectional: bool = False,
        stack: int = 3,
        stride: int = 2,
        conv: int = 0,
        pooled: bool = False,
        dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        where = "AcousticModel"
        self.features = checked_size(where, "features", features)
        self.stack = checked_size(where, "stack", stack)
        self.stride = checked_size(where, "stride", stride)
        if self.stride > self.stack:
            raise ValueError(f"[{where}] expected stride <= stack, got {stride} and {stack}")
        if conv < 0:
            raise ValueError(f"[{where}] expected conv >= 0, got {conv}")
        self.pooled = bool(pooled)
        rng = np.random.default_rng() if rng is None else rng
        self.config = {
            "features": features,
            "outputs": outputs,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "bidirectional": bool(bidirectional),
            "stack": stack,
            "stride": stride,
            "conv": conv,
            "pooled": self.pooled,
            "dropout": dropout,
            "dtype": str(np.dtype(dtype)),
        }
        self.front_end: ConvFrontEnd | None = None
        if conv:
            self.front_end = ConvFrontEnd(features, conv, dtype=dtype, rng=rng, init=init)
            self.stack, self.stride = self.front_end.reach, self.front_end.stride
        self.rnn: Recurrent[Any] = Recurrent(
            cell,
            self.front_end.output_size if self.front_end else features * stack,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
            dtype=dtype,
            rng=rng,
            init=init,
        )
        self.dropout = Dropout(dropout)
        self.head = Linear(self.rnn.output_size, outputs, dtype=dtype, rng=rng, init=init)
        children: dict[str, Layer] = {"front_end": self.front_end} if self.front_end else {}
        children |= {"rnn": self.rnn, "dropout": self.dropout, "head": self.head}
        super().__init__(children=children)

    def steps(self, frames: Lengths) -> Lengths:
        """How many steps so many frames give; the last frames may be too few for another one.

        A sequence with fewer frames than a step sees gives one step, as if frames of zeros
        followed; no frames give none.
        """
        return np.where(
            frames > 0, np.maximum(frames - self.stack, 0) // self.stride + 1, 0
        ).astype(np.int64)

    def stacked(self, x: Array, lengths: Lengths | None = None) -> Array:
        """Returns what the recurrent layers read, (N, B, k * F) or (N, B, K), of x (T, B, F)."""
        x = self._placed(x, lengths)
        if self.front_end is not None:
            return self.front_end(x)
        frames = len(x)
        reach = self.stride * int(self.steps(np.array(frames)))
        return np.concatenate([x[i : i + reach : self.stride] for i in range(self.stack)], axis=2)

    def _seen_vjp(
        self, x: Array, lengths: Lengths | None
    ) -> tuple[Array, Callable[[Array], None] | None]:
        """`stacked` and its pullback; None: nothing before the recurrent layers has parameters."""
        if self.front_end is None:
            return self.stacked(x, lengths), None
        return self.front_end.vjp(self._placed(x, lengths))

    def _placed(self, x: Array, lengths: Lengths | None) -> Array:
        """x with those frames, where the parameters lie."""
        return move(self._extended(x, lengths), self.place)

    def _extended(self, x: Array, lengths: Lengths | None) -> Array:
        """x with frames of zeros behind sequences that are shorter than what a step sees."""
        frames, batch, features = x.shape
        if lengths is not None and (lengths < self.stack).any():
            inside = np.arange(frames)[:, None] < lengths
            x = np.where(inside[..., None], x, x.dtype.type(0))
        if 0 < frames < self.stack:
            x = np.concatenate([x, np.zeros((self.stack - frames, batch, features), x.dtype)])
        return x

    def __call__(
        self, x: Array, lengths: Lengths | None = None, starts: Lengths | None = None
    ) -> Array:
        """Returns y (N, B, V), pooled (B, V); arguments as of `vjp`."""
        self._check(x, lengths, starts)
        steps = self._steps(x, lengths)
        hidden, _ = self.rnn(self.stacked(x, lengths), lengths=steps)
        if not self.pooled:
            return self.head(hidden)
        return self.head(_mean(hidden, self._weights(len(hidden), steps, starts)))

    def vjp(
        self,
        x: Array,
        lengths: Lengths | None = None,
        starts: Lengths | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns y, with dropout, and its pullback, which adds to `grads`; features get none.

        Parameters must not change between `vjp` and its pullback.

        Args:
            x: (T, B, F), on the host wherever the model lies, and so the other arguments.
            lengths: (B,) frames of each sequence, 0 <= lengths <= T; None = T.
            starts: (B,) the frame from which on steps count, of a pooled model; None = 0. The last
                step counts in any case.
            rng: where dropout comes from; needed only with dropout.
        """
        self._check(x, lengths, starts)
        steps = self._steps(x, lengths)
        seen, front_end_pullback = self._seen_vjp(x, lengths)
        (hidden, _), rnn_pullback = self.rnn.vjp(seen, lengths=steps, rng=rng)
        weights = self._weights(len(hidden), steps, starts) if self.pooled else None
        dropped, dropout_pullback = self.dropout.vjp(hidden, rng=rng)
        y, head_pullback = self.head.vjp(dropped if weights is None else _mean(dropped, weights))

        def pullback(dy: Array) -> None:
            dhidden = head_pullback(dy)
            if weights is not None:
                dhidden = dhidden * weights[..., None]  # (B, H) to (N, B, H)
            dseen, _ = rnn_pullback(
                dropout_pullback(dhidden), needs_dx=front_end_pullback is not None
            )
            if front_end_pullback is not None:
                front_end_pullback(dseen)

        return y, pullback

    def stream(self) -> AcousticStream:
        """Starts a stream: frames in, outputs of the recurrent layers out; see `AcousticStream`.

        Raises:
            ValueError: the model is bidirectional, or on a CUDA device.
        """
        self.check_on_host()
        if self.rnn.num_directions > 1:
            raise ValueError(
                "[AcousticModel] a bidirectional model needs the whole sound: only one that reads "
                "forwards can be streamed"
            )
        if self.front_end is None:
            see = side_by_side(self.stack, self.stride)
        else:
            see = _through(copy.deepcopy(self.front_end))
        return AcousticStream(
            self.rnn, see, features=self.features, reach=self.stack, stride=self.stride
        )

    def _steps(self, x: Array, lengths: Lengths | None) -> Lengths:
        return self.steps(np.full(x.shape[1], len(x)) if lengths is None else lengths)

    def _weights(self, count: int, steps: Lengths, starts: Lengths | None) -> Array:
        """What each step (N, B) counts in the mean of its sequence."""
        first = np.zeros_like(steps) if starts is None else starts // self.stride
        first = np.clip(first, 0, np.maximum(steps - 1, 0))
        step = np.arange(count)[:, None]
        inside = (step >= first) & (step < steps)
        weights: Array = (inside / np.maximum(steps - first, 1)).astype(self.dtype)
        return move(weights, self.place)

    def _check(self, x: Array, lengths: Lengths | None, starts: Lengths | None) -> None:
        if x.ndim != 3 or x.shape[2] != self.features:
            raise ValueError(
                f"[AcousticModel] expected x of shape (T, B, F) = (T, B, {self.features}), "
                f"got {x.shape}"
            )
        for name, given in (("lengths", lengths), ("starts", starts)):
            if given is not None and given.shape != x.shape[1:2]:
                raise ValueError(
                    f"[AcousticModel] expected {name} of shape (B,) = ({x.shape[1]},), "
                    f"got {given.shape}"
                )


def _through(front_end: ConvFrontEnd) -> See:
    return lambda frames: front_end(frames[:, None])  # (N, 1, K)


def _mean(hidden: Array, weights: Array) -> Array:
    """Mean (B, H) of the outputs (N, B, H), each with its weight (N, B)."""
    result: Array = np.einsum("nbh,nb->bh", hidden, weights)
    return result
