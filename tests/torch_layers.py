"""torch's recurrent layers and ours side by side: what the tests of `interop.torch` share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tolerances import assert_close

torch = pytest.importorskip("torch", reason='torch is not installed: pip install "unrolled[torch]"')

from unrolled.interop import torch as fast  # noqa: E402 - needs torch

I, H = 5, 7  # noqa: E741

LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm_projected": ("LSTM", {"proj_size": 3}),
}
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTMCell", {}),
    "gru": ("GRUCell", {}),
    "rnn_tanh": ("RNNCell", {}),
    "rnn_relu": ("RNNCell", {"nonlinearity": "relu"}),
}
NAMES = [*{name for name, _ in (*LAYERS.values(), *CELLS.values())}]


def make_pair(kind: tuple[str, dict[str, Any]], *args: Any, **options: Any) -> tuple[Any, Any]:
    """torch's module and ours, with the same parameters."""
    name, extra = kind
    torch.manual_seed(7)
    theirs = getattr(torch.nn, name)(*(args or (I, H)), **extra, **options)
    ours = getattr(fast, name)(*(args or (I, H)), **extra, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@contextmanager
def kernels_alone() -> Iterator[None]:
    """torch's own implementations fail in here."""

    def forward(self: Any, *args: Any) -> Any:
        raise AssertionError(f"{type(self)} ran in torch")

    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setattr(getattr(torch.nn, name), "forward", forward)
        yield


@contextmanager
def torch_alone() -> Iterator[None]:
    """Our kernels fail in here."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("our kernels ran")

    with pytest.MonkeyPatch.context() as patch:
        for file, function in itertools.product(("_layers", "_cells"), ("apply_layer", "run_step")):
            patch.setattr(f"unrolled.interop.torch.{file}.{function}", refuse)
        yield


def tensors(rng: np.random.Generator, dtype: Any, *shapes: tuple[int, ...]) -> list[Any]:
    return [torch.from_numpy(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def flat(value: Any) -> list[Any]:
    """All tensors of an output, states and packed sequences included."""
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [value.data]
    if isinstance(value, tuple):
        return [tensor for part in value for tensor in flat(part)]
    return [value]


def gradients(module: Any, inputs: Sequence[Any], outputs: Sequence[Any], seed: int) -> list[Any]:
    """The gradients of inputs and parameters, for random gradients of all outputs."""
    rng = np.random.default_rng(seed)
    given = [torch.from_numpy(rng.standard_normal(y.shape)).to(y.dtype) for y in outputs]
    return list(torch.autograd.grad(outputs, [*inputs, *module.parameters()], given))


def steps_of(module: Any) -> tuple[int, int, int]:
    """Layers, the widest of a layer's inputs, and gates."""
    gates = module.weight_hh_l0.shape[0] // module.hidden_size
    widest = max(module.input_size, module.hidden_size * (2 if module.bidirectional else 1))
    return module.num_layers, widest, gates


def assert_layers_agree(
    ours: Sequence[Any], theirs: Sequence[Any], module: Any, steps: int, batch: int, kind: str
) -> None:
    """Compares with the tolerance of tests/tolerances.py; both round, so twice the roundings."""
    layers, widest, gates = steps_of(module)
    hidden = module.hidden_size
    each = {"forward": widest + hidden + gates, "gradient": widest + (gates + 1) * hidden + batch}
    assert len(ours) == len(theirs)
    for k, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        assert got.dtype == want.dtype
        assert_close(
            got.detach(),
            want.detach(),
            K=2 * layers * steps * each[kind],
            kind=kind,
            what=f"{kind} {k}",
        )
