"""The layers around the recurrent ones compute what their equations say, both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference
from unrolled.layers import Dropout, Embedding, Linear, SoftmaxHead

T, B, I, H, V = 5, 4, 3, 7, 11  # noqa: E741


def normal(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = Linear(I, H, bias, dtype=dtype, rng=rng, init="torch")
    x, dy = normal(rng, dtype, T, B, I), normal(rng, dtype, T, B, H)
    weight = layer.parameters["weight"].astype(np.float64)
    expected = x @ weight.T + layer.parameters["bias"] if bias else x @ weight.T
    y, pullback = layer.vjp(x)
    assert_close(y, expected, K=I + 1, kind="forward")
    assert_same_bits(layer(x), y)
    assert_close(pullback(dy), dy @ weight, K=H, kind="gradient")
    rows = dy.reshape(-1, H).astype(np.float64)
    assert_close(layer.grads["weight"], rows.T @ x.reshape(-1, I), K=T * B, kind="gradient")
    if bias:
        assert_close(layer.grads["bias"], rows.sum(axis=0), K=T * B, kind="gradient")
    assert pullback(dy, needs_dx=False) is None
    assert repr(layer) == f"Linear(3, 7{'' if bias else ', bias=False'}, dtype={layer.dtype})"


def test_embedding(dtype: Any, rng: np.random.Generator) -> None:
    layer = Embedding(V, H, dtype=dtype, rng=rng)
    indices, dy = rng.integers(0, V, (T, B)), normal(rng, dtype, T, B, H)
    y, pullback = layer.vjp(indices)
    assert_same_bits(y, layer.parameters["weight"][indices])
    pullback(dy)
    expected = np.zeros((V, H))
    np.add.at(expected, indices, dy)
    assert_close(layer.grads["weight"], expected, K=T * B, kind="gradient")
    for bad in (-1, V):
        with pytest.raises(ValueError):
            layer(np.array([[bad]]))


@pytest.mark.parametrize("count", [V - 1, V])
def test_lookup_where_it_saves_work(count: int, rng: np.random.Generator) -> None:
    layer = Embedding(V, H, dtype=np.float64, rng=rng)
    indices = rng.integers(0, V, (count, 1))
    x, pullback = layer.lookup_vjp(indices)
    assert isinstance(x, functional.Lookup) == (count == V)
    assert isinstance(layer.lookup(indices), functional.Lookup) == (count == V)
    gathered = x.gather() if isinstance(x, functional.Lookup) else x
    assert_same_bits(gathered, layer(indices))
    dtable = np.zeros((V, H))
    np.add.at(dtable, indices, 1.0)
    pullback(dtable if count == V else np.ones((count, 1, H)))
    assert_same_bits(layer.grads["weight"], dtable)


def test_tied_embedding_is_the_other_weight(rng: np.random.Generator) -> None:
    head = SoftmaxHead(H, V, dtype=np.float64, rng=rng)
    layer = Embedding(V, H, tied_to=head)
    assert layer.weight is head.parameters["weight"]
    assert not layer.parameters
    indices = np.array([3, 3, 5])
    layer.vjp(indices)[1](np.ones((3, H)))
    assert head.grads["weight"].sum(axis=1).tolist() == [0, 0, 0, 2 * H, 0, H, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"tied weight \(V, E\) = \(11, 8\), got \(11, 7\)"):
        Embedding(V, H + 1, tied_to=head)


def test_dropout(dtype: Any, rng: np.random.Generator) -> None:
    layer = Dropout(0.25)
    x = np.ones((100, 40), dtype)
    assert layer(x) is x
    y, pullback = layer.vjp(x, rng=rng)
    kept = y != 0
    assert_close(y[kept], np.full(kept.sum(), 1 / 0.75), K=1, kind="elementwise")
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / x.size)  # four standard deviations
    assert_same_bits(pullback(x), y, "the same mask both ways")
    with pytest.raises(ValueError, match="needs rng"):
        layer.vjp(x)
    assert Dropout(0.0).vjp(x)[0] is x
    with pytest.raises(ValueError, match=r"0 <= p < 1, got 1\.5"):
        Dropout(1.5)


@pytest.mark.parametrize("bias", [True, False])
def test_softmax_head(bias: bool, dtype: Any, rng: np.random.Generator) -> None:
    layer = SoftmaxHead(H, V, bias, dtype=dtype, rng=rng, init="torch")
    x, targets = normal(rng, dtype, T, B, H), rng.integers(0, V, (T, B))
    targets[1, 2] = targets[4, 0] = -1
    counted = T * B - 2
    losses, dx, dweight, dbias = reference.linear_cross_entropy_vjp(
        x.reshape(-1, H),
        layer.parameters["weight"],
        layer.parameters.get("bias"),
        targets.ravel(),
        2.5 / counted,
    )
    K = H + V
    assert_close(layer.losses(x, targets), losses.reshape(T, B), K=K, kind="head")
    loss, pullback = layer.loss_vjp(x, targets)
    assert_close(loss, losses.sum() / counted, K=K, kind="head", dtype=dtype)
    assert_close(pullback(2.5), dx.reshape(T, B, H), K=K, kind="gradient")
    assert_close(layer.grads["weight"], dweight, K=K + T * B, kind="gradient")
    if bias:
        assert_close(layer.grads["bias"], dbias, K=K + T * B, kind="gradient")

    log_p = reference.log_softmax(layer.logits(x))
    expected = np.where(
        targets < 0, 0.0, -np.take_along_axis(log_p, abs(targets)[..., None], 2)[..., 0]
    )
    assert_close(layer.losses(x, targets), expected, K=K, kind="head")


def test_softmax_head_where_nothing_counts(rng: np.random.Generator) -> None:
    layer = SoftmaxHead(H, V, rng=rng)
    loss, pullback = layer.loss_vjp(normal(rng, np.float32, B, H), np.full(B, -1))
    assert loss == 0.0
    assert not pullback().any()
    assert not layer.flat.grads.any()


def test_softmax_head_errors(rng: np.random.Generator) -> None:
    layer, x = SoftmaxHead(H, V, rng=rng), np.zeros((T, B, H), np.float32)
    with pytest.raises(
        ValueError, match=r"\[SoftmaxHead\] expected targets of shape .* = \(5, 4\)"
    ):
        layer.losses(x, np.zeros((B, T), np.int64))
    with pytest.raises(ValueError, match=r"expected x of shape \(..., H\) = \(..., 7\), got"):
        layer.loss_vjp(x[..., 1:], np.zeros((T, B), np.int64))
    with pytest.raises(ValueError):
        layer.losses(x, np.full((T, B), V))
