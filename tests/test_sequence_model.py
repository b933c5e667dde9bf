"""A sequence model is its layers put together, and its pullback is theirs in reverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stacks import gradient_roundings, reference_stack
from tolerances import assert_close, assert_same_bits
from unrolled.models import SequenceModel

T, B, I, O, H = 6, 4, 3, 2, 5  # noqa: E741


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_and_gradients(
    cell: str, dtype: Any, layers: int, every_step: bool, rng: np.random.Generator
) -> None:
    model = SequenceModel(
        I, O, hidden_size=H, num_layers=layers, cell=cell, every_step=every_step, dtype=dtype,
        rng=rng,
    )  # fmt: skip
    x = rng.standard_normal((T, B, I)).astype(dtype)
    lengths = np.array([6, 2, 4, 1])
    rows = np.arange(B)
    y, pullback = model.vjp(x, lengths)
    assert_same_bits(model(x, lengths), y)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = pullback(dy)

    weight = model.head.parameters["weight"].astype(np.float64)
    hidden = reference_stack(model.rnn, x, lengths=lengths)["y"]
    dhidden = np.zeros_like(hidden)
    if every_step:
        read = hidden.reshape(-1, H)
        dhidden[:] = dy @ weight
    else:
        read = hidden[lengths - 1, rows]  # after each row's own last step
        dhidden[lengths - 1, rows] = dy @ weight
    expected = reference_stack(model.rnn, x, lengths=lengths, dy=dhidden)
    K = gradient_roundings(model.rnn, T, B) + H + O
    dyf = dy.reshape(-1, O).astype(np.float64)
    outputs = read @ weight.T + model.head.parameters["bias"]
    assert_close(y, outputs.reshape(y.shape), K=K, kind="forward")
    assert_close(dx, expected["dx"], K=K, kind="gradient", what="dx")
    for name, value in expected["grads"].items():
        assert_close(model.grads[f"rnn.{name}"], value, K=K, kind="gradient", what=name)
    assert_close(model.grads["head.weight"], dyf.T @ read, K=K + T * B, kind="gradient")
    assert_close(model.grads["head.bias"], dyf.sum(axis=0), K=T * B, kind="gradient")


def test_pullback_without_dx(rng: np.random.Generator) -> None:
    one = SequenceModel(I, O, hidden_size=H, rng=np.random.default_rng(0))
    other = SequenceModel(I, O, hidden_size=H, rng=np.random.default_rng(0))
    x = rng.standard_normal((T, B, I)).astype(np.float32)
    for model, needs_dx in ((one, True), (other, False)):
        y, pullback = model.vjp(x)
        dx = pullback(np.ones_like(y), needs_dx=needs_dx)
        assert (dx is not None) == needs_dx
    assert_same_bits(one.flat.grads, other.flat.grads)


def test_config_builds_the_same_architecture() -> None:
    model = SequenceModel(
        I, O, hidden_size=H, num_layers=2, cell="gru", every_step=True, dtype=np.float64
    )
    again = SequenceModel.from_config(model.config, init="zeros")
    assert again.config == model.config
    again.load_parameters(model.parameters)
    x = np.random.default_rng(0).standard_normal((T, B, I))
    assert_same_bits(again(x), model(x))
