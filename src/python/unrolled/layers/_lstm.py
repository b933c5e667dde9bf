"""Long short-term memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from ._gates import Activation, chosen_cell
from ._initialisers import Initialiser
from ._recurrent import Recurrent
from ._sizes import Merge
from ._types import Array


class LSTM(Recurrent[tuple[Array, Array]]):
    """Long short-term memory, one or more layers of it.

        i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)
        f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)
        g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)
        o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    With proj_size R, h_t = W_hr (o_t * tanh(c_t)) has R columns, and R stands for H in y and h.

    With cell_clip, c_t is min(max(c_t, -cell_clip), cell_clip) before h_t reads it.

    activations are three functions: of i, f and o, of g, and of c_t in h_t; with gate_clip the
    first two read what stands in their brackets as min(max(z, -gate_clip), gate_clip).

    With layer_norm, and norm(v) = (v - mean(v)) / sqrt(var(v) + 1e-5) of a row, all gates are made
    of gain_ih * norm(W_ih x_t) + b_ih + gain_hh * norm(W_hh h_{t-1}) + b_hh, normalised over all
    4*H of them, and h_t = o_t * tanh(gain_c * norm(c_t) + shift_c).

    The output is h_t; the state is the tuple (h, c)::

        lstm = unrolled.LSTM(16, 32, num_layers=2, rng=np.random.default_rng(0))
        y, (h, c) = lstm(x)                          # x (T, B, 16), y (T, B, 32), h (2, B, 32)
        y, (h, c) = lstm(x_next, (h, c))             # goes on where it stopped
        (y, _), pullback = lstm.vjp(x)
        dx, (dh, dc) = pullback(dy)                  # adds to lstm.grads

    Shapes and arguments: see `Recurrent`; G = 4, rows of weights in the order i, f, g, o.
    activations: names, or `functional.GateFunction` with parameters; None is ("sigmoid", "tanh",
    "tanh"). Like gate_clip, not together with proj_size and layer_norm. In Keras's words the first
    one is recurrent_activation, the others activation.
    proj_size: R < H, or 0 for no projection. layer_norm: adds weight_unit_lk (10*H,), the rows of
    gain_ih and gain_hh (4*H each), gain_c and shift_c (H each); not together with proj_size.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; forget gate: Gers,
    Schmidhuber and Cummins, 2000; projection: Sak, Senior and Beaufays, 2014; norms: Ba, Kiros and
    Hinton, "Layer normalization", 2016; order and two biases as torch.nn.LSTM.
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
        proj_size: int = 0,
        *,
        variational: bool = False,
        weight_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        cell_clip: float | None = None,
        merge: Merge = "concat",
        residual: bool = False,
        learn_initial_state: bool = False,
        layer_norm: bool = False,
        activations: Sequence[Activation] | None = None,
        gate_clip: float | None = None,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        least = min(hidden_size) if isinstance(hidden_size, Sequence) else hidden_size
        if proj_size and not 0 < proj_size < least:
            raise ValueError(
                f"[LSTM] expected proj_size in 0 .. hidden_size - 1 = {least - 1}, got {proj_size}"
            )
        if proj_size and layer_norm:
            raise ValueError("[LSTM] expected proj_size or layer_norm, got both")
        cell, gates = chosen_cell("LSTM", "lstm", activations, gate_clip)
        if gates is not None and (proj_size or layer_norm):
            raise ValueError(
                "[LSTM] expected activations=None and gate_clip=None with proj_size or layer_norm"
            )
        super().__init__(
            "lstm_projected" if proj_size else "lstm_norm" if layer_norm else cell,
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
            cell_clip=cell_clip,
            merge=merge,
            residual=residual,
            learn_initial_state=learn_initial_state,
            proj_size=proj_size,
            gates=gates,
            unit_parameters=gates is None,
            dtype=dtype,
            rng=rng,
            init=init,
        )

    def _cell_options(self) -> list[str]:
        norm = ["layer_norm=True"] if self.cell == "lstm_norm" else []
        return super()._cell_options() + norm
