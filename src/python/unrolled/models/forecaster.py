"""A forecasting model: reads a past of any length, then says what comes in the next H steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional
from ..layers import Dropout, Initialiser, Layer, Linear, Recurrent
from ..layers._state import as_state, state_arrays
from ..layers._types import Array
from ._bridge import Bridge
from ._configured import ConfiguredModel
from ._distributions import DISTRIBUTIONS, Distribution


class ForecastModel(ConfiguredModel):
    """A recurrent encoder of the past, a recurrent decoder over the steps to come, a distribution.

        h_t       = encoder(x_t, h_{t-1})                          t = 1 .. T
        s_{t,0}   = bridge(h_t)
        s_{t,k}   = decoder(f_{t+k}, s_{t,k-1})                    k = 1 .. H
        p_{t,k,d} = W_d s_{t,k} + b_d                              the parameters of a distribution
        location of p_{t,k,d} += v_{t,d} + sum_l A_{d,k,l} (v_{t-l,d} - v_{t,d}) / C

    The encoder reads numbers as they are and as differences; forecasts are relative to the last
    value v_t, so a level that moves away needs nothing to be learned again. One pass over a past
    serves forecasts from many of its steps (the origins): the state h_t is all that a forecast from
    t knows. It carries on in a stream, for as long as there are observations.

    The linear path A is that of a regression on the last C values; it may be left out. Divided by
    C, an update of the size that suits the other weights moves its forecasts by no more than they
    do.

    A model may have several members, which have all but the linear path of their own and are
    trained together; it forecasts with the mean of their parameters.

    Shapes: T steps, B series, I inputs and F future inputs a step, R origins, N = R * B forecasts,
    origin-major, H horizon, D targets, P parameters of the distribution, C context, M members.

    Args:
        input_size: I.
        future_size: F.
        targets: D.
        horizon: H; a forecast may be shorter.
        context: C, values that the linear path reads; 0 = there is no such path.
        hidden_size: units of a layer.
        num_layers: of the encoder.
        cell: a name from `unrolled.functional.cells()`.
        distribution: "point", "gaussian", "student-t" or "quantile".
        members: M.
        dropout: in training, between the encoder's layers and before the head, the same in every
            step.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Raises:
        ValueError: a size below 1, an unknown cell, distribution or initialiser.

    Source: the many origins of a pass are the forking sequences of Wen et al. 2017; the relative
    forecasts and the linear path follow Zeng et al. 2023 (NLinear).
    """

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
        members: int = 1,
        dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "orthogonal",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = np.random.default_rng() if rng is None else rng
        if distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"[ForecastModel] expected distribution to be one of {', '.join(DISTRIBUTIONS)}, "
                f"got {distribution!r}"
            )
        if min(horizon, targets, members) < 1 or context < 0:
            raise ValueError(
                "[ForecastModel] expected horizon, targets and members >= 1 and context >= 0, got "
                f"{horizon}, {targets}, {members} and {context}"
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
            "members": members,
            "dropout": dropout,
            "dtype": str(np.dtype(dtype)),
        }
        self.targets, self.horizon, self.context = targets, horizon, context
        self.distribution: Distribution = DISTRIBUTIONS[distribution]
        common: dict[str, Any] = {"dtype": dtype, "rng": rng, "init": init}
        outputs = targets * self.distribution.parameters
        self.members = [
            _Member(
                cell, input_size, future_size, hidden_size, num_layers, outputs, dropout, common
            )
            for _ in range(members)
        ]
        self.linear = [
            Linear(context, horizon, bias=False, **common) for _ in range(targets if context else 0)
        ]
        super().__init__(
            children={
                **{f"member_{m}": each for m, each in enumerate(self.members)},
                **{f"linear_{d}": each for d, each in enumerate(self.linear)},
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
    ) -> Array:
        """Returns the parameters (H, N, D, P) of forecasts, without dropout; see `vjp`."""
        hidden = [each.encoder(x, resets=resets)[0][origins] for each in self.members]
        rows = [each.reshape(-1, each.shape[2]) for each in hidden]
        return self.decode(rows, future, last, history)

    def decode(self, hidden: Sequence[Array], future: Array, last: Array, history: Array) -> Array:
        """Returns the parameters (H, N, D, P) of forecasts from each member's states (N, units)."""
        outputs = [
            member.decode(rows, future) for member, rows in zip(self.members, hidden, strict=True)
        ]
        params = self._params(np.mean(outputs, axis=0) if len(outputs) > 1 else outputs[0])
        self._located(params)[...] += self._location(len(future), last, history)[..., None]
        return params

    def vjp(
        self,
        x: Array,
        origins: Array,
        future: Array,
        last: Array,
        history: Array,
        *,
        resets: Array | None = None,
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
            rng: where dropout comes from.

        Returns:
            params (M, H', N, D, P); `pullback(dparams)`, which adds to `grads`.
        """
        runs = [member.vjp(x, origins, future, resets, rng) for member in self.members]
        location, linear_pullback = self._location_vjp(len(future), last, history)
        params = np.stack([self._params(outputs) for outputs, _ in runs])
        self._located(params)[...] += location[..., None]

        def pullback(dparams: Array) -> None:
            linear_pullback(self._located(dparams).sum(axis=(0, -1)))
            for (outputs, member_pullback), dparam in zip(runs, dparams, strict=True):
                member_pullback(dparam.reshape(outputs.shape))

        return params, pullback

    def _params(self, outputs: Array) -> Array:
        return outputs.reshape(*outputs.shape[:2], self.targets, self.distribution.parameters)

    def _located(self, params: Array) -> Array:
        return params[..., : self.distribution.located]

    def _location(self, steps: int, last: Array, history: Array) -> Array:
        """(H', N, D)."""
        location = np.repeat(last[None], steps, axis=0)
        for d, linear in enumerate(self.linear):
            location[:, :, d] += linear(self._read(history, d)).T[:steps]
        return location

    def _read(self, history: Array, target: int) -> Array:
        """What the linear path of a target multiplies, (N, C)."""
        read: Array = history[:, target] * history.dtype.type(1.0 / self.context)
        return read

    def start_linear(self, matrices: Array) -> None:
        """Sets the linear path to matrices (D, C, H) of a regression, and the rest to say nothing.

        What the recurrent layers add begins at zero, so that they learn what the regression left.
        """
        for linear, matrix in zip(self.linear, matrices, strict=True):
            linear.parameters["weight"][...] = matrix.T * self.context
        for member in self.members:
            member.head.parameters["weight"][...] = 0.0

    def start_scale(self, errors: Sequence[float]) -> None:
        """Sets what is said before anything is learned: errors of these sizes (D,), and no more."""
        start = np.array([self.distribution.start(error) for error in errors])
        for member in self.members:
            member.head.parameters["bias"][...] = start.reshape(-1)

    def _location_vjp(
        self, steps: int, last: Array, history: Array
    ) -> tuple[Array, Callable[[Array], None]]:
        location = np.repeat(last[None], steps, axis=0)
        pullbacks = []
        for d, linear in enumerate(self.linear):
            y, linear_pullback = linear.vjp(self._read(history, d))
            location[:, :, d] += y.T[:steps]
            pullbacks.append(linear_pullback)

        def pullback(dlocation: Array) -> None:
            for d, pull in enumerate(pullbacks):
                dy = np.zeros((len(last), self.horizon), dlocation.dtype)
                dy[:, :steps] = dlocation[:, :, d].T
                pull(dy, needs_dx=False)

        return location, pullback


class _Member(Layer):
    """One encoder with its decoder; see `ForecastModel`."""

    def __init__(
        self,
        cell: str,
        input_size: int,
        future_size: int,
        hidden_size: int,
        num_layers: int,
        outputs: int,
        dropout: float,
        common: Mapping[str, Any],
    ) -> None:
        self.encoder: Recurrent[Any] = Recurrent(
            cell,
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            variational=True,
            **common,
        )
        self._states = tuple(functional.cell_info(cell).states)
        self.bridge = Bridge(hidden_size, hidden_size, 1, self._states, **common)
        self.decoder: Recurrent[Any] = Recurrent(cell, future_size, hidden_size, **common)
        self.dropout = Dropout(dropout, variational=True)
        self.head = Linear(hidden_size, outputs, **common)
        super().__init__(
            children={
                "encoder": self.encoder,
                "bridge": self.bridge,
                "decoder": self.decoder,
                "dropout": self.dropout,
                "head": self.head,
            }
        )

    def decode(self, hidden: Array, future: Array) -> Array:
        """Returns outputs (H', N, D * P) from states (N, hidden_size)."""
        states, _ = self.decoder(future, self.bridge(self._first(hidden)))
        return self.head(states)

    def vjp(
        self,
        x: Array,
        origins: Array,
        future: Array,
        resets: Array | None,
        rng: np.random.Generator | None,
    ) -> tuple[Array, Callable[[Array], None]]:
        """Returns outputs (H', N, D * P) and their pullback, which adds to `grads`."""
        (hidden, _), encoder_pullback = self.encoder.vjp(x, resets=resets, rng=rng)
        first, bridge_pullback = self.bridge.vjp(
            self._first(hidden[origins].reshape(-1, hidden.shape[2]))
        )
        (states, _), decoder_pullback = self.decoder.vjp(future, first, rng=rng)
        dropped, dropout_pullback = self.dropout.vjp(states, rng=rng)
        outputs, head_pullback = self.head.vjp(dropped)

        def pullback(doutputs: Array) -> None:
            _, dfirst = decoder_pullback(dropout_pullback(head_pullback(doutputs)), needs_dx=False)
            dpicked = sum(state_arrays(bridge_pullback(dfirst)))
            dhidden = np.zeros_like(hidden)
            np.add.at(dhidden, origins, np.reshape(dpicked, (len(origins), *hidden.shape[1:])))
            encoder_pullback(dhidden, needs_dx=False)

        return outputs, pullback

    def _first(self, hidden: Array) -> Any:
        """What the bridge reads: the same for each state of the cell, (1, N, hidden_size)."""
        return as_state(tuple(hidden[None] for _ in self._states))
