"""What layers and cells of torch have in common: what the kernels take, and how they are called."""

from collections.abc import Sequence
from typing import Any

from ... import functional
from ..._extras import import_extra
from ._call import LayerCall
from ._scan import Layer, run_layer
from ._weights import Packed, packed_weights

torch: Any = import_extra("torch", "torch")
forward_ad: Any = import_extra("torch.autograd.forward_ad", "torch")

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_FLOATS = (torch.float32, torch.float64)


def states_of(hx: Any, count: int) -> list[Any]:
    """hx as `count` states, None for zeros; `...`, which fits nothing, for what torch refuses."""
    if hx is None:
        return [None] * count
    states = [hx] if count == 1 else hx
    if isinstance(states, tuple | list) and len(states) == count:
        return [... if state is None else state for state in states]
    return [...]


def are_of_shape(states: Sequence[Any], *shapes: tuple[int, ...]) -> bool:
    """Whether all states that are given are tensors of these shapes, one a state or one for all."""
    expected = [shapes[min(k, len(shapes) - 1)] for k in range(len(states))]
    return all(
        s is None or (isinstance(s, torch.Tensor) and s.shape == shape)
        for s, shape in zip(states, expected, strict=True)
    )


class OnKernels(torch.nn.Module):
    """What our layers and cells have in common; stands before torch's class as a base."""

    def _by_torch(self, input: Any, hx: Any) -> Any:
        """The forward pass of torch's class."""
        if isinstance(input, torch.fx.Proxy):  # one node of a graph, as torch's own modules are
            name = input.tracer.path_of_module(self)
            return input.tracer.create_proxy("call_module", name, (input, hx), {})
        return super().forward(input, hx)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # What is packed refers to parameters weakly, and torch swaps none that are referred to.
        packed_weights(self).clear()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any) -> None:
        packed_weights(self).clear()
        super()._load_from_state_dict(*args)


def torch_watches() -> bool:
    """Whether torch wants to see operations of its own: it compiles, traces or transforms."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
    )


def prepare(
    module: Any,
    cell: str,
    x: Any,
    states: Sequence[Any],
    parameters: Sequence[Any],
    scans: int,
) -> tuple[Packed, functional.Precision, bool] | None:
    """The packed weights, the precision and whether there are gradients; None if torch has to run.

    Sets the number of threads as well.
    """
    inputs = [x, *(state for state in states if state is not None)]
    dtype = parameters[0].dtype
    if not all(_is_plain(t) for t in inputs):
        return None
    precision: functional.Precision = "full"
    if torch.is_autocast_enabled("cpu"):
        precision = "bf16"
        if functional.cell_info(cell).projects:
            return None
        if dtype is not torch.float32 or torch.get_autocast_dtype("cpu") is not torch.bfloat16:
            return None
        if any(t.dtype not in (torch.float32, torch.bfloat16) for t in inputs):
            return None
    elif dtype not in _FLOATS or any(t.dtype is not dtype for t in inputs):
        return None
    grad = torch.is_grad_enabled() and any(t.requires_grad for t in (*inputs, *parameters))
    threads = torch.get_num_threads()
    if threads != functional.get_num_threads():
        functional.set_num_threads(threads)
    kept = packed_weights(module)
    packed = kept.get(parameters, precision, backward=grad)
    if packed is None:
        if not all(_is_plain(p) and p.dtype is dtype for p in parameters):
            return None
        packed = kept.pack(cell, parameters, scans, precision, backward=grad)
    return packed, precision, grad


def _is_plain(tensor: Any) -> bool:
    """Whether it is a dense tensor on the CPU."""
    return type(tensor) in _PLAIN and tensor.is_cpu and tensor.layout is torch.strided


def run_step(packed: Packed, x: Any, states: Sequence[Any], axis: int) -> tuple[Any, list[Any]]:
    """y and the final states for sequences of one step, which stands in this axis of x (3-D)."""
    y = x.new_empty((*x.shape[:2], packed.weights[-1].state_sizes[0]))
    given = (x if x.stride(-1) == 1 else x.contiguous()).numpy(force=True)
    out = y.numpy()
    if axis == 0:
        return y, packed.steppers.step(given[0], states, out[0])
    return y, packed.steppers.step(given[:, 0], states, out[:, 0])


def apply_layer(
    call: LayerCall,
    weights: Sequence[functional.Weights],
    x: Any,
    states: Sequence[Any],
    parameters: Sequence[Any],
    *,
    grad: bool,
) -> Sequence[Any]:
    """y and the final states of one layer."""
    if grad:
        applied: Sequence[Any] = Layer.apply(call, weights, x, *(*states, None)[:2], *parameters)
        return applied
    y, final, _ = run_layer(call, weights, x, states, tape=False)
    return (y, *final)
