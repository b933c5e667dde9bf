"""The layers around the recurrence: linear, linear + softmax cross-entropy, embedding."""

from __future__ import annotations

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional, reference

# (N, I, O): no rows, one of each, lanes - 1 and + 1, primes, and more than one block of each.
LINEAR_SIZES = [
    (0, 3, 4),
    (1, 1, 1),
    (1, 37, 5),
    (2, 5, 15),
    (5, 16, 17),
    (13, 7, 131),
    (530, 20, 33),
    (3, 1030, 40),
    (3, 40, 1030),
]


def normal(rng: np.random.Generator, dtype: type, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("sizes", LINEAR_SIZES, ids=str)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
def test_linear(
    isa: str, dtype: type, sizes: tuple, with_bias: bool, rng: np.random.Generator
) -> None:
    rows, inputs, outputs = sizes
    x, dy = normal(rng, dtype, rows, inputs), normal(rng, dtype, rows, outputs)
    weight = normal(rng, dtype, outputs, inputs)
    bias = normal(rng, dtype, outputs) if with_bias else None
    x64, dy64, w64 = (a.astype(np.float64) for a in (x, dy, weight))

    y = functional.linear(x, weight, bias)
    assert y.dtype == dtype
    expected = x64 @ w64.T + (0.0 if bias is None else bias.astype(np.float64))
    assert_close(y, expected, K=inputs + 1, kind="forward", what="y")

    dweight = np.full_like(weight, 2.0)
    dbias = np.full_like(bias, 3.0) if with_bias else None
    dx = functional.linear_backward(x, weight, dy, dweight=dweight, dbias=dbias)
    assert_close(dx, dy64 @ w64, K=outputs, kind="gradient", what="dx")
    assert_close(dweight, dy64.T @ x64 + 2.0, K=rows + 1, kind="gradient", what="dweight")
    if dbias is not None:
        assert_close(dbias, dy64.sum(axis=0) + 3.0, K=rows + 1, kind="gradient", what="dbias")
    again = np.full_like(weight, 2.0)
    none = functional.linear_backward(x, weight, dy, dweight=again, needs_dx=False)
    assert none is None
    assert_same_bits(again, dweight)


@pytest.mark.parametrize("rows", [0, 1, 3, 17])
def test_packed_linear_gives_the_bits_of_linear_and_is_a_snapshot(
    isa: str, dtype: type, rows: int, rng: np.random.Generator
) -> None:
    x, weight, bias = normal(rng, dtype, rows, 7), normal(rng, dtype, 70, 7), normal(rng, dtype, 70)
    expected = functional.linear(x, weight, bias)
    packed, plain = functional.PackedLinear(weight, bias), functional.PackedLinear(weight)
    assert_same_bits(plain(x), functional.linear(x, weight))
    weight[...] = np.nan
    bias[...] = np.nan
    assert_same_bits(packed(x), expected)
    with pytest.raises(ValueError, match=r"x of shape \(N, I\) = \(2, 7\), got \(2, 8\)"):
        packed(np.zeros((2, 8), dtype))
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError, match=r"x of dtype"):
        packed(x.astype(other))


def test_linear_keeps_leading_axes(isa: str, dtype: type, rng: np.random.Generator) -> None:
    x, weight = normal(rng, dtype, 3, 4, 5), normal(rng, dtype, 6, 5)
    y = functional.linear(x, weight)
    assert y.shape == (3, 4, 6)
    assert_same_bits(y.reshape(12, 6), functional.linear(x.reshape(12, 5), weight))
    dweight, flat = np.zeros_like(weight), np.zeros_like(weight)
    dx = functional.linear_backward(x, weight, y, dweight=dweight)
    expected = functional.linear_backward(x.reshape(12, 5), weight, y.reshape(12, 6), dweight=flat)
    assert dx.shape == x.shape
    assert_same_bits((dx.reshape(12, 5), dweight), (expected, flat))
    assert functional.linear(x[0, 0], weight).shape == (6,)


def test_rows_do_not_see_each_other(isa: str, dtype: type, rng: np.random.Generator) -> None:
    """One row of a stream gets the same bits as the row in a batch."""
    x, weight, bias = (
        normal(rng, dtype, 67, 33),
        normal(rng, dtype, 131, 33),
        normal(rng, dtype, 131),
    )
    targets = rng.integers(0, 131, 67)
    dy = normal(rng, dtype, 67, 131)
    y = functional.linear(x, weight, bias)
    dx = functional.linear_backward(x, weight, dy, dweight=np.zeros_like(weight))
    losses, dhidden, *_ = functional.linear_cross_entropy_vjp(x, weight, bias, targets, 0.5)
    inference = functional.linear_cross_entropy(x, weight, bias, targets)
    for n in (0, 1, 30, 66):
        row = slice(n, n + 1)
        assert_same_bits(functional.linear(x[row], weight, bias), y[row])
        alone = functional.linear_backward(x[row], weight, dy[row], dweight=np.zeros_like(weight))
        assert_same_bits(alone, dx[row])
        one = functional.linear_cross_entropy_vjp(x[row], weight, bias, targets[row], 0.5)
        assert_same_bits(one[:2], (losses[row], dhidden[row]))
        assert_same_bits(
            functional.linear_cross_entropy(x[row], weight, bias, targets[row]), inference[row]
        )


