"""Elman's simple recurrent network."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ._gates import Activation, chosen_cell
from ._initialisers import Initialiser
from ._recurrent import Recurrent
from ._sizes import Merge
from ._types import Array


class RNN(Recurrent[Array]):
    """Elman's simple recurrent network, one or more layers of it.

        h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

    act is tanh, relu, or another function that gates may have (`functional.GateFunction`, which
    says their names), here with its parameters::

        unrolled.RNN(16, 32, nonlinearity=functional.GateFunction("leaky_relu", alpha=0.1))

    With gate_clip it reads what stands in its brackets as min(max(z, -gate_clip), gate_clip).

    The output is h_t and the state is h::

        rnn = unrolled.RNN(16, 32, nonlinearity="relu", init="identity")
        y, h = rnn(x)                                # x (T, B, 16), y (T, B, 32), h (1, B, 32)

    Shapes and arguments: see `Recurrent`; G = 1.

    Source: Elman, "Finding structure in time", 1990; two biases as torch.nn.RNN.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        nonlinearity: Activation = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        merge: Merge = "concat",
        residual: bool = False,
        learn_initial_state: bool = False,
        gate_clip: float | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        cell, gates = chosen_cell("RNN", "rnn", [nonlinearity], gate_clip)
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            recurrent_dropout=recurrent_dropout,
            zoneout=zoneout,
            merge=merge,
            residual=residual,
            learn_initial_state=learn_initial_state,
            gates=gates,
            dtype=dtype,
            rng=rng,
            init=init,
        )
