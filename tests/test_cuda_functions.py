"""CTC, attention, convolutions, pooling and norms on a CUDA device: the functions of the host.

In float64 on the host. As test_cuda_head.py, on an emulated device and on a GPU where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cuda_cases import draw
from tolerances import assert_close, assert_same_bits
from unrolled import cuda, functional

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def wide(*arrays: np.ndarray | None) -> list[Any]:
    return [None if array is None else array.astype(np.float64) for array in arrays]


def put(device: Any, *arrays: np.ndarray | None) -> list[Any]:
    return [None if array is None else device.put(array) for array in arrays]


# T, B, V, S; the states of the last one are more than a block has threads
CTC = [(1, 1, 2, 1), (4, 3, 5, 0), (9, 4, 7, 4), (40, 3, 300, 17), (280, 1, 5, 140)]


def ctc_problem(T: int, B: int, V: int, S: int, blank: int) -> tuple[Any, Any, dict[str, Any]]:
    """Ragged sequences with repeated labels, of which some have no path."""
    rng = np.random.default_rng((T, B, V, S))
    logits = rng.normal(0.0, 2.0, (T, B, V)).astype(np.float32)
    labels = rng.choice(np.delete(np.arange(V), blank), (B, S))
    labels[:, 1::3] = labels[:, : S - 1 : 3]
    counts, frames = rng.integers(0, S + 1, B), rng.integers(0, T + 1, B)
    counts[0], frames[-1] = S, T
    return logits, labels, {"input_lengths": frames, "label_lengths": counts, "blank": blank}


@pytest.mark.parametrize("last", [False, True], ids=["blank-first", "blank-last"])
@pytest.mark.parametrize("sizes", CTC, ids=str)
def test_ctc(device: Any, sizes: tuple[int, int, int, int], last: bool) -> None:
    T, _, V, _ = sizes
    logits, labels, options = ctc_problem(*sizes, V - 1 if last else 0)
    truth, slopes = functional.ctc_loss_vjp(logits.astype(np.float64), labels, **options)
    losses, dlogits = cuda.ctc_loss_vjp(device.put(logits), labels, **options)
    alone = cuda.ctc_loss(device.put(logits), labels, **options)
    got, finite = device.get(losses), np.isfinite(truth)
    assert_same_bits(device.get(alone), got)
    assert_same_bits(np.isposinf(got), ~finite)
    K = T * 12 + V  # a few exp and log1p of 2 ULP in each frame
    assert_close(got[finite], truth[finite], K=K, kind="head")
    assert_close(device.get(dlogits), slopes, K=2 * K, kind="gradient")


def test_ctc_of_a_part_of_the_outputs(device: Any) -> None:
    """As a recogniser has them, whose other outputs are no symbols of CTC."""
    logits, labels, options = ctc_problem(6, 3, 5, 2, 0)
    both = device.put(np.concatenate([logits, logits], axis=2))
    expected = cuda.ctc_loss_vjp(device.put(logits), labels, **options)
    for actual, truth in zip(
        cuda.ctc_loss_vjp(both[..., :5], labels, **options), expected, strict=True
    ):
        assert_same_bits(device.get(actual), device.get(truth))


def test_ctc_of_masked_symbols(device: Any) -> None:
    """A logit of -inf: no path where it is needed, else all as without the symbol."""
    logits, labels = draw(6, 2, 5), np.array([[1, 2], [3, 4]])
    logits[:, 1, 3] = -np.inf
    logits[2, 0, 4] = -np.inf
    truth, slopes = functional.ctc_loss_vjp(logits.astype(np.float64), labels)
    losses, dlogits = cuda.ctc_loss_vjp(device.put(logits), labels)
    assert device.get(losses)[1] == np.inf
    assert_close(device.get(losses)[:1], truth[:1], K=80, kind="head")
    assert_close(device.get(dlogits), slopes, K=160, kind="gradient")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": [[0]]}, "expected labels in 0 .. 4 other than the blank 0, got 0"),
        ({"labels": [[5]]}, "expected labels in 0 .. 4 other than the blank 0, got 5"),
        ({"blank": 5}, "expected blank in 0 .. 4, got 5"),
        ({"input_lengths": [4]}, "expected input_lengths in 0 .. 3, got 4 of sequence 0"),
        ({"label_lengths": [2]}, "expected label_lengths in 0 .. 1, got 2 of sequence 0"),
        ({"labels": [1]}, r"logits of shape \(T, B, V\) and labels of shape \(B, S\)"),
    ],
    ids=str,
)
def test_wrong_arguments_of_ctc(device: Any, change: dict[str, Any], text: str) -> None:
    options: dict[str, Any] = {"labels": [[1]], **change}
    with pytest.raises(ValueError, match=rf"\[ctc_loss\] .*{text}"):
        cuda.ctc_loss_vjp(device.put(draw(3, 1, 5)), options.pop("labels"), **options)


# T, B, S, K, M
ATTENTION = [(1, 1, 1, 1, 1), (3, 4, 5, 7, 9), (2, 3, 17, 33, 40), (2, 2, 270, 5, 300)]


def attention_problem(T: int, B: int, S: int, K: int, M: int, additive: bool) -> Any:
    """Ragged queries and sources, of which one is empty wherever there is room for it."""
    rng = np.random.default_rng((T, B, S, K, M))
    shapes = ((T, B, K), (S, B, K), (S, B, M), (T, B, M))
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    vector = rng.normal(0.0, K**-0.5, K).astype(np.float32) if additive else None
    lengths, places = rng.integers(1, T + 1, B), rng.integers(1, S + 1, B)
    lengths[0], places[-1] = T, S
    if B > 2:
        lengths[1], places[2] = 0, 0
    return (*arrays, vector, lengths, places)


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
@pytest.mark.parametrize("sizes", ATTENTION, ids=str)
def test_attention(device: Any, sizes: tuple[int, ...], additive: bool) -> None:
    queries, keys, values, dcontexts, vector, lengths, places = attention_problem(*sizes, additive)
    host = functional.AttentionMemory(*wide(keys, values, vector), lengths=places)
    q, d = wide(queries, dcontexts)
    contexts, weights = host.attend(q, lengths=lengths)
    truth_vector = None if vector is None else np.ones(vector.shape)
    truth = host.pull(q, weights, d, lengths=lengths, dvector=truth_vector)

    K = 3 * sum(sizes) + 20
    memory = cuda.AttentionMemory(*put(device, keys, values, vector), lengths=places)
    given, gradient = put(device, queries, dcontexts)
    got, got_weights = memory.attend(given, lengths=lengths)
    assert_close(device.get(got), contexts, K=K, kind="head")
    assert_close(device.get(got_weights), weights, K=K, kind="head")
    assert not device.get(got_weights)[weights == 0].any()
    begin = None if vector is None else np.ones_like(vector)
    (dvector,) = put(device, begin)
    pulled = memory.pull(given, got_weights, gradient, lengths=lengths, dvector=dvector)
    for actual, expected in zip(pulled, truth, strict=True):
        assert_close(device.get(actual), expected, K=2 * K, kind="gradient")
    if vector is not None:
        assert_close(device.get(dvector), truth_vector, K=2 * K, kind="gradient")

    # In two parts: the bits of one.
    dqueries, dscores = memory.pull_queries(given, got_weights, gradient, lengths=lengths)
    (again,) = put(device, begin)
    dkeys, dvalues = memory.pull_memory(
        given, got_weights, gradient, dscores, lengths=lengths, dvector=again
    )
    for actual, expected in zip((dqueries, dkeys, dvalues), pulled, strict=True):
        assert_same_bits(device.get(actual), device.get(expected))
    if vector is not None:
        assert_same_bits(device.get(again), device.get(dvector))


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_a_query_among_others(device: Any, additive: bool) -> None:
    """Columns may share a source; a context has the bits that it has alone."""
    queries, keys, values, _, vector, _, places = attention_problem(2, 3, 17, 33, 40, additive)
    places[:] = [17, 5, 9]
    memory = cuda.AttentionMemory(*put(device, keys, values, vector), lengths=places)
    sources = np.array([2, 0, 2])
    contexts, weights = memory.attend(device.put(queries), sources=sources)
    for n, source in enumerate(sources):
        column = device.put(np.ascontiguousarray(queries[:1, n : n + 1]))
        alone, own = memory.attend(column, sources=[source])
        assert_same_bits(device.get(contexts)[:1, n], device.get(alone)[:, 0])
        assert_same_bits(device.get(weights)[:1, n], device.get(own)[:, 0])


def test_wrong_arguments_of_attention(device: Any) -> None:
    keys, queries = put(device, draw(4, 2, 3), draw(5, 2, 3))
    with pytest.raises(ValueError, match=r"\[attention\] expected keys of shape \(S, B, K\)"):
        cuda.AttentionMemory(keys[0], keys)
    memory = cuda.AttentionMemory(keys, keys, lengths=[5, 1])
    with pytest.raises(ValueError, match=r"source lengths in 0 \.\. 4"):
        memory.attend(queries)
    memory = cuda.AttentionMemory(keys, keys)
    with pytest.raises(ValueError, match=r"sources in 0 \.\. 1"):
        memory.attend(queries, sources=[0, 2])
    with pytest.raises(ValueError, match=r"queries of shape \(T, N, K\)"):
        memory.attend(device.put(draw(5, 2, 4)))


# x (N, H, W, C), O, groups, kernel, stride, padding
Conv = tuple[tuple[int, ...], int, int, tuple[int, int], tuple[int, int], Any]
CONVS: list[Conv] = [
    ((2, 5, 6, 3), 4, 1, (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((1, 7, 5, 1), 3, 1, (5, 3), (1, 2), ((0, 0), (1, 1))),
    ((2, 6, 7, 4), 5, 1, (3, 2), (2, 3), "same"),
    ((3, 4, 4, 6), 8, 1, (1, 1), (1, 1), ((0, 0), (0, 0))),
    ((2, 5, 5, 3), 2, 1, (1, 1), (2, 2), ((0, 0), (0, 0))),
    ((2, 6, 5, 36), 36, 36, (3, 3), (2, 1), "same"),
    ((2, 4, 5, 6), 4, 2, (2, 3), (1, 1), ((1, 0), (2, 2))),
    ((0, 4, 5, 2), 3, 1, (3, 3), (1, 1), "same"),
]


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_convolution(device: Any, case: Conv, activation: Any) -> None:
    shape, O, groups, kernel, stride, padding = case  # noqa: E741
    x, weight, bias = draw(*shape), draw(O, shape[3] // groups, *kernel), 3 * draw(O)
    windows = functional.Windows(kernel, stride, padding)
    options: dict[str, Any] = {"groups": groups, "activation": activation}
    y = functional.conv2d(*wide(x, weight, bias), windows, **options)
    dy, before = draw(*y.shape), [draw(*weight.shape, seed=1), draw(O, seed=1)]
    truth = wide(*before)
    dx = functional.conv2d_backward(
        *wide(x, weight),
        y,
        dy.astype(np.float64),
        windows,
        **options,
        dweight=truth[0],
        dbias=truth[1],
    )
    given = put(device, x, weight, bias)
    got = cuda.conv2d(*given, windows, **options)
    taps, places = weight[0].size, y[..., 0].size
    assert_close(device.get(got), y, K=taps + 1, kind="forward")
    grads = put(device, *before)
    actual = cuda.conv2d_backward(
        *given[:2], got, device.put(dy), windows, **options, dweight=grads[0], dbias=grads[1]
    )
    assert_close(device.get(actual), dx, K=taps * O + 1, kind="gradient")
    for gradient, expected in zip(grads, truth, strict=True):
        assert_close(device.get(gradient), expected, K=places + 1, kind="gradient")
    residual = draw(*y.shape, seed=2)
    z = functional.conv2d(*wide(x, weight, bias), windows, groups=groups) + residual
    limits = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
    packed = cuda.PackedConv2d(*given[1:], windows, **options)
    given[1][...] = 0  # the packed one has copies
    expected = np.clip(z, *limits[activation])
    assert_close(
        device.get(packed(given[0], device.put(residual))), expected, K=taps + 2, kind="forward"
    )


def test_convolution_of_many_places(device: Any) -> None:
    """In chunks of images: what 2 images see is more than is written out at a time."""
    x, weight = draw(2, 1030, 16, 1), draw(1, 1, 1023, 1)
    windows = functional.Windows((1023, 1), (1, 1), ((511, 511), (0, 0)))
    y = functional.conv2d(*wide(x, weight), None, windows)
    assert y[0].size * 1023 > 2**23
    got = cuda.conv2d(*put(device, x, weight), None, windows)
    assert_close(device.get(got), y, K=1023, kind="forward")


def test_wrong_arguments_of_convolution(device: Any) -> None:
    windows = functional.Windows((3, 3))
    x, weight = put(device, draw(1, 5, 5, 2), draw(4, 2, 3, 3))
    with pytest.raises(ValueError, match="expected images"):
        cuda.conv2d(x[:, :2], weight, None, windows)
    with pytest.raises(ValueError, match="groups that divide O"):
        cuda.conv2d(x, weight, None, windows, groups=3)
    with pytest.raises(ValueError, match=r"x of shape \(N, H, W, C\)"):
        cuda.conv2d(device.put(draw(1, 5, 5, 3)), weight, None, windows)
    with pytest.raises(ValueError, match="activation to be one of none, relu, relu6"):
        cuda.conv2d(x, weight, None, windows, activation="tanh")  # type: ignore[arg-type]


POOLS: list[tuple[tuple[int, ...], tuple[int, int], tuple[int, int], Any]] = [
    ((2, 5, 6, 3), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((1, 6, 5, 2), (3, 2), (1, 1), ((1, 1), (0, 1))),
    ((2, 4, 4, 40), (3, 3), (2, 2), "same"),
]


@pytest.mark.parametrize("case", POOLS, ids=str)
def test_max_pool(device: Any, case: Any) -> None:
    """To the bit: with equal values, of which the first wins, and a NaN, which always does."""
    shape, kernel, stride, padding = case
    x = np.round(2 * draw(*shape))
    x[0, 1, 2, 0] = np.nan
    windows = functional.Windows(kernel, stride, padding)
    y = functional.max_pool(x, windows)
    dy = np.round(8 * draw(*y.shape))  # whose sums are exact in any order
    got = cuda.max_pool(device.put(x), windows)
    np.testing.assert_array_equal(device.get(got), y)
    dx = cuda.max_pool_backward(device.put(x), got, device.put(dy), windows)
    np.testing.assert_array_equal(device.get(dx), functional.max_pool_backward(x, y, dy, windows))


@pytest.mark.parametrize("of_batch", [False, True], ids=["frozen", "batch"])
@pytest.mark.parametrize("activation", ["none", "relu6"])
@pytest.mark.parametrize("shape", [(2, 3), (5, 1), (2, 3, 4, 35), (70, 33)], ids=str)
def test_batch_norm(device: Any, shape: tuple[int, ...], activation: Any, of_batch: bool) -> None:
    C, rows = shape[-1], int(np.prod(shape[:-1]))
    x, dy, weight, bias = draw(*shape), draw(*shape, seed=1), draw(C, seed=2), 4 * draw(C)
    mean, variance = functional.moments(x.astype(np.float64))
    moments = cuda.moments(device.put(x))
    assert_close(device.get(moments[0]), mean, K=2, kind="forward")
    assert_close(device.get(moments[1]), variance, K=2, kind="forward")
    if not of_batch:
        mean, variance = mean + 0.3, 2.0 * variance + 0.1
    own = [each.astype(np.float32) for each in (mean, variance)]
    options: dict[str, Any] = {"eps": 1e-3, "activation": activation}
    wide_x, wide_weight = wide(x, weight)
    y = functional.normalise(wide_x, *wide(*own), wide_weight, bias.astype(np.float64), **options)
    before = [draw(C, seed=3), draw(C, seed=4)]
    truth = wide(*before)
    dx = functional.normalise_backward(
        wide_x,
        *wide(*own),
        wide_weight,
        y,
        dy.astype(np.float64),
        **options,
        of_batch=of_batch,
        dweight=truth[0],
        dbias=truth[1],
    )
    given = put(device, x, *own, weight)
    got = cuda.normalise(*given, device.put(bias), **options)
    assert_close(device.get(got), y, K=6, kind="forward")
    grads = put(device, *before)
    actual = cuda.normalise_backward(
        *given,
        got,
        device.put(dy),
        **options,
        of_batch=of_batch,
        dweight=grads[0],
        dbias=grads[1],
    )
    assert_close(device.get(actual), dx, K=rows + 8, kind="gradient")
    for gradient, expected in zip(grads, truth, strict=True):
        assert_close(device.get(gradient), expected, K=rows + 2, kind="gradient")
