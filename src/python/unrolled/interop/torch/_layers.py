"""torch's recurrent layers on the kernels."""

from collections.abc import Sequence
from typing import Any

from ... import functional
from ..._extras import import_extra
from ._call import LayerCall, Layout
from ._calls import (
    OnKernels,
    apply_layer,
    are_of_shape,
    prepare,
    run_step,
    states_of,
    torch_watches,
)
from ._ragged import Ragged
from ._weights import packed_weights

torch: Any = import_extra("torch", "torch")
_disable_dynamo: Any = import_extra("torch._compile", "torch")._disable_dynamo
# Private, as torch's own layers use it; without it a compiled model runs torch's layers.
_compiler_of_frames: Any = getattr(
    torch._C._dynamo.eval_frame, "get_eval_frame_callback", lambda: None
)

_CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}
_PackedSequence = torch.nn.utils.rnn.PackedSequence


def _forward(layer: Any, input: Any, hx: Any) -> Any:
    return layer.forward(input, hx)


_uncompiled: Any = _disable_dynamo(_forward)  # torch.compile looks at nothing of it


class LayerOnKernels(OnKernels):
    """The forward pass of torch.nn.LSTM, GRU and RNN; stands before one of them as a base class."""

    def flatten_parameters(self) -> None:
        """Drops the packed copies of the weights; the next call makes them anew."""
        super().flatten_parameters()
        packed_weights(self).clear()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch's: input (T, B, I), (B, T, I), (T, I) or a PackedSequence."""
        # Between the graphs of a compiled program, where torch's layers run as well. torch.compile
        # looks into no frame that holds a layer, but into the functions that such a frame calls.
        if not torch.compiler.is_compiling() and _compiler_of_frames() is not None:
            return _uncompiled(self, input, hx)
        is_packed = isinstance(input, _PackedSequence)
        data = input.data if is_packed else input
        states = states_of(hx, 2 if self.mode == "LSTM" else 1)
        if not self._fits(data, states, input.batch_sizes if is_packed else None):
            return self._by_torch(input, hx)
        parameters = self._current_parameters()
        directions = 2 if self.bidirectional else 1
        cell = "lstm_projected" if self.proj_size else _CELLS[self.mode]
        ready = prepare(self, cell, data, states, parameters, self.num_layers * directions)
        if ready is None:
            return self._by_torch(input, hx)
        packed, precision, grad = ready

        result_dtype = data.dtype
        if precision == "bf16":
            result_dtype = data.dtype if self.mode == "GRU" else torch.bfloat16
            data, *states = (None if t is None else t.float() for t in (data, *states))
        unbatched = data.dim() == 2 and not is_packed
        batch_axis = 0 if self.batch_first else 1
        if unbatched:
            data = data.unsqueeze(batch_axis)
            states = [None if state is None else state.unsqueeze(1) for state in states]
        if is_packed and hx is not None:
            states = [self._permuted(state, input.sorted_indices) for state in states]

        if not grad and not is_packed and self._is_single_step(data):
            y, final = run_step(packed, data, states, 1 - batch_axis)
        else:
            layout: Layout = "packed" if is_packed else "rows" if self.batch_first else "steps"
            ragged = Ragged.of(input.batch_sizes) if is_packed else None
            call = LayerCall(cell, directions, self.bias, layout, layout, ragged, precision)
            y, final = self._run(call, packed.weights, data, states, parameters, grad=grad)

        if precision == "bf16":
            y, *final = (tensor.to(result_dtype) for tensor in (y, *final))
        if unbatched:
            y, final = y.squeeze(batch_axis), [state.squeeze(1) for state in final]
        if is_packed:
            final = [self._permuted(state, input.unsorted_indices) for state in final]
            y = _PackedSequence(y, *input[1:])
        return y, final[0] if len(final) == 1 else tuple(final)

    @staticmethod
    def _permuted(state: Any, indices: Any) -> Any:
        return state if indices is None else state.index_select(1, indices)

    def _current_parameters(self) -> Sequence[Any]:
        found = [self._parameters.get(name) for name in self._flat_weights_names]
        if all(parameter is not None for parameter in found):
            return found
        self._update_flat_weights()  # some are made from others, by parametrizations
        made: Sequence[Any] = self._flat_weights
        return made

    def _fits(self, data: Any, states: Sequence[Any], batch_sizes: Any) -> bool:
        """Whether it is for us to run, and shapes are those of the layer."""
        if not isinstance(data, torch.Tensor) or torch_watches():
            return False
        shape = data.shape
        if len(shape) not in ((2, 3) if batch_sizes is None else (2,)):
            return False
        if shape[-1] != self.input_size or 0 in shape:
            return False
        scans = self.num_layers * (2 if self.bidirectional else 1)
        if batch_sizes is not None:
            rows: tuple[int, ...] = (scans, int(batch_sizes[0]))
        elif len(shape) == 2:
            rows = (scans,)
        else:
            rows = (scans, shape[0 if self.batch_first else 1])
        h_size = self.proj_size or self.hidden_size
        return are_of_shape(states, (*rows, h_size), (*rows, self.hidden_size))

    def _is_single_step(self, data: Any) -> bool:
        """Whether one step of the kernels does it: T = 1, one direction, nothing dropped."""
        steps = data.shape[1 if self.batch_first else 0]
        return bool(steps == 1 and not self.bidirectional and not (self.training and self.dropout))

    def _run(
        self,
        call: LayerCall,
        weights: Sequence[functional.Weights],
        x: Any,
        states: Sequence[Any],
        parameters: Sequence[Any],
        *,
        grad: bool,
    ) -> tuple[Any, list[Any]]:
        """y and the final states (L*D, B, H) of the stack; `call` has the layouts of x and y."""
        layers, each = self.num_layers, len(parameters) // self.num_layers
        dropping = self.dropout if self.training else 0.0
        # Between layers: as torch lays it out where that decides what is dropped, else padded.
        inner: Layout = "packed" if call.ragged is not None and dropping else "steps"
        parts: list[list[Any]] = []
        for layer in range(layers):
            last = layer == layers - 1
            scans = slice(layer * call.directions, (layer + 1) * call.directions)
            x, *final = apply_layer(
                call._replace(
                    reads=call.reads if layer == 0 else inner,
                    writes=call.writes if last else inner,
                ),
                weights[scans],
                x,
                [s if s is None or layers == 1 else s[scans] for s in states],
                parameters[layer * each : (layer + 1) * each],
                grad=grad,
            )
            parts.append(final)
            if dropping and not last:
                x = torch.nn.functional.dropout(x, dropping, True)
        return x, parts[0] if layers == 1 else list(map(torch.cat, zip(*parts, strict=True)))


class LSTM(LayerOnKernels, torch.nn.LSTM):
    """torch.nn.LSTM on the kernels of this package."""


class GRU(LayerOnKernels, torch.nn.GRU):
    """torch.nn.GRU on the kernels of this package."""


class RNN(LayerOnKernels, torch.nn.RNN):
    """torch.nn.RNN on the kernels of this package."""
