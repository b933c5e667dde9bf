"""torch's recurrent cells on the kernels."""

from collections.abc import Sequence
from typing import Any

from ..._extras import import_extra
from ._call import LayerCall
from ._calls import (
    OnKernels,
    apply_layer,
    are_of_shape,
    prepare,
    run_step,
    states_of,
    torch_watches,
)

torch: Any = import_extra("torch", "torch")


class CellOnKernels(OnKernels):
    """The forward pass of torch's recurrent cells; stands before one of them as a base class."""

    def _cell(self) -> str:
        """The kernels' name for it."""
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's: input (B, I) or (I,)."""
        cell = self._cell()
        states = states_of(hx, 2 if cell == "lstm" else 1)
        if not self._fits(input, states):
            return self._by_torch(input, hx)
        parameters = [self.weight_ih, self.weight_hh]
        if self.bias:
            parameters += [self.bias_ih, self.bias_hh]
        ready = prepare(self, cell, input, states, parameters, 1)
        if ready is None:
            return self._by_torch(input, hx)
        packed, precision, grad = ready
        unbatched = input.dim() == 1
        x = input
        if unbatched:
            x, *states = (None if t is None else t.unsqueeze(0) for t in (x, *states))
        if grad:
            call = LayerCall(cell, 1, self.bias, "one", "one", None, precision)
            _, *final = apply_layer(call, packed.weights, x, states, parameters, grad=True)
        else:
            states = [None if state is None else state[None] for state in states]
            final = [state[0] for state in run_step(packed, x[None], states, 0)[1]]
        if unbatched:
            final = [state.squeeze(0) for state in final]
        return final[0] if len(final) == 1 else tuple(final)

    def _fits(self, x: Any, states: Sequence[Any]) -> bool:
        if not isinstance(x, torch.Tensor) or torch_watches() or torch.is_autocast_enabled("cpu"):
            return False
        shape = x.shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size or 0 in shape:
            return False
        return are_of_shape(states, (*shape[:-1], self.hidden_size))


class LSTMCell(CellOnKernels, torch.nn.LSTMCell):
    """torch.nn.LSTMCell on the kernels of this package."""

    def _cell(self) -> str:
        return "lstm"


class GRUCell(CellOnKernels, torch.nn.GRUCell):
    """torch.nn.GRUCell on the kernels of this package."""

    def _cell(self) -> str:
        return "gru"


class RNNCell(CellOnKernels, torch.nn.RNNCell):
    """torch.nn.RNNCell on the kernels of this package."""

    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"
