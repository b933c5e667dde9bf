"""Gated recurrent unit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ._gates import Activation, chosen_cell
from ._initialisers import Initialiser
from ._recurrent import Recurrent
from ._sizes import Merge
from ._types import Array


class GRU(Recurrent[Array]):
    """Gated recurrent unit, one or more layers of it.

        r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
        z_t = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
        n_t = tanh(W_in x_t + b_in + r_t * (W_hn h_{t-1} + b_hn))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    With reset_after=False the reset gate acts before the product, as in the original:

        n_t = tanh(W_in x_t + b_in + W_hn (r_t * h_{t-1}) + b_hn)

    activations are two functions, of r and z, and of n; with gate_clip they read what stands in
    their brackets as min(max(v, -gate_clip), gate_clip).

    With layer_norm, and norm(v) = (v - mean(v)) / sqrt(var(v) + 1e-5) of a row, W_ih x_t becomes
    gain_ih * norm(W_ih x_t) and W_hh h_{t-1} becomes gain_hh * norm(W_hh h_{t-1}), each normalised
    over all 3*H gates; biases are added behind.

    The output is h_t and the state is h::

        gru = unrolled.GRU(16, 32, rng=np.random.default_rng(0))
        y, h = gru(x)                                # x (T, B, 16), y (T, B, 32), h (1, B, 32)

    Shapes and arguments: see `Recurrent`; G = 3, rows of weights in the order r, z, n.

    reset_after: True as torch.nn.GRU and cuDNN; False is ONNX's linear_before_reset=0.
    activations: names, or `functional.GateFunction` with parameters; None is ("sigmoid", "tanh").
    Like gate_clip, not together with layer_norm. In Keras's words recurrent_activation and
    activation.
    layer_norm: adds weight_unit_lk (6*H,), the rows of gain_ih and gain_hh (3*H each); not together
    with reset_after=False.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014;
    norms: Ba, Kiros and Hinton, "Layer normalization", 2016.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
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
        reset_after: bool = True,
        layer_norm: bool = False,
        activations: Sequence[Activation] | None = None,
        gate_clip: float | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        if layer_norm and not reset_after:
            raise ValueError("[GRU] expected reset_after=True with layer_norm, got False")
        plain = "gru" if reset_after else "gru_reset_before"
        cell, gates = chosen_cell("GRU", plain, activations, gate_clip)
        if gates is not None and layer_norm:
            raise ValueError("[GRU] expected activations=None and gate_clip=None with layer_norm")
        super().__init__(
            "gru_norm" if layer_norm else cell,
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

    def _cell_options(self) -> list[str]:
        before = ["reset_after=False"] if self.cell.startswith("gru_reset_before") else []
        norm = ["layer_norm=True"] if self.cell == "gru_norm" else []
        return super()._cell_options() + before + norm
