"""All parameters of a model are views into one flat buffer, and stay so whatever happens to it."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled.layers import GRU, LSTM, Dropout, Embedding, Layer, Linear, SoftmaxHead
from unrolled.models import LanguageModel


class Tagger(Layer):
    """Three levels of layers, one parameter of its own, and one layer without any."""

    def __init__(self, rng: np.random.Generator, dtype: type = np.float32) -> None:
        self.model = LanguageModel(7, embedding_size=3, hidden_size=4, dtype=dtype, rng=rng)
        self.head = Linear(4, 2, dtype=dtype, rng=rng)
        self.dropout = Dropout(0.5)
        super().__init__(
            {"gain": np.ones(4, dtype)},
            {"model": self.model, "head": self.head, "dropout": self.dropout},
        )


def test_names_are_dotted_and_in_order(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    assert list(tagger.parameters) == [
        "gain",
        "model.embedding.weight",
        "model.rnn.weight_ih_l0",
        "model.rnn.weight_hh_l0",
        "model.rnn.bias_ih_l0",
        "model.rnn.bias_hh_l0",
        "model.head.weight",
        "model.head.bias",
        "head.weight",
        "head.bias",
    ]
    assert list(tagger.grads) == list(tagger.parameters)
    assert list(GRU(2, 3, 2, bidirectional=True, bias=False).parameters) == [
        f"weight_{kind}_l{layer}{suffix}"
        for layer in (0, 1)
        for suffix in ("", "_reverse")
        for kind in ("ih", "hh")
    ]


def test_slices_cover_the_buffer_matrices_first(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    flat = tagger.flat
    places = sorted((place.start, place.stop) for place in flat.slices.values())
    assert places[0][0] == 0
    assert places[-1][1] == flat.values.size == tagger.num_parameters
    assert all(a[1] == b[0] for a, b in pairwise(places))
    assert (flat.matrices.start, flat.matrices.stop) == (0, flat.vectors.start)
    assert flat.vectors.stop == flat.values.size
    for name, array in tagger.parameters.items():
        part = flat.matrices if array.ndim == 2 else flat.vectors
        assert part.start <= flat.slices[name].start
        assert flat.slices[name].stop <= part.stop
        assert flat.shapes[name] == array.shape


def check_views(layer: Layer) -> None:
    """Writes through the buffer and reads through the names, and the other way round."""
    flat = layer.flat
    for arrays, buffer in ((layer.parameters, flat.values), (layer.grads, flat.grads)):
        buffer[:] = np.arange(buffer.size)
        for name, array in arrays.items():
            assert array.base is not None
            assert np.shares_memory(array, buffer)
            assert_same_bits(array.ravel(), buffer[flat.slices[name]])
            array += 1
        assert_same_bits(buffer, np.arange(1, buffer.size + 1).astype(buffer.dtype))


def test_parameters_are_views(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    check_views(tagger)
    inner, outer = tagger.model.rnn.parameters, tagger.parameters
    assert inner["weight_ih_l0"] is outer["model.rnn.weight_ih_l0"]
    assert tagger.head.grads["bias"] is tagger.grads["head.bias"]
    check_views(LSTM(3, 4, 2, rng=rng))


def test_becoming_a_part_keeps_the_values() -> None:
    alone = [Linear(4, 2, rng=np.random.default_rng(5)) for _ in range(2)]
    values = {name: array.copy() for name, array in alone[0].parameters.items()}
    parent = Layer(children={"a": alone[0], "b": alone[1]})
    for name, value in values.items():
        assert_same_bits(parent.parameters[f"a.{name}"], value)
        assert_same_bits(alone[0].parameters[name], value)


def test_only_the_outermost_layer_has_the_buffer(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    with pytest.raises(RuntimeError, match=r"part of a Tagger, whose \.flat"):
        _ = tagger.model.flat
    with pytest.raises(RuntimeError, match="part of a LanguageModel"):
        _ = tagger.model.rnn.flat


def test_a_layer_has_one_parent(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    with pytest.raises(ValueError, match="head is already part of a Tagger"):
        Layer(children={"head": tagger.head})
    layer = Linear(2, 2, rng=rng)
    with pytest.raises(ValueError, match="b is already part of a Layer"):
        Layer(children={"a": layer, "b": layer})


def test_mappings_are_read_only(rng: np.random.Generator) -> None:
    layer = Linear(2, 2, rng=rng)
    with pytest.raises(TypeError):
        layer.parameters["weight"] = np.zeros((2, 2), np.float32)  # type: ignore[index]


def test_one_dtype(rng: np.random.Generator) -> None:
    with pytest.raises(TypeError, match="one dtype, got float32 and float64"):
        Layer(children={"a": Linear(2, 2), "b": Linear(2, 2, dtype=np.float64)})
    assert Layer(children={"a": Linear(2, 2, dtype=np.float64), "b": Dropout()}).dtype == np.float64
    assert Dropout().num_parameters == 0
    assert Dropout().flat.values.size == 0


def test_zero_grads_of_a_whole_and_of_a_part(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    tagger.flat.grads[:] = 1
    tagger.model.rnn.zero_grads()
    zero = {name for name, grad in tagger.grads.items() if not grad.any()}
    assert zero == {name for name in tagger.grads if ".rnn." in name}
    tagger.zero_grads()
    assert not tagger.flat.grads.any()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_a_buffer_of_their_own(how, tied: bool, rng: np.random.Generator) -> None:
    model = LanguageModel(7, embedding_size=4, hidden_size=4, tied=tied, rng=rng)
    values = model.flat.values.copy()
    tokens = rng.integers(0, 7, (5, 2))
    expected = model.losses(tokens, tokens)[0]
    other = how(model)
    assert_same_bits(other.flat.values, values)
    assert_same_bits(other.losses(tokens, tokens)[0], expected)
    assert not np.shares_memory(other.flat.values, model.flat.values)
    _, pullback = other.loss_vjp(tokens, tokens)
    pullback()
    assert other.flat.grads.any()
    assert not model.flat.grads.any()
    check_views(other)
    assert_same_bits(model.flat.values, values)


def test_a_copied_part_stands_alone(rng: np.random.Generator) -> None:
    tagger = Tagger(rng)
    part = copy.deepcopy(tagger.model)
    check_views(part)
    Layer(children={"model": part})


def test_load_parameters_copies(rng: np.random.Generator) -> None:
    source, target = LSTM(3, 4, rng=rng), LSTM(3, 4, init="zeros")
    target.load_parameters(source.parameters)
    assert_same_bits(target.flat.values, source.flat.values)
    assert not np.shares_memory(target.flat.values, source.flat.values)


def test_load_parameters_takes_all_or_nothing(rng: np.random.Generator) -> None:
    layer = SoftmaxHead(3, 5, rng=rng)
    before = layer.flat.values.copy()
    good = {"weight": np.zeros((5, 3), np.float32), "bias": np.zeros(5, np.float32)}
    with pytest.raises(
        ValueError,
        match=r"\[SoftmaxHead\] parameter names do not match: missing bias; unexpected b, c",
    ):
        layer.load_parameters({"weight": good["weight"], "b": good["bias"], "c": good["bias"]})
    with pytest.raises(ValueError, match=r"expected bias of shape \(5,\), got \(4,\)"):
        layer.load_parameters(good | {"bias": np.zeros(4, np.float32)})
    with pytest.raises(TypeError, match="expected bias of dtype float32, got float64"):
        layer.load_parameters(good | {"bias": np.zeros(5)})
    assert_same_bits(layer.flat.values, before)
    layer.load_parameters(good)
    assert not layer.flat.values.any()


def test_views_of_another_buffer(rng: np.random.Generator) -> None:
    flat = Embedding(3, 2, rng=rng).flat
    momentum = np.zeros_like(flat.values)
    flat.views(momentum)["weight"][1] = 1
    assert momentum.tolist() == [0, 0, 1, 1, 0, 0]
    with pytest.raises(ValueError, match=r"\(P,\) = \(6,\), got \(5,\)"):
        flat.views(momentum[1:])
