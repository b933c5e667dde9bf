"""Gradients by torch's operations: those to be differentiated again, and many at once."""

from collections.abc import Sequence
from typing import Any

from ..._extras import import_extra
from ._call import LayerCall

torch: Any = import_extra("torch", "torch")


def pull_again(
    call: LayerCall,
    inputs: Sequence[Any],
    parameters: Sequence[Any],
    needed: Sequence[bool],
    gradients: Sequence[Any],
) -> list[Any]:
    """Runs the layer once more in torch and pulls `gradients` back through it.

    Args:
        call: what was called.
        inputs: x and the states (None for zeros).
        parameters: of the layer.
        needed: of which of (x, h, c, *parameters) a gradient is wanted.
        gradients: of y (None where it is not given) and of the final states, None for zeros.

    Returns:
        The gradients of (x, h, c, *parameters), None where not needed.
    """
    absent = [None] * (3 - len(inputs))
    # Views of their own: what reaches x by way of h, say, is not this layer's gradient.
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        own = [None if t is None else t.view_as(t) for t in (*inputs, *absent, *parameters)]
        outputs = _layer(call, own[0], own[1 : len(inputs)], own[3:])
    pairs = [(y, dy) for y, dy in zip(outputs, gradients, strict=True) if dy is not None]
    wanted = [t for t, need in zip(own, needed, strict=True) if need]
    found = iter(
        torch.autograd.grad(
            [y for y, _ in pairs], wanted, [dy for _, dy in pairs], create_graph=again
        )
    )
    return [next(found) if need else None for need in needed]


def _layer(
    call: LayerCall, x: Any, states: Sequence[Any], parameters: Sequence[Any]
) -> tuple[Any, ...]:
    """y in the layout of the call, and the final states.

    All of it as a packed sequence: torch runs these without oneDNN, whose LSTM has no second
    derivative.
    """
    sequence = x
    if call.reads == "one":
        sequence = x[None]
    elif call.reads == "rows":
        sequence = x.transpose(0, 1)
    if call.ragged is None:
        shape = sequence.shape[:2]
        sizes, places = torch.full(shape[:1], shape[1]), None
    else:
        shape, sizes = call.ragged.shape, call.ragged.batch_sizes
        places = torch.from_numpy(call.ragged.places)
    data = sequence if call.reads == "packed" else sequence.flatten(0, 1)
    if places is not None and call.reads != "packed":
        data = data[places]
    name = call.cell.removesuffix("_projected")
    rows, width = parameters[1].shape
    sizes_of_states = (width, rows // 4)[: len(states)]  # only an LSTM has a second one
    zeros = [x.new_zeros((call.directions, shape[1], size)) for size in sizes_of_states]
    given = [s[None] if s is not None and call.reads == "one" else s for s in states]
    initial = [z if s is None else s for s, z in zip(given, zeros, strict=True)]
    y, *final = getattr(torch._VF, name)(
        data,
        sizes,
        initial[0] if len(initial) == 1 else tuple(initial),
        list(parameters),
        call.bias,
        1,  # layer
        0.0,  # dropout
        False,  # training
        call.directions == 2,
    )
    if call.writes == "one":
        return (None, *(state[0] for state in final))
    if call.writes == "packed":
        return (y, *final)
    if places is not None:
        y = y.new_zeros((shape[0] * shape[1], y.shape[1])).index_copy(0, places, y)
    y = y.unflatten(0, tuple(shape))
    return (y.transpose(0, 1) if call.writes == "rows" else y, *final)
