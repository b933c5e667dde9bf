"""Initial values are what their names promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import assert_close, assert_same_bits
from unrolled import functional
from unrolled.layers import (
    GRU,
    LSTM,
    RNN,
    Embedding,
    Linear,
    ParameterSpec,
    Recurrent,
    _initialisers,
    chrono,
    glorot_uniform,
    initialisers,
    orthogonal,
    register_initialiser,
)

I, H = 6, 10  # noqa: E741


def blocks(layer: Recurrent[Any], name: str) -> dict[str, np.ndarray]:
    """Gate name -> its block of rows."""
    gates = functional.cell_info(layer.cell).gates
    parts = np.split(layer.parameters[name], len(gates))
    return dict(zip(gates, parts, strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (7, 3), (3, 7)])
def test_orthogonal_matrix(shape: tuple[int, int], rng: np.random.Generator) -> None:
    q = orthogonal(*shape, rng)
    assert q.shape == shape
    gram = q @ q.T if shape[0] <= shape[1] else q.T @ q
    assert_close(gram, np.eye(min(shape)), K=max(shape), kind="elementwise")


def test_orthogonal_is_not_always_the_same_reflection(rng: np.random.Generator) -> None:
    signs = {float(orthogonal(1, 1, rng)[0, 0]) for _ in range(50)}
    assert signs == {-1.0, 1.0}


def test_default(cell: str, rng: np.random.Generator) -> None:
    layer = Recurrent(cell, I, H, 2, bidirectional=True, dtype=np.float64, rng=rng)
    for ending, inputs in (("_l0", I), ("_l0_reverse", I), ("_l1", 2 * H), ("_l1_reverse", 2 * H)):
        if functional.cell_info(cell).recurrent:
            for block in blocks(layer, "weight_hh" + ending).values():
                assert_close(block @ block.T, np.eye(H), K=H, kind="elementwise")
        bound = np.sqrt(6 / (inputs + H))
        for block in blocks(layer, "weight_ih" + ending).values():
            assert 0.8 * bound < np.abs(block).max() <= bound
        for gate, block in blocks(layer, "bias_ih" + ending).items():
            total = block.copy()
            if "bias_hh" + ending in layer.parameters:
                total += blocks(layer, "bias_hh" + ending)[gate]
            assert np.all(total == (1.0 if gate == "f" else 0.0))
        if units := functional.cell_info(cell).units:
            low, high = (0.0, 1.0) if units == ("u",) else (-(H**-0.5), H**-0.5)
            own = layer.parameters["weight_unit" + ending]
            assert own.shape == (len(units) * H,)
            if functional.cell_info(cell).normalises:
                ones = [float(name.startswith("gain")) for name in units]
                np.testing.assert_array_equal(own, np.repeat(ones, H))
                continue
            assert low <= own.min() < own.max() <= high


def test_torch_is_uniform(rng: np.random.Generator) -> None:
    layer = GRU(I, H, rng=rng, init="torch")
    bound = 1 / np.sqrt(H)
    for name, array in layer.parameters.items():
        assert 0.8 * bound < np.abs(array).max() <= bound, name
        assert array.min() < 0 < array.max()
    linear = Linear(I, H, rng=rng, init="torch")
    assert all(np.abs(a).max() <= 1 / np.sqrt(I) for a in linear.parameters.values())


def test_others(rng: np.random.Generator) -> None:
    rnn = RNN(I, H, nonlinearity="relu", rng=rng, init="identity")
    assert_same_bits(rnn.parameters["weight_hh_l0"], np.eye(H, dtype=np.float32))
    assert not LSTM(I, H, rng=rng, init="zeros").flat.values.any()
    xavier = blocks(LSTM(I, H, rng=rng, init="xavier"), "weight_hh_l0")
    assert all(np.abs(block).max() <= np.sqrt(6 / (2 * H)) for block in xavier.values())
    he = blocks(RNN(I, H, rng=rng, init="he"), "weight_ih_l0")
    assert all(np.abs(block).max() <= np.sqrt(6 / I) for block in he.values())


def test_embedding_is_normal(rng: np.random.Generator) -> None:
    weight = Embedding(100, 50, rng=rng).parameters["weight"]
    assert abs(float(weight.mean())) < 4 / np.sqrt(weight.size)  # four standard deviations
    assert abs(float(weight.var()) - 1) < 4 * np.sqrt(2 / weight.size)


@pytest.mark.parametrize("init", initialisers())
@pytest.mark.parametrize("make", [LSTM, GRU, RNN, Linear, Embedding])
def test_every_name_fills_every_layer(make: Any, init: str, dtype: Any) -> None:
    first, same, other = (
        make(I, H, dtype=dtype, rng=np.random.default_rng(seed), init=init) for seed in (1, 1, 2)
    )
    assert first.dtype == dtype
    assert np.isfinite(first.flat.values).all()
    assert_same_bits(first.flat.values, same.flat.values)
    assert init == "zeros" or np.any(first.flat.values != other.flat.values)


def test_without_rng_layers_differ() -> None:
    assert np.any(LSTM(I, H).flat.values != LSTM(I, H).flat.values)


def test_callable(rng: np.random.Generator) -> None:
    seen: list[ParameterSpec] = []

    def init(spec: ParameterSpec, rng: np.random.Generator) -> np.ndarray:
        seen.append(spec)
        return np.full(spec.shape, len(seen))

    layer = LSTM(I, H, rng=rng, init=init)
    assert [array.flat[0] for array in layer.parameters.values()] == [1, 2, 3, 4]
    gates = ("i", "f", "g", "o")
    assert seen == [
        ParameterSpec("weight_ih_l0", "input", (4 * H, I), gates, H),
        ParameterSpec("weight_hh_l0", "recurrent", (4 * H, H), gates, H),
        ParameterSpec("bias_ih_l0", "input_bias", (4 * H,), gates, H),
        ParameterSpec("bias_hh_l0", "recurrent_bias", (4 * H,), gates, H),
    ]
    with pytest.raises(ValueError, match=r"expected weight of shape \(10, 6\), got \(6, 10\)"):
        Linear(I, H, rng=rng, init=lambda spec, rng: glorot_uniform(I, H, rng))


def test_registered_name(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(_initialisers, "_registry", dict(_initialisers._registry))
    register_initialiser("ones", lambda spec, rng: np.ones(spec.shape))
    assert "ones" in initialisers()
    assert np.all(GRU(I, H, rng=rng, init="ones").flat.values == 1)
    with pytest.raises(ValueError, match="'ones' is taken"):
        register_initialiser("ones", lambda spec, rng: np.ones(spec.shape))
    with pytest.raises(ValueError, match=r"expected init to be one of orthogonal, .*, got 'two'"):
        GRU(I, H, rng=rng, init="two")


def test_chrono_opens_gates_for_up_to_the_span(cell: str, rng: np.random.Generator) -> None:
    span, size = 200.0, 500
    layer = Recurrent(cell, 1, size, dtype=np.float64, rng=rng, init=chrono(span))
    biases = blocks(layer, "bias_ih_l0")
    gate = {("i", "f", "g", "o"): "f", ("r", "z", "n"): "z"}.get(tuple(biases))
    for name, block in biases.items():
        if name == gate:
            kept = np.exp(block)  # sigmoid(b) = e^b / (1 + e^b): forgets over 1 + e^b steps
            assert 1.0 <= kept.min() < 10.0
            assert span - 10.0 < kept.max() <= span - 1.0
        elif gate == "f" and name == "i":
            np.testing.assert_array_equal(block, -biases["f"])
        else:
            assert np.all(block == (1.0 if name == "f" else 0.0))
    if functional.cell_info(cell).recurrent:
        assert not layer.parameters["bias_hh_l0"].any()
    with pytest.raises(ValueError, match=r"\[chrono\] expected span >= 2, got 1"):
        chrono(1.0)
