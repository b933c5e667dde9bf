"""Attention is the softmax mean of its definition, its gradient the slope of that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled import functional, reference
from unrolled.layers import Attention

# T, B, S, K, M: one of each, a vector and one more, wider than a panel, a long source
SIZES = [(1, 1, 1, 1, 1), (3, 4, 5, 7, 9), (7, 3, 17, 33, 40), (20, 2, 70, 16, 8)]
SCORES = ["dot", "general", "concat", "additive"]


def draw(rng: np.random.Generator, dtype: Any, sizes: tuple[int, ...], additive: bool) -> Any:
    """Ragged queries and sources, of which one is empty wherever there is room for it."""
    T, B, S, K, M = sizes
    scale = 1.0 if additive else K**-0.5
    queries = rng.normal(0.0, scale, (T, B, K)).astype(dtype)
    keys, values = (rng.standard_normal((S, B, n)).astype(dtype) for n in (K, M))
    vector = rng.normal(0.0, K**-0.5, K).astype(dtype) if additive else None
    lengths, places = rng.integers(1, T + 1, B), rng.integers(1, S + 1, B)
    lengths[0], places[-1] = T, S
    if B > 2:
        lengths[1], places[2] = 0, 0
    return queries, keys, values, vector, lengths, places


def truth(problem: Any, dcontexts: np.ndarray) -> Any:
    queries, keys, values, vector, lengths, places = problem
    contexts, weights = np.zeros(dcontexts.shape), np.zeros((*queries.shape[:2], len(keys)))
    gradients: list[Any] = [np.zeros(a.shape) for a in (queries, keys, values)]
    dvector = None if vector is None else np.zeros(vector.shape)
    for b, (T, S) in enumerate(zip(lengths, places, strict=True)):
        c, w, (dq, dk, dv, du) = reference.attention_vjp(
            queries[:T, b], keys[:S, b], values[:S, b], dcontexts[:T, b], vector
        )
        contexts[:T, b], weights[:T, b, :S] = c, w
        gradients[0][:T, b], gradients[1][:S, b], gradients[2][:S, b] = dq, dk, dv
        if dvector is not None:
            dvector += du
    return contexts, weights, (*gradients, dvector)


def roundings(sizes: tuple[int, ...]) -> int:
    """Products of K, M and S terms; exp and tanh of 3 ULP; sums over T and B."""
    return 3 * sum(sizes) + 20


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_kernel_is_the_reference(
    isa: str, dtype: Any, sizes: tuple[int, ...], additive: bool, rng: np.random.Generator
) -> None:
    problem = draw(rng, dtype, sizes, additive)
    queries, keys, values, vector, lengths, places = problem
    T, B, _, _, M = sizes
    dcontexts = rng.standard_normal((T, B, M)).astype(dtype)
    contexts, weights, gradients = truth(problem, dcontexts)
    memory = functional.AttentionMemory(keys, values, vector, lengths=places)
    got, got_weights = memory.attend(queries, lengths=lengths)
    K = roundings(sizes)
    assert got.dtype == got_weights.dtype == dtype
    assert_close(got, contexts, K=K, kind="head")
    assert_close(got_weights, weights, K=K, kind="head")
    assert not got_weights[weights == 0].any()
    dvector = None if vector is None else np.ones_like(vector)
    pulled = memory.pull(queries, got_weights, dcontexts, lengths=lengths, dvector=dvector)
    for one, expected in zip(pulled, gradients[:3], strict=True):
        assert_close(one, expected, K=2 * K, kind="gradient")
    if dvector is not None:
        assert_close(dvector, gradients[3] + 1.0, K=2 * K, kind="gradient")

    # The two parts of the pullback, step by step.
    dscores = np.zeros_like(got_weights)
    for t in range(T):
        live = (lengths > t).astype(np.int64)
        part = slice(t, t + 1)
        context, w = memory.attend(queries[part], lengths=live)
        assert_same_bits(context, got[part])
        assert_same_bits(w, got_weights[part])
        dqueries, _ = memory.pull_queries(
            queries[part], w, dcontexts[part], lengths=live, dscores=dscores[part]
        )
        assert_same_bits(dqueries, pulled[0][part])
    again = None if vector is None else np.ones_like(vector)
    memory_part = memory.pull_memory(
        queries, got_weights, dcontexts, dscores, lengths=lengths, dvector=again
    )
    assert_same_bits(memory_part, pulled[1:])
    assert_same_bits(again, dvector)


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_threads_layouts_and_neighbours_do_not_change_a_bit(
    dtype: Any, additive: bool, threads: None, rng: np.random.Generator
) -> None:
    queries, keys, values, vector, lengths, places = draw(
        rng, dtype, (24, 12, 40, 50, 70), additive
    )
    dcontexts = rng.standard_normal((24, 12, 70)).astype(dtype)

    def run(q: np.ndarray, k: np.ndarray, v: np.ndarray, dc: np.ndarray, rows: slice) -> Any:
        memory = functional.AttentionMemory(k, v, vector, lengths=places[rows])
        found = memory.attend(q, lengths=lengths[rows])
        dvector = None if vector is None else np.zeros_like(vector)
        pulled = memory.pull(q, found[1], dc, lengths=lengths[rows], dvector=dvector)
        return (*found, *pulled), dvector

    functional.set_num_threads(1)
    expected = run(queries, keys, values, dcontexts, slice(None))
    for count in (2, 3):
        functional.set_num_threads(count)
        assert_same_bits(run(queries, keys, values, dcontexts, slice(None)), expected)
    swapped = [
        np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1)
        for a in (queries, keys, values, dcontexts)
    ]
    assert_same_bits(run(*swapped, slice(None)), expected)
    for b in (0, 3, 11):
        rows = slice(b, b + 1)
        one, _ = run(queries[:, rows], keys[:, rows], values[:, rows], dcontexts[:, rows], rows)
        assert_same_bits(one, tuple(array[:, rows] for array in expected[0]))


def test_columns_choose_their_source(dtype: Any, rng: np.random.Generator) -> None:
    queries, keys, values, _, _, places = draw(rng, dtype, (1, 4, 9, 8, 6), False)
    memory = functional.AttentionMemory(keys, values, lengths=places, backward=False)
    sources = np.array([3, 3, 0, 1, 3])
    many = rng.standard_normal((1, 5, 8)).astype(dtype)
    contexts, weights = memory.attend(many, sources=sources)
    for n, source in enumerate(sources):
        own = many[:, n : n + 1].repeat(4, axis=1)
        one = memory.attend(np.ascontiguousarray(own))
        assert_same_bits(contexts[0, n], one[0][0, source])
        assert_same_bits(weights[0, n], one[1][0, source])
    with pytest.raises(ValueError, match="a memory packed with backward=True"):
        memory.pull(queries, weights[:, :4], contexts[:, :4])


@pytest.mark.parametrize("score", SCORES)
def test_gradient_of_the_layer_is_the_slope(score: Any, rng: np.random.Generator) -> None:
    T, B, S, H = 4, 3, 6, 5
    M = H if score == "dot" else 7
    layer = Attention(H, M, score, size=3, dtype="float64", rng=rng)
    layer.flat.values[:] = rng.standard_normal(layer.flat.values.shape)
    queries, memory = rng.standard_normal((T, B, H)), rng.standard_normal((S, B, M))
    ends: dict[str, Any] = {
        "lengths": np.array([4, 0, 2]),
        "memory_lengths": np.array([3, 6, 1]),
    }
    dcontexts = rng.standard_normal((T, B, M))
    (contexts, _), pullback = layer.vjp(queries, memory, **ends)
    assert_same_bits(layer(queries, memory, **ends)[0], contexts)
    dqueries, dmemory = pullback(dcontexts)
    grads = layer.flat.grads.copy()

    steps = layer.steps_vjp(memory, T, memory_lengths=ends["memory_lengths"])
    for t in range(T):
        context = steps(t, queries[t], (ends["lengths"] > t).astype(np.int64))
        assert_close(context, contexts[t], K=4 * (H + S), kind="forward")
    layer.zero_grads()
    stepwise = [steps.pull(t, dcontexts[t]) for t in reversed(range(T))][::-1]
    assert_close(np.stack(stepwise), dqueries, K=9 * (H + S), kind="gradient")
    assert_close(steps.finish(), dmemory, K=9 * (H + S + T), kind="gradient")
    assert_close(layer.flat.grads, grads, K=9 * (H + S + T * B), kind="gradient")

    for values, gradient in (
        (queries, dqueries),
        (memory, dmemory),
        (layer.flat.values, grads),
    ):
        centre, direction = values.copy(), rng.standard_normal(values.shape)

        def loss(sign: float) -> float:
            values[...] = centre + sign * STEP * direction  # noqa: B023
            result = float((layer(queries, memory, **ends)[0] * dcontexts).sum())
            values[...] = centre  # noqa: B023
            return result

        terms = gradient * direction
        difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
        assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


def test_values_are_those_of_torch(dtype: Any, rng: np.random.Generator) -> None:
    """`general` as masked scaled dot-product attention of torch."""
    torch = pytest.importorskip("torch", reason='pip install "unrolled[peers]"')
    T, B, S, H, M = 6, 4, 9, 8, 12
    layer = Attention(H, M, "general", dtype=dtype, rng=rng)
    queries = rng.standard_normal((T, B, H)).astype(dtype)
    memory = rng.standard_normal((S, B, M)).astype(dtype)
    places = np.array([9, 1, 4, 6])
    dcontexts = rng.standard_normal((T, B, M)).astype(dtype)
    (contexts, _), pullback = layer.vjp(queries, memory, memory_lengths=places)
    dqueries, dmemory = pullback(dcontexts)

    theirs = [torch.tensor(a, requires_grad=True) for a in (queries, memory)]
    weight = torch.tensor(layer.parameters["weight"], requires_grad=True)
    keys = theirs[1].transpose(0, 1)
    mask = torch.tensor(np.arange(S) < places[:, None])[:, None]
    out = torch.nn.functional.scaled_dot_product_attention(
        (theirs[0] @ weight.T).transpose(0, 1), keys, keys, attn_mask=mask
    ).transpose(0, 1)
    out.backward(torch.tensor(dcontexts))
    K = 3 * (H + M + S + T)
    assert_close(contexts, out.detach().numpy(), K=K, kind="peer")
    assert_close(dqueries, theirs[0].grad.numpy(), K=2 * K, kind="peer")
    assert_close(dmemory, theirs[1].grad.numpy(), K=2 * K, kind="peer")
    assert_close(layer.grads["weight"], weight.grad.numpy(), K=2 * K, kind="peer")


def test_nan_is_told(isa: str, dtype: Any, rng: np.random.Generator) -> None:
    queries, keys, values, _, _, _ = draw(rng, dtype, (2, 2, 5, 4, 4), False)
    queries[1, 0, 2] = np.nan
    contexts, _ = functional.AttentionMemory(keys, values).attend(queries)
    assert np.isnan(contexts[1, 0]).all()
    assert np.isfinite(contexts[0]).all()
    assert np.isfinite(contexts[1, 1]).all()


def test_bad_input(rng: np.random.Generator) -> None:
    keys, values = np.zeros((3, 2, 4), np.float32), np.zeros((3, 2, 5), np.float32)
    memory = functional.AttentionMemory(keys, values)
    queries = np.zeros((2, 2, 4), np.float32)
    with pytest.raises(ValueError, match=r"keys of shape \(S, B, K\) and values"):
        functional.AttentionMemory(keys[0], values)
    with pytest.raises(ValueError, match=r"values of shape \(S, B, M\)"):
        functional.AttentionMemory(keys, values[:2])
    with pytest.raises(TypeError, match="values of dtype float32, got float64"):
        functional.AttentionMemory(keys, values.astype(np.float64))
    with pytest.raises(ValueError, match=r"source lengths in 0 \.\. 3, got 4 at position 1"):
        functional.AttentionMemory(keys, values, lengths=[3, 4])
    with pytest.raises(ValueError, match=r"vector of shape \(K,\) = \(4,\), got \(5,\)"):
        functional.AttentionMemory(keys, values, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match=r"sources in 0 \.\. 1, got 2 at position 1"):
        memory.attend(queries, sources=[0, 2])
    with pytest.raises(ValueError, match=r"lengths in 0 \.\. 2, got -1 at position 0"):
        memory.attend(queries, lengths=[-1, 2])
    with pytest.raises(ValueError, match=r"queries of shape \(T, N, K\)"):
        memory.attend(queries[0])
    with pytest.raises(ValueError, match=r"queries of shape \(T, N, K\) = \(2, 2, 4\)"):
        memory.attend(np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="score to be one of dot, general, concat, additive"):
        Attention(3, 3, "cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'dot' expects queries and memory of one size"):
        Attention(3, 4, "dot")


@pytest.mark.parametrize("count", [1, 3, 50])
def test_best_tokens_are_the_first_when_sorted(
    isa: str, dtype: Any, count: int, rng: np.random.Generator
) -> None:
    logits = rng.normal(0.0, 2.0, (5, 37)).astype(dtype)
    logits[1] = np.round(logits[1])  # equals
    logits[2, 4:] = -np.inf
    banned = np.array([[4, int(logits[4].argmax())], [0, 1], [4, 2]])
    tokens, scores = functional.best_tokens(logits, count, banned=banned)
    log_p = np.stack([reference.log_softmax(row) for row in logits])
    allowed = log_p.copy()
    allowed[banned[:, 0], banned[:, 1]] = -np.inf
    order = np.argsort(-allowed, axis=1, kind="stable")[:, :count]
    expected = np.full(tokens.shape, -1)
    for n, row in enumerate(order):
        kept = row[np.isfinite(allowed[n, row])]
        expected[n, : kept.size] = kept
    assert_same_bits(tokens, expected)
    found = tokens >= 0
    chosen = np.take_along_axis(log_p, np.maximum(tokens, 0), 1)
    assert_close(scores[found], chosen[found], K=37 + 10, kind="head", dtype=dtype)
    assert np.isneginf(scores[~found]).all()


def test_bad_candidates() -> None:
    logits = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="count >= 1, got 0"):
        functional.best_tokens(logits, 0)
    with pytest.raises(ValueError, match="C-contiguous"):
        functional.best_tokens(logits.T, 1)
