"""Gated recurrent unit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ._initialisers import Initialiser
from ._recurrent import Recurrent
from ._types import Array


class GRU(Recurrent[Array]):
    """Gated recurrent unit, one or more layers of it; the reset gate acts after the product.

        r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
        z_t = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
        n_t = tanh(W_in x_t + b_in + r_t * (W_hn h_{t-1} + b_hn))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    The output is h_t and the state is h::

        gru = unrolled.GRU(16, 32, rng=np.random.default_rng(0))
        y, h = gru(x)                                # x (T, B, 16), y (T, B, 32), h (1, B, 32)

    Shapes and arguments: see `Recurrent`; G = 3, rows of weights in the order r, z, n.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014;
    reset-after, as torch.nn.GRU and cuDNN.
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
            "gru",
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
