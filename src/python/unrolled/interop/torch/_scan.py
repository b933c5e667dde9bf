"""One recurrent layer on torch's tensors: forward, and backward for autograd."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ... import functional
from ..._extras import import_extra
from ._again import pull_again
from ._call import LayerCall
from ._weights import pack_scans, scan_arguments

torch: Any = import_extra("torch", "torch")


@dataclass(frozen=True)
class Tape:
    """What BPTT reads, one a direction."""

    saved: tuple[functional.Saved, ...]


def run_layer(
    call: LayerCall,
    weights: Sequence[functional.Weights],
    x: Any,
    states: Sequence[Any],
    *,
    tape: bool,
) -> tuple[Any, tuple[Any, ...], Tape]:
    """Runs a layer without autograd; returns y, the final states and, if asked for, the tape."""
    sequence = call.steps_of(x, call.reads)
    steps, batch, _ = sequence.shape
    hidden = weights[0].state_sizes[0]
    y, out = call.empty(x, (steps, batch, call.directions * hidden), call.writes)
    final, saved = [], []
    for direction, (own, initial) in enumerate(zip(weights, call.split(states), strict=True)):
        options: dict[str, Any] = {
            "lengths": None if call.ragged is None else call.ragged.lengths,
            "reverse": direction == 1,
            "out": out[:, :, direction * hidden : (direction + 1) * hidden],
        }
        if tape:
            _, last, one = functional.scan_vjp(own, sequence, initial, **options)
            saved.append(one)
        else:
            _, last = functional.scan(own, sequence, initial, **options)
        final.append(last)
    joined = tuple(map(call.join, zip(*final, strict=True)))
    return call.filled(y, out), joined, Tape(tuple(saved))


def pull_layer(
    call: LayerCall,
    tape: Tape,
    x: Any,
    parameters: Sequence[Any],
    dy: Any,
    dfinal: Sequence[Any],
    *,
    needs_dx: bool,
) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """Transposes `run_layer`; returns the gradients of x, of the states and of the parameters."""
    steps, batch = tape.saved[0].shape
    weights = tape.saved[0].weights
    hidden = weights.state_sizes[0]
    dsequence = None if dy is None else call.steps_of(dy, call.writes)
    if any(d is not None for d in dfinal):
        scans = () if call.reads == "one" else (call.directions,)
        dfinal = [
            x.new_zeros((*scans, batch, size)) if d is None else d
            for d, size in zip(dfinal, weights.state_sizes, strict=True)
        ]
    dx, into = None, None
    if needs_dx:
        dx, into = call.empty(x, (steps, batch, weights.input_size), call.reads)
    dparameters = [x.new_zeros(parameter.shape) for parameter in parameters]
    dinitial = []
    for direction, (saved, dlast) in enumerate(zip(tape.saved, call.split(dfinal), strict=True)):
        half = slice(direction * hidden, (direction + 1) * hidden)
        grads = [grad.numpy() for grad in call.parameters(direction, dparameters)]
        _, dfirst = functional.scan_backward(
            saved,
            None if dsequence is None else dsequence[:, :, half],
            dlast,
            grads=scan_arguments(grads),
            dx=into,
            accumulate_dx=direction > 0,
            needs_dx=needs_dx,
        )
        dinitial.append(dfirst)
    if into is not None:
        dx = call.filled(dx, into)
    return dx, tuple(map(call.join, zip(*dinitial, strict=True))), dparameters


def _is_batched(*gradients: Any) -> bool:
    """Whether there are many of each: `is_grads_batched=True`, or vmap of a pullback."""
    return any(
        g is not None
        and (
            torch._C._functorch.is_legacy_batchedtensor(g)
            or torch._C._functorch.is_batchedtensor(g)
        )
        for g in gradients
    )


class Layer(torch.autograd.Function):
    """`run_layer` for autograd: apply(call, weights, x, h, c, *parameters) gives (y, h, c).

    h and c may be None; cells of one state have c None and give no c. The tape hangs on an empty
    tensor among the saved ones, so that it is freed with them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        call: LayerCall,
        weights: Sequence[functional.Weights],
        x: Any,
        h: Any,
        c: Any,
        *parameters: Any,
    ) -> Any:
        states = (h, c)[: weights[0].state_count]
        y, final, tape = run_layer(call, weights, x, states, tape=True)
        holder = x.new_empty(0)
        holder.tape = tape
        ctx.call, ctx.state_count = call, len(states)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(holder, x, h, c, *parameters)
        return (None if call.writes == "one" else y, *final)

    @staticmethod
    def backward(ctx: Any, dy: Any, *dfinal: Any) -> Any:
        holder, x, h, c, *parameters = ctx.saved_tensors
        call, needed = ctx.call, ctx.needs_input_grad[2:]
        states = (h, c)[: ctx.state_count]
        if torch.is_grad_enabled() or _is_batched(dy, *dfinal):
            grads = pull_again(call, (x, *states), parameters, needed, (dy, *dfinal))
        else:
            tape = getattr(holder, "tape", None)
            if tape is None:  # hooks for saved tensors gave us another one
                weights = pack_scans(
                    call.cell, parameters, call.directions, call.precision, backward=True
                )
                tape = run_layer(call, weights, x, states, tape=True)[2]
            dx, dstates, dparameters = pull_layer(
                call, tape, x, parameters, dy, dfinal, needs_dx=needed[0]
            )
            pad = (None,) * (2 - len(dstates))
            grads = [dx, *dstates, *pad, *dparameters]
        return (
            None,
            None,
            *(grad if need else None for grad, need in zip(grads, needed, strict=True)),
        )
