"""CTC is the sum over all paths of its definition, its gradient the slope of that."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled import functional, reference

V = 5


def roundings(frames: int, symbols: int) -> int:
    """A step of alpha or beta: two sums, two exp of 2 ULP, log1p of 3 ULP; a softmax over V."""
    return 10 * frames + symbols


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def paths(log_p: np.ndarray, labels: tuple[int, ...], blank: int) -> Iterator[Any]:
    """Every path that spells the labels, with its log-probability."""
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        if collapse(path, blank) == labels:
            yield sum(log_p[range(len(path)), path]), path


LABELS = [(), (1,), (2, 2), (1, 2), (3, 1, 3), (1, 1, 1), (2, 1, 1, 2)]


@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_reference_is_the_sum_over_paths(
    frames: int, labels: tuple[int, ...], blank: int, rng: np.random.Generator
) -> None:
    labels = tuple(label if label != blank else 4 for label in labels)
    logits = rng.normal(0.0, 2.0, (frames, V))
    log_p = reference.log_softmax(logits) if frames else logits
    found = [value for value, _ in paths(log_p, labels, blank)]
    expected = -np.logaddexp.reduce(found) if found else np.inf
    loss, dlogits = reference.ctc_loss_vjp(logits, labels, blank)
    np.testing.assert_allclose(loss, expected, rtol=1e-12, atol=1e-12)
    if not found or not frames:
        assert not dlogits.any()
        return
    direction = rng.standard_normal(logits.shape)
    above = reference.ctc_loss_vjp(logits + STEP * direction, labels, blank)[0]
    below = reference.ctc_loss_vjp(logits - STEP * direction, labels, blank)[0]
    assert_slope((dlogits * direction).sum(), (above - below) / (2 * STEP), abs(loss))


# T, B, V, S: nothing, one of each, a vector of labels and one more, a long sequence
SIZES = [(0, 2, 3, 2), (1, 1, 2, 1), (4, 3, 5, 0), (9, 4, 7, 4), (40, 3, 17, 17), (70, 5, 33, 31)]


def draw(rng: np.random.Generator, dtype: Any, sizes: tuple[int, ...], blank: int) -> Any:
    """Ragged sequences, of which the last has all frames, with repeated labels."""
    frames, batch, symbols, length = sizes
    logits = rng.normal(0.0, 2.0, (frames, batch, symbols)).astype(dtype)
    others = np.delete(np.arange(symbols), blank)
    labels = rng.choice(others, (batch, length))
    labels[:, 1::3] = labels[:, : length - 1 : 3]
    label_lengths = rng.integers(0, length + 1, batch)
    label_lengths[0] = length
    input_lengths = rng.integers(0, frames + 1, batch)
    input_lengths[-1] = frames
    labels[np.arange(length) >= label_lengths[:, None]] = -7  # padding is not read
    return logits, labels, {"input_lengths": input_lengths, "label_lengths": label_lengths}


def truth(logits: np.ndarray, labels: np.ndarray, lengths: Any, blank: int) -> Any:
    losses, dlogits = np.empty(len(labels)), np.zeros(logits.shape)
    for b, row in enumerate(labels):
        frames = lengths["input_lengths"][b]
        spelled = row[: lengths["label_lengths"][b]].tolist()
        losses[b], dlogits[:frames, b] = reference.ctc_loss_vjp(logits[:frames, b], spelled, blank)
    return losses, dlogits


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["blank-first", "blank-last"])
def test_kernel_is_the_reference(
    isa: str, dtype: Any, sizes: tuple[int, ...], last: bool, rng: np.random.Generator
) -> None:
    blank = sizes[2] - 1 if last else 0
    logits, labels, lengths = draw(rng, dtype, sizes, blank)
    expected, slopes = truth(logits, labels, lengths, blank)
    losses, dlogits = functional.ctc_loss_vjp(logits, labels, **lengths, blank=blank)
    assert losses.dtype == dlogits.dtype == dtype
    finite = np.isfinite(expected)
    assert_same_bits(np.isposinf(losses), ~finite)
    K = roundings(sizes[0], sizes[2])
    assert_close(losses[finite], expected[finite], K=K, kind="head")
    assert_close(dlogits, slopes, K=2 * K, kind="gradient")
    alone = functional.ctc_loss(logits, labels, **lengths, blank=blank)
    assert_same_bits(alone, losses)


@pytest.mark.parametrize("confidence", [1.0, 12.0])
def test_long_sequences_lose_no_digits(confidence: float) -> None:
    """800 frames, from unsure to sure of the right symbols: as exact as one frame is."""
    dtype = np.float32  # the float64 truth keeps sums of thousands
    rng = np.random.default_rng(5)
    frames, symbols, length = 800, 30, 120
    labels = rng.integers(1, symbols, (1, length))
    logits = rng.normal(0.0, 1.0, (frames, 1, symbols)).astype(dtype)
    places = np.sort(rng.choice(frames, length, replace=False))
    logits[:, 0, 0] += confidence
    logits[places, 0, :] -= dtype(confidence) * np.eye(symbols, dtype=dtype)[0]
    logits[places, 0, labels[0]] += dtype(confidence)
    loss, dlogits = functional.ctc_loss_vjp(logits, labels)
    expected, slopes = reference.ctc_loss_vjp(logits[:, 0], labels[0].tolist())
    # Errors of the frames add up like a random walk, far below the bound of their sum.
    assert_close(loss[0], expected, K=symbols + 10, kind="head", dtype=dtype)
    assert_close(dlogits[:, 0], slopes, K=roundings(frames, symbols), kind="gradient")


def test_what_no_path_spells(dtype: Any, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((4, 4, V)).astype(dtype)
    labels = np.array([[1, 1, 1], [1, 2, 3], [1, 2, 3], [4, 2, 1]])
    logits[:, 3, 2] = -np.inf  # masked
    losses, dlogits = functional.ctc_loss_vjp(logits, labels, input_lengths=[4, 4, 2, 4])
    assert_same_bits(np.isposinf(losses), np.array([True, False, True, True]))
    assert not dlogits[:, [0, 2, 3]].any()
    assert dlogits[:, 1].any()
    path, scores = functional.ctc_align(logits, labels, input_lengths=[4, 4, 2, 4])
    assert_same_bits(np.isneginf(scores), np.isposinf(losses))
    assert (path[:, [0, 2, 3]] == -1).all()


def test_a_masked_symbol_that_is_not_needed(isa: str, dtype: Any, rng: np.random.Generator) -> None:
    logits = rng.standard_normal((6, 1, V)).astype(dtype)
    logits[2:4, 0, 3] = -np.inf
    loss, dlogits = functional.ctc_loss_vjp(logits, [[1, 3]])
    with np.errstate(invalid="ignore"):
        expected, slopes = reference.ctc_loss_vjp(logits[:, 0], [1, 3])
    assert_close(loss[0], expected, K=roundings(6, V), kind="head", dtype=dtype)
    assert_close(dlogits[:, 0], slopes, K=2 * roundings(6, V), kind="gradient")


def test_nan_is_told(isa: str, dtype: Any, rng: np.random.Generator) -> None:
    logits, labels = rng.standard_normal((6, 2, V)).astype(dtype), [[1, 3], [2, 2]]
    logits[3, 0, 4] = np.nan
    losses, dlogits = functional.ctc_loss_vjp(logits, labels)
    assert np.isnan(losses[0])
    assert np.isnan(dlogits[:, 0]).any()
    assert np.isfinite(losses[1])
    assert np.isfinite(dlogits[:, 1]).all()


def test_threads_and_layouts_do_not_change_a_bit(
    dtype: Any, threads: None, rng: np.random.Generator
) -> None:
    logits, labels, lengths = draw(rng, dtype, (60, 40, 30, 12), 0)
    functional.set_num_threads(1)
    expected = functional.ctc_loss_vjp(logits, labels, **lengths)
    for count in (2, 3):
        functional.set_num_threads(count)
        assert_same_bits(functional.ctc_loss_vjp(logits, labels, **lengths), expected)
    batch_first = np.ascontiguousarray(logits.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert_same_bits(functional.ctc_loss_vjp(batch_first, labels, **lengths), expected)
    for b in (0, 7, 39):
        own = {name: value[b : b + 1] for name, value in lengths.items()}
        one = functional.ctc_loss_vjp(logits[:, b : b + 1], labels[b : b + 1], **own)
        assert_same_bits(one, (expected[0][b : b + 1], expected[1][:, b : b + 1]))


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_alignment_is_the_best_path(
    dtype: Any, frames: int, labels: tuple[int, ...], rng: np.random.Generator
) -> None:
    logits = rng.normal(0.0, 2.0, (frames, 1, V)).astype(dtype)
    log_p = reference.log_softmax(logits[:, 0]) if frames else logits[:, 0]
    best = max(paths(log_p, labels, 0), default=None)
    path, scores = functional.ctc_align(logits, np.array([labels], np.int64))
    if best is None:
        assert scores[0] == -np.inf
        assert (path == -1).all()
        return
    np.testing.assert_allclose(scores[0], best[0], rtol=1e-12, atol=1e-12)
    symbols = [labels[i] if i >= 0 else 0 for i in path[:, 0]]
    assert tuple(symbols) == best[1]
    assert [i for i, _ in itertools.groupby(path[:, 0]) if i >= 0] == list(range(len(labels)))


def test_alignment_of_ragged_batches(dtype: Any, rng: np.random.Generator) -> None:
    logits, labels, lengths = draw(rng, dtype, (30, 6, 9, 8), 0)
    path, scores = functional.ctc_align(logits, labels, **lengths)
    for b, frames in enumerate(lengths["input_lengths"]):
        count = lengths["label_lengths"][b]
        alone, score = functional.ctc_align(logits[:frames, b : b + 1], labels[b : b + 1, :count])
        assert_same_bits(path[:frames, b], alone[:, 0])
        assert_same_bits(scores[b : b + 1], score)
        assert (path[frames:, b] == -1).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": [[1, 5], [1, 2]]}, r"labels in 0 \.\. 4 other than the blank 0, got 5 at posi"),
        (
            {"labels": [[1, 0], [1, 2]]},
            r"other than the blank 0, got 0 at position 1 of sequence 0",
        ),
        ({"labels": [1, 2]}, r"labels of shape \(B, S\), got \(3, 2, 5\) and \(2,\)"),
        ({"labels": [[1, 2]]}, r"labels of shape \(B, S\), got"),
        ({"blank": 5}, r"blank in 0 \.\. 4, got 5"),
        ({"blank": -1}, r"blank in 0 \.\. 4, got -1"),
        ({"input_lengths": [3, 4]}, r"input_lengths in 0 \.\. 3, got 4 of sequence 1"),
        ({"label_lengths": [-1, 2]}, r"label_lengths in 0 \.\. 2, got -1 of sequence 0"),
        ({"label_lengths": [2]}, r"label_lengths of shape \(B,\) = \(2,\), got \(1,\)"),
        ({"logits": np.zeros((3, 5), np.float32)}, r"logits of shape \(T, B, V\)"),
        ({"logits": np.zeros((3, 2, 10), np.float32)[..., ::2]}, "unit stride along its last axis"),
    ],
)
def test_wrong_values(change: Any, text: str) -> None:
    arguments: Any = {"logits": np.zeros((3, 2, V), np.float32), "labels": [[1, 2], [2, 1]]}
    for function in (functional.ctc_loss, functional.ctc_loss_vjp, functional.ctc_align):
        with pytest.raises(ValueError, match=text):
            function(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"logits": np.zeros((3, 2, V), np.float16)}, "logits of dtype float32 or float64"),
        ({"labels": [[1.0, 2.0], [2.0, 1.0]]}, "labels of an integer dtype"),
        ({"input_lengths": [2.0, 3.0]}, "input_lengths of an integer dtype"),
    ],
)
def test_wrong_dtypes(change: Any, text: str) -> None:
    arguments: Any = {"logits": np.zeros((3, 2, V), np.float32), "labels": [[1, 2], [2, 1]]}
    with pytest.raises(TypeError, match=text):
        functional.ctc_loss(**(arguments | change))


def test_values_are_those_of_torch(dtype: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    logits, labels, lengths = draw(rng, dtype, (50, 8, 20, 10), 0)
    lengths["input_lengths"][:] = np.maximum(lengths["input_lengths"], 25)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1),
        torch.tensor(np.where(labels < 0, 0, labels)),
        torch.tensor(lengths["input_lengths"]),
        torch.tensor(lengths["label_lengths"]),
        reduction="none",
    )
    expected.sum().backward()
    losses, dlogits = functional.ctc_loss_vjp(logits, labels, **lengths)
    K = roundings(50, 20)
    assert_close(losses, expected.detach().numpy(), K=K, kind="peer")
    assert_close(dlogits, theirs.grad.numpy(), K=2 * K, kind="peer")
