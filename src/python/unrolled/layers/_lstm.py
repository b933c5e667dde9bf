"""Long short-term memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ._initialisers import Initialiser
from ._recurrent import Recurrent
from ._types import Array


class LSTM(Recurrent[tuple[Array, Array]]):
    """Long short-term memory, one or more layers of it.

        i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)
        f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)
        g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
        o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    The output is h_t; the state is the tuple (h, c)::

        lstm = unrolled.LSTM(16, 32, num_layers=2, rng=np.random.default_rng(0))
        y, (h, c) = lstm(x)                          # x (T, B, 16), y (T, B, 32), h (2, B, 32)
        y, (h, c) = lstm(x_next, (h, c))             # goes on where it stopped
        (y, _), pullback = lstm.vjp(x)
        dx, (dh, dc) = pullback(dy)                  # adds to lstm.grads

    Shapes and arguments: see `Recurrent`; G = 4, rows of weights in the order i, f, g, o.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; forget gate: Gers,
    Schmidhuber and Cummins, 2000; order and two biases as torch.nn.LSTM.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        super().__init__(
            "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            variational=variational,
            weight_dropout=weight_dropout,
            zoneout=zoneout,
            dtype=dtype,
            rng=rng,
            init=init,
        )