@pytest.mark.parametrize(
    "sizes",
    [(0, 3, 4), (1, 1, 1), (4, 2, 2), (7, 5, 17), (33, 9, 100), (300, 8, 15), (70, 4, 17001)],
    ids=lambda s: f"N{s[0]}-H{s[1]}-V{s[2]}",
)  # fmt: skip
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no_bias"])
def test_linear_cross_entropy(
    isa: str, dtype: type, sizes: tuple, with_bias: bool, rng: np.random.Generator
) -> None:
    rows, hidden, vocabulary = sizes
    x, weight = normal(rng, dtype, rows, hidden), normal(rng, dtype, vocabulary, hidden)
    bias = normal(rng, dtype, vocabulary) if with_bias else None
    targets = rng.integers(-1, vocabulary, rows)
    before = [a.copy() for a in (x, weight, targets)]
    scale = 1.0 / max(rows, 1)
    expected = reference.linear_cross_entropy_vjp(x, weight, bias, targets, scale)

    losses = functional.linear_cross_entropy(x, weight, bias, targets)
    # Summing V exponentials rounds V times; an error of the logits moves the loss by at most twice.
    roundings = 2 * (hidden + 1) + vocabulary
    assert losses.dtype == dtype
    assert_close(losses, expected[0], K=roundings, kind="head", what="losses")
    assert not losses[targets < 0].any()

    got = functional.linear_cross_entropy_vjp(x, weight, bias, targets, scale)
    assert_close(got[0], expected[0], K=roundings, kind="head", what="losses")
    roundings += vocabulary + rows
    assert_close(got[1], expected[1], K=roundings, kind="head", what="dx")
    assert_close(got[2], expected[2], K=roundings, kind="head", what="dweight")
    if bias is None:
        assert got[3] is None
    else:
        assert_close(got[3], expected[3], K=roundings, kind="head", what="dbias")
    for array, copy in zip((x, weight, targets), before, strict=True):
        assert_same_bits(array, copy)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_smoothed_labels(isa: str, dtype: type, smoothing: float, rng: np.random.Generator) -> None:
    rows, hidden, vocabulary = 33, 9, 101
    x, weight = normal(rng, dtype, rows, hidden), normal(rng, dtype, vocabulary, hidden)
    targets = rng.integers(-1, vocabulary, rows)
    expected = reference.linear_cross_entropy_vjp(
        x, weight, None, targets, 0.5, smoothing=smoothing
    )
    got = functional.linear_cross_entropy_vjp(x, weight, None, targets, 0.5, smoothing=smoothing)
    roundings = 2 * (hidden + 1) + 2 * vocabulary + rows
    for one, truth in zip(got[:3], expected[:3], strict=True):
        assert_close(one, truth, K=roundings, kind="head")
    with pytest.raises(ValueError, match=r"smoothing in \[0, 1\), got 1"):
        functional.linear_cross_entropy_vjp(x, weight, None, targets, smoothing=1.0)


def test_cross_entropy_of_huge_logits(isa: str, dtype: type) -> None:
    """exp of the logits overflows; the loss does not."""
    x, weight = np.ones((2, 1), dtype), np.array([[1e4], [-1e4], [0.0]], dtype)
    losses, dx, dweight, _ = functional.linear_cross_entropy_vjp(
        x, weight, None, np.array([0, 1]), 1.0
    )
    assert_close(losses, [0.0, 2e4], K=1, kind="head", what="losses")
    assert_close(dx, [[0.0], [2e4]], K=1, kind="head", what="dx")
    assert_close(dweight, [[1.0], [-1.0], [0.0]], K=1, kind="head", what="dweight")


def test_cross_entropy_nan_stays_in_its_row(
    isa: str, dtype: type, rng: np.random.Generator
) -> None:
    x, weight = normal(rng, dtype, 5, 3), normal(rng, dtype, 40, 3)
    targets = np.array([3, 1, 39, 0, 7])
    clean = functional.linear_cross_entropy_vjp(x, weight, None, targets, 1.0)
    x[2, 1] = np.nan
    losses, dx, *_ = functional.linear_cross_entropy_vjp(x, weight, None, targets, 1.0)
    others = [0, 1, 3, 4]
    assert np.isnan(losses[2])
    assert np.isnan(dx[2]).all()
    assert_same_bits((losses[others], dx[others]), (clean[0][others], clean[1][others]))
    assert np.isnan(functional.linear_cross_entropy(x, weight, None, targets)[2])
    weight[17] = np.nan  # one bad class makes every softmax unknown
    assert np.isnan(functional.linear_cross_entropy(x, weight, None, targets)).all()


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4)], ids=str)
def test_embedding(isa: str, dtype: type, shape: tuple, rng: np.random.Generator) -> None:
    weight, indices = normal(rng, dtype, 11, 5), rng.integers(0, 11, shape)
    y = functional.embedding(indices, weight)
    assert_same_bits(y, weight[indices])
    assert not np.shares_memory(y, weight)
    dy, dweight = normal(rng, dtype, *shape, 5), np.ones_like(weight)
    functional.embedding_backward(indices, dy, dweight=dweight)
    expected = np.ones(weight.shape)
    np.add.at(expected, indices, dy)
    assert_close(dweight, expected, K=13, kind="gradient")


def test_embedding_of_one_word(isa: str, dtype: type) -> None:
    """Every row adds to the same place, in order."""
    dweight = np.zeros((3, 2), dtype)
    functional.embedding_backward(np.full(1000, 1), np.ones((1000, 2), dtype), dweight=dweight)
    np.testing.assert_array_equal(dweight, np.array([[0, 0], [1000, 1000], [0, 0]], dtype))
