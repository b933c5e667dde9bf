"""Packed weights are made once, and anew with every change of a parameter."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import numpy as np
import pytest

import unrolled
from tolerances import assert_same_bits
from torch_layers import H, I, fast, flat, kernels_alone, make_pair, tensors, torch

pytestmark = pytest.mark.usefixtures("one_thread")

T, B = 4, 3


def input_of(rng: np.random.Generator, dtype: Any = np.float32) -> Any:
    return tensors(rng, dtype, (T, B, I))[0]


def run(module: Any, x: Any) -> list[Any]:
    """Outputs without autograd, by our kernels."""
    with torch.no_grad(), kernels_alone():
        return flat(module(x))


def _step(kind: Any, **options: Any) -> Any:
    def change(module: Any) -> None:
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        kind(module.parameters(), lr=0.1, **options).step()

    return change


def _each(function: Any) -> Any:
    def change(module: Any) -> None:
        for parameter in module.parameters():
            function(parameter)

    return change


def _new_parameters(module: Any) -> None:
    for name, parameter in [*module.named_parameters()]:
        setattr(module, name, torch.nn.Parameter(parameter.detach() * 2))


def _numpy(parameter: Any) -> None:
    parameter.detach().numpy()[...] *= 2


def _data(parameter: Any) -> None:
    parameter.data = parameter.data * 2


def _one_element(module: Any) -> None:
    next(module.parameters()).data[0, 0] += 1
    module.flatten_parameters()


CHANGES: dict[str, Any] = {
    "sgd": _step(torch.optim.SGD),
    "fused sgd": _step(torch.optim.SGD, fused=True),
    "adam": _step(torch.optim.Adam),
    "fused adam": _step(torch.optim.Adam, fused=True),
    "in place in data": _each(lambda p: p.data.mul_(2)),
    "new data": _each(_data),
    "NumPy": _each(_numpy),
    "one of them": lambda module: module.bias_hh_l0.data.add_(1),
    "one element, said": _one_element,
    "other parameters": _new_parameters,
    "state dict": lambda module: module.load_state_dict(
        {name: value * 2 for name, value in module.state_dict().items()}
    ),
    "there and back": lambda module: (
        module.double()
        .float()
        .load_state_dict({name: value * 2 for name, value in module.state_dict().items()})
    ),
}


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_parameters_are_seen(change: Any, grad: bool, rng: np.random.Generator) -> None:
    _, ours = make_pair(("LSTM", {}))
    x = input_of(rng)
    with torch.set_grad_enabled(grad):
        before = ours(x)[0].detach()
        change(ours)
        after = ours(x)[0].detach()
    assert not torch.equal(after, before)
    assert_same_bits([after], [run(copy.deepcopy(ours), x)[0]])


def test_functional_call_takes_other_parameters(rng: np.random.Generator) -> None:
    _, ours = make_pair(("LSTM", {}))
    x = input_of(rng)
    before = run(ours, x)
    twice = {name: value.detach() * 2 for name, value in ours.named_parameters()}
    with kernels_alone(), torch.no_grad():
        got = flat(torch.func.functional_call(ours, twice, (x,)))
    assert_same_bits(run(ours, x), before)
    ours.load_state_dict(twice)
    assert_same_bits(got, run(ours, x))


def test_weights_are_packed_once_for_all_steps(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """By steps without autograd, by steps of a cell with it, and once an update."""
    packed: list[str] = []
    pack = unrolled.functional.pack

    def counting(cell: str, *args: Any, **options: Any) -> Any:
        packed.append(cell)
        return pack(cell, *args, **options)

    monkeypatch.setattr(unrolled.functional, "pack", counting)
    layer, cell = fast.LSTM(I, H, 2), fast.GRUCell(I, H)
    (x,) = tensors(rng, np.float32, (T, B, I))
    state, h = None, None
    with torch.inference_mode():
        for x_t in x.split(1):
            _, state = layer(x_t, state)
    assert packed == ["lstm"] * 2
    packed.clear()
    for x_t in x:
        h = cell(x_t, h)
    assert packed == ["gru"]
    packed.clear()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(2):
        layer(x)[0].sum().backward()
        optimizer.step()
    assert packed == ["lstm"] * 4


def _weight_norm(module: Any) -> None:
    torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")


def _old_weight_norm(module: Any) -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        torch.nn.utils.weight_norm(module, "weight_hh_l0")


def _pruned(module: Any) -> None:
    prune = importlib.import_module("torch.nn.utils.prune")
    prune.l1_unstructured(module, "weight_ih_l0", amount=0.5)


@pytest.mark.parametrize("change", [_weight_norm, _old_weight_norm, _pruned])
def test_weights_made_from_others(change: Any, rng: np.random.Generator) -> None:
    theirs, ours = make_pair(("LSTM", {}), dtype=torch.float64)
    x = input_of(rng, np.float64)
    for module in (theirs, ours):
        change(module)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            module(x)[0].square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    with torch.no_grad(), kernels_alone():
        got = ours(x)[0]
    torch.testing.assert_close(got, theirs(x)[0].detach())
