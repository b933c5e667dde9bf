"""Stacks of torch's recurrent layers, one row and one direction at a time, with options of ours.

What `merge`, `residual`, `learn_initial_state`, widths and masks mean is written out here in torch,
whose tape has the gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stacks import as_state, as_tuple, forward_roundings, gradient_roundings
from tolerances import assert_close
from unrolled.layers import Recurrent

_KINDS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "lstm_projected": "LSTM"}


class TorchStack:
    """A layer of ours, time-major or batch-first, in torch."""

    def __init__(self, layer: Recurrent[Any], residual: tuple[bool, ...] = ()) -> None:
        self.torch = pytest.importorskip("torch", reason='pip install "unrolled[torch]"')
        self.layer, self.residual = layer, residual or (False,) * layer.num_layers
        self.modules: dict[str, Any] = {}
        self.initial: dict[str, list[Any]] = {}
        for k, hidden in enumerate(layer.hidden_sizes):
            for direction in range(layer.num_directions):
                self._add(f"_l{k}" + "_reverse" * direction, hidden)

    def _add(self, ending: str, hidden: int) -> None:
        layer, torch = self.layer, self.torch
        own = {
            name.removesuffix(ending) + "_l0": torch.from_numpy(array.copy())
            for name, array in layer.parameters.items()
            if name.endswith(ending)
        }
        begin = [own.pop(f"initial_{name}_l0", None) for name in layer._state_names]
        options = {"proj_size": layer.proj_size} if layer.proj_size else {}
        module = getattr(torch.nn, _KINDS[layer.cell])(
            own["weight_ih_l0"].shape[1], hidden, **options
        ).to(own["weight_ih_l0"].dtype)
        module.load_state_dict(own)
        self.modules[ending] = module
        if layer.learn_initial_state:
            self.initial[ending] = [each.requires_grad_() for each in begin]

    def __call__(
        self, x: Any, state: Any, lengths: np.ndarray | None, mask: np.ndarray | None
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """y (T, B, .) and the states of each scan, (B, H) each; all time-major.

        `state`: those that each scan begins with, or None.
        """
        steps, batch = x.shape[:2]
        ends = np.full(batch, steps) if lengths is None else lengths
        live = np.ones((steps, batch), bool) if mask is None else mask
        final = []
        for k in range(self.layer.num_layers):
            halves = []
            for direction in range(self.layer.num_directions):
                ending = f"_l{k}" + "_reverse" * direction
                own = None if state is None else state[len(final)]
                if own is None and ending in self.initial:
                    own = [each.expand(batch, -1) for each in self.initial[ending]]
                rows = [
                    self._row(ending, x[:, b], own, b, int(ends[b]), live[:, b])
                    for b in range(batch)
                ]
                halves.append(self.torch.stack([y for y, _ in rows], 1))
                columns = zip(*(last for _, last in rows), strict=True)
                final.append(tuple(self.torch.stack(of) for of in columns))
            summed = self.layer.merge == "sum"
            y = sum(halves[1:], halves[0]) if summed else self.torch.cat(halves, 2)
            x = y + x if self.residual[k] else y
        return x, final

    def _row(
        self, ending: str, x: Any, state: Any, b: int, end: int, live: np.ndarray
    ) -> tuple[Any, tuple[Any, ...]]:
        """y (T, H) and the final states of row b."""
        torch, module = self.torch, self.modules[ending]
        order = range(end - 1, -1, -1) if "reverse" in ending else range(end)
        h_size = module.proj_size or module.hidden_size
        sizes = [h_size, module.hidden_size][: len(self.layer._state_names)]
        own = [x.new_zeros(n) for n in sizes] if state is None else [each[b] for each in state]
        taken = [t for t in order if live[t]]
        outputs = {}
        final = tuple(own)
        if taken:
            begin = as_state(tuple(each[None] for each in own))
            every, last = module(x[taken], begin)
            final = tuple(each[0] for each in as_tuple(last))
            outputs = dict(zip(taken, every, strict=True))
        y, h = [x.new_zeros(h_size)] * len(x), own[0]
        for t in order:
            h = outputs.get(t, h)
            y[t] = h
        return torch.stack(y), final


def assert_equals_torch(
    layer: Recurrent[Any],
    steps: int,
    batch: int,
    *,
    residual: tuple[bool, ...] = (),
    with_state: bool = False,
    lengths: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> None:
    """Outputs, states and all gradients of `layer` are torch's; mask (T, B)."""
    rng = np.random.default_rng(5)
    theirs = TorchStack(layer, residual)
    torch = theirs.torch

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(layer.dtype)

    x, dy = draw(steps, batch, layer.input_size), draw(steps, batch, layer.output_size)
    dstate = as_state(tuple(draw(*shape) for shape in layer._shapes(batch)))
    state = as_state(tuple(draw(*shape) for shape in layer._shapes(batch))) if with_state else None

    tensor = torch.from_numpy(x.copy()).requires_grad_()
    parts = None
    if state is not None:
        given = layer._split(state, batch)
        parts = [[torch.from_numpy(a.copy()).requires_grad_() for a in own] for own in given]
    y, final = theirs(tensor, parts, lengths, mask)
    wanted = [y, *(a for own in final for a in own)]
    dfinal = [a for own in layer._split(dstate, batch) for a in own]
    torch.autograd.backward(wanted, [torch.from_numpy(a.copy()) for a in (dy, *dfinal)])

    def turned(array: np.ndarray | None) -> Any:
        if array is None or not layer.batch_first:
            return array
        return np.ascontiguousarray(array.swapaxes(0, 1))

    layer.zero_grads()
    (own_y, own_final), pullback = layer.vjp(turned(x), state, lengths=lengths, mask=turned(mask))
    dx, dinitial = pullback(turned(dy), dstate)

    K, L = forward_roundings(layer, steps), gradient_roundings(layer, steps, batch)
    assert_close(turned(own_y), y.detach(), K=2 * K, kind="peer", what="y")
    for got, want in zip(layer._split(own_final, batch), final, strict=True):
        for a, e in zip(got, want, strict=True):
            assert_close(a, e.detach(), K=2 * K, kind="peer", what="state")
    assert_close(turned(dx), tensor.grad, K=2 * L, kind="peer", what="dx")
    if parts is not None:
        for got, want in zip(layer._split(dinitial, batch), parts, strict=True):
            for a, e in zip(got, want, strict=True):
                assert_close(a, e.grad, K=2 * L, kind="peer", what="dstate")
    for ending, module in theirs.modules.items():
        for name, parameter in module.named_parameters():
            own_name = name.removesuffix("_l0") + ending
            grad = layer.grads[own_name]
            assert_close(grad, parameter.grad, K=2 * L, kind="peer", what=own_name)
    for ending, arrays in theirs.initial.items():
        for name, array in zip(layer._state_names, arrays, strict=True):
            own_name = f"initial_{name}{ending}"
            want = np.zeros(array.shape) if array.grad is None else array.grad
            assert_close(layer.grads[own_name], want, K=2 * L, kind="peer", what=own_name)
