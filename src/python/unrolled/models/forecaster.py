"""A forecasting model: reads a past of any length, then says what comes in the next H steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Linear
from ..layers._types import Array
from ._configured import ConfiguredModel
from ._distributions import DISTRIBUTIONS, Distribution
from ._forecast_member import ForecastMember
from ._linear_path import DrawnPath, PathPullback, all_steps, each_step
from ._outlook import Outlook
from ._static import Static, StaticFeatures

DECODERS = ("direct", "autoregressive")


class ForecastModel(ConfiguredModel):
    """A recurrent encoder of the past, a recurrent decoder over the steps to come, a distribution.

        h_t       = encoder([x_t; static], h_{t-1})                t = 1 .. T
        s_{t,0}   = bridge(h_t)
        s_{t,k}   = decoder(f_{t+k}, s_{t,k-1})                    k = 1 .. H
        p_{t,k,d} = W_d s_{t,k} + b_d                              the parameters of a distribution
        location of p_{t,k,d} += v_{t,d} + sum_l A_{d,k,l} (v_{t-l,d} - v_{t,d}) / C + c_{d,k}

    The encoder reads numbers as they are and as differences; forecasts are relative to the last
    value v_t, so a level that moves away needs nothing to be learned again. One pass over a past
    serves forecasts from many of its steps (the origins): the state h_t is all that a forecast from
    t knows. It carries on in a stream, for as long as there are observations.

    The linear path A, c is that of a regression on the last C values; it may be left out.

    That is the decoder "direct". "autoregressive" says one step after the value before it:

        s_{t,k}   = decoder([f_{t+k}; v_{t+k-1} - v_t], s_{t,k-1})
        location of p_{t,k,d} += v_{t+k-1,d} + c_d
                                 + sum_l A_{d,l} (v_{t+k-1-l,d} - v_{t+k-1,d}) / C

    In training the true value is fed back, in forecasts one that was drawn: what comes out are
    paths, in which the steps hang together as they do in the series.

    Counts have a logarithmic link; without a linear path theirs is the mean of the last C values.

    A model may have several members, which have all but the linear path and the categories of their
    own and are trained together; it forecasts with the mean of their outputs.

    Shapes: T steps, B series, I inputs and F future inputs a step, R origins, N = R * B forecasts,
    origin-major, H horizon, D targets, P parameters of the distribution, C context, M members,
    S numbers and K categories that are the same at all steps of a series.

    Args:
        input_size: I.
        future_size: F.
        targets: D.
        horizon: H; a forecast may be shorter.
        context: C, values that the linear path reads; 0 = there is no such path.
        hidden_size: units of a layer.
        num_layers: of the encoder.
        cell: a name from `unrolled.functional.cells()`.
        distribution: a name from `DISTRIBUTIONS`.
        decoder: "direct" or "autoregressive".
        numbers: S.
        categories: how many there are of each of the K; each is embedded.
        members: M.
        dropout: in training, between the encoder's layers and before the head, the same in every
            step.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Attributes:
        keep: (D,) how much of what the recurrent layers add to the mean stays, 0..1; None = all.

    Raises:
        ValueError: a size below 1, an unknown cell, distribution, decoder or initialiser.

    Source: the many origins of a pass are the forking sequences of Wen et al. 2017; the relative
    forecasts and the linear path follow Zeng et al. 2023 (NLinear), the autoregressive decoder
    Salinas et al. 2017 (DeepAR).
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        future_size: int,
        targets: int,
        horizon: int,
        *,
        context: int = 0,
        hidden_size: int = 64,
        num_layers: int = 1,
        cell: str = "gru",
        distribution: str = "student-t",
        decoder: str = "direct",
        numbers: int = 0,
        categories: Sequence[int] = (),
        members: int = 1,
        dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        for name, value, known in (
            ("distribution", distribution, DISTRIBUTIONS),
            ("decoder", decoder, DECODERS),
        ):
            if value not in known:
                raise ValueError(
                    f"[ForecastModel] expected {name} to be one of {', '.join(known)}, "
                    f"got {value!r}"
                )
        if min(horizon, targets, members) < 1 or min(context, numbers) < 0:
            raise ValueError(
                "[ForecastModel] expected horizon, targets and members >= 1 and context and "
                f"numbers >= 0, got {horizon}, {targets}, {members}, {context} and {numbers}"
            )
        self.config = {
            "input_size": input_size,
            "future_size": future_size,
            "targets": targets,
            "horizon": horizon,
            "context": context,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "cell": cell,
            "distribution": distribution,
            "decoder": decoder,
            "numbers": numbers,
            "categories": list(categories),
            "members": members,
            "dropout": dropout,
            "dtype": str(np.dtype(dtype)),
        }
        self.targets, self.horizon, self.context = targets, horizon, context
        self.distribution: Distribution = DISTRIBUTIONS[distribution]
        self.autoregressive = decoder == "autoregressive"
        self.keep: Array | None = None
        common: dict[str, Any] = {"dtype": dtype, "rng": rng, "init": init}
        self.static = StaticFeatures(numbers, categories, common)
        self.members = [
            ForecastMember(
                cell,
                input_size + self.static.width,
                future_size + targets * self.autoregressive,
                hidden_size,
                num_layers,
                targets * self.distribution.outputs,
                dropout,
                common,
            )
            for _ in range(members)
        ]
        rows = 1 if self.autoregressive else horizon
        self.linear = [Linear(context, rows, **common) for _ in range(targets if context else 0)]
        super().__init__(
            children={
                **{f"member_{m}": each for m, each in enumerate(self.members)},
                **{f"linear_{d}": each for d, each in enumerate(self.linear)},
                **({"static": self.static} if self.static.learned else {}),
            }
        )

    def __call__(
        self,
        x: Array,
        origins: Array,
        future: Array,
        last: Array,
        history: Array,
        *,
        resets: Array | None = None,
        static: Static | None = None,
        units: Array | None = None,
        truth: Array | None = None,
    ) -> Array:
        """Returns the parameters (H, N, D, P) of forecasts, without dropout; see `vjp`."""
        hidden = self.read(x, origins, resets=resets, static=static)
        return self.decode(hidden, future, last, history, units=units, truth=truth)

    def read(
        self,
        x: Array,
        origins: Array,
        *,
        resets: Array | None = None,
        static: Static | None = None,
    ) -> list[Array]:
        """Returns the states (N, units) of each member that forecasts begin with; see `vjp`."""
        told = self.static(x, static)
        return [each.read(told, origins, resets) for each in self.members]

    def decode(
        self,
        hidden: Sequence[Array],
        future: Array,
        last: Array,
        history: Array,
        *,
        units: Array | None = None,
        truth: Array | None = None,
    ) -> Array:
        """Returns the parameters (H, N, D, P) of forecasts from each member's states (N, units)."""
        previous = self._previous(future, last, truth)
        coming = self._coming(future, previous)
        outputs = self._outputs(
            [each.decode(rows, coming) for each, rows in zip(self.members, hidden, strict=True)]
        )
        if self.keep is not None:
            self.distribution.shrink(outputs, self.keep)
        location, _ = self._location(last, history, len(future), previous, training=False)
        return self.distribution.place(outputs, location, _units(units, last))

    def outlook(
        self,
        hidden: Sequence[Array],
        future: Array,
        last: Array,
        history: Array,
        *,
        units: Array | None = None,
        paths: int = 100,
        rng: np.random.Generator | None = None,
    ) -> Outlook:
        """Returns what the model says of the next H' steps.

        Args:
            hidden: of each member, what `read` returned.
            future, last, history, units: see `vjp`.
            paths: S, drawn by an autoregressive decoder, all of them as one batch.
            rng: where they come from; None draws fresh entropy.
        """
        if not self.autoregressive:
            params = self.decode(hidden, future, last, history, units=units)
            return Outlook(self.distribution, params=params)
        rng = np.random.default_rng() if rng is None else rng
        count, steps = len(last), len(future)
        streams = [each.steps(rows, paths) for each, rows in zip(self.members, hidden, strict=True)]
        linear = DrawnPath(self.linear, history, steps)
        drawn = np.zeros((steps, paths, count, self.targets), last.dtype)  # minus the last value
        level = self._level(last, history)
        for k in range(steps):
            previous = drawn[k - 1] if k else np.zeros_like(drawn[0])
            known = np.broadcast_to(future[k], (paths, *future[k].shape))
            coming = np.concatenate([known, previous], axis=2).reshape(paths * count, -1)
            coming = np.ascontiguousarray(coming)
            outputs = [step(coming)[None] for step in streams]
            location = level + linear(drawn[:k])
            if self._follows:
                location = location + previous
            params = self.distribution.place(
                self._outputs(outputs).reshape(paths, count, self.targets, -1),
                location,
                _units(units, last),
            )
            drawn[k] = self.distribution.sample(params, rng) - last
        return Outlook(self.distribution, paths=np.moveaxis(drawn, 0, 1) + last)

    def vjp(
        self,
        x: Array,
        origins: Array,
        future: Array,
        last: Array,
        history: Array,
        *,
        resets: Array | None = None,
        static: Static | None = None,
        units: Array | None = None,
        truth: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns the parameters of each member's forecasts and their pullback.

        Args:
            x: (T, B, I) what is known of each step of the past.
            origins: (R,) steps that forecasts are made from, having read them.
            future: (H', N, F) what is known of each step to come, H' <= H.
            last: (N, D) the last values.
            history: (N, D, C) the last C values, the last one at the end, minus `last`.
            resets: (T, B) where series begin, see `Recurrent`.
            static: numbers (B, S) and places (B, K) int64 of what is said of each series.
            units: (N, D) what one of the numbers stands for, of counts; None = one.
            truth: (H', N, D) the values that came, which an autoregressive decoder reads.
            rng: where dropout comes from.

        Returns:
            params (M, H', N, D, P); `pullback(dparams)`, which adds to `grads`.
        """
        previous = self._previous(future, last, truth)
        coming = self._coming(future, previous)
        told, static_pullback = self.static.vjp(x, static)
        runs = [member.vjp(told, origins, coming, resets, rng) for member in self.members]
        location, path_pullback = self._location(
            last, history, len(future), previous, training=True
        )
        shape = (*runs[0][0].shape[:2], self.targets, -1)
        outputs = np.stack([each.reshape(shape) for each, _ in runs])
        params = self.distribution.place(outputs, location, _units(units, last))

        def pullback(dparams: Array) -> None:
            doutputs, dlocation = self.distribution.place_pull(dparams, location)
            path_pullback(dlocation.sum(axis=0))
            dtold = []
            for (each, member_pullback), dmember in zip(runs, doutputs, strict=True):
                dx = member_pullback(dmember.reshape(each.shape), needs_dx=self.static.learned)
                if dx is not None:
                    dtold.append(dx[:, :, x.shape[2] :].sum(axis=0))
            if dtold:
                static_pullback(np.sum(dtold, axis=0))

        return params, pullback

    def start_linear(self, matrices: Array) -> None:
        """Sets the linear path to matrices of a regression, and the rest to say nothing.

        They are (D, C + 1, H), the last row is the intercept.
        What the recurrent layers add begins at zero, so that they learn what the regression left.
        """
        for linear, matrix in zip(self.linear, matrices, strict=True):
            weight, bias = (linear.parameters[name] for name in ("weight", "bias"))
            weight[...] = matrix[:-1].T[: len(weight)] * self.context
            bias[...] = matrix[-1, : len(bias)]
        for member in self.members:
            member.head.parameters["weight"][...] = 0.0

    def start_scale(self, errors: Sequence[float]) -> None:
        """Sets what is said before anything is learned: errors of these sizes (D,), and no more."""
        start = np.array([self.distribution.start(error) for error in errors])
        for member in self.members:
            member.head.parameters["bias"][...] = start.reshape(-1)

    def _outputs(self, outputs: Sequence[Array]) -> Array:
        """(H', N, D, O), the mean of all members."""
        mean: Array = np.mean(outputs, axis=0) if len(outputs) > 1 else outputs[0]
        return mean.reshape(*mean.shape[:2], self.targets, self.distribution.outputs)

    def _previous(self, future: Array, last: Array, truth: Array | None) -> Array | None:
        """(H', N, D), the value before each step minus the last one; None where all are direct."""
        if not self.autoregressive:
            return None
        if truth is None or truth.shape != (len(future), *last.shape):
            raise ValueError(
                "[ForecastModel] an autoregressive decoder reads what came, truth (H, N, D) = "
                f"{(len(future), *last.shape)}, got {None if truth is None else truth.shape}; "
                "`outlook` goes on from what it draws"
            )
        previous = np.zeros_like(truth)
        previous[1:] = truth[:-1] - last
        return previous

    def _coming(self, future: Array, previous: Array | None) -> Array:
        return future if previous is None else np.concatenate([future, previous], axis=2)

    @property
    def _follows(self) -> bool:
        """Whether a forecast is relative to the last value; else to the mean of the last C."""
        return bool(self.linear) or not self.distribution.counts

    def _level(self, last: Array, history: Array) -> Array:
        """(N, D)."""
        if self._follows or not history.shape[2]:
            return last
        level: Array = last + history.mean(axis=2)
        return level

    def _location(
        self, last: Array, history: Array, steps: int, previous: Array | None, *, training: bool
    ) -> tuple[Array, PathPullback]:
        """(H', N, D), what outputs are relative to."""
        if previous is None:
            location, pullback = all_steps(self.linear, history, steps, training=training)
        else:
            location, pullback = each_step(self.linear, history, previous, training=training)
            location += previous if self._follows else 0.0
        location += self._level(last, history)
        return location, pullback


def _units(units: Array | None, last: Array) -> Array:
    return np.ones_like(last) if units is None else units
