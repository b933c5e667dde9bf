"""A gradient that is handed out during back-propagation does not change any more."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled import LSTM, Embedding, LanguageModel, Layer, Linear, SoftmaxHead
from unrolled.training import CompleteParts

T, B, V, H = 5, 3, 300, 128  # matrices of 64 KiB and more
RNG = np.random.default_rng(0)
TOKENS, TARGETS = RNG.integers(0, V, (2, T, B))


class Observed:
    """Copies each part of the gradients when it is handed out."""

    def __init__(self, model: Layer) -> None:
        self.flat = model.flat
        self.copies: list[tuple[slice, Any]] = []
        self.parts = CompleteParts(model.flat, self._copy)
        model.listen(self.parts)

    def _copy(self, place: slice) -> None:
        self.copies.append((place, self.flat.grads[place].copy()))

    def names(self, places: list[slice]) -> list[list[str]]:
        return [
            [n for n, s in self.flat.slices.items() if p.start <= s.start and s.stop <= p.stop]
            for p in places
        ]

    def check(self) -> None:
        """Handed out parts have their last value, and every gradient is in one part."""
        for place, early in self.copies:
            assert early.any()
            assert_same_bits(self.flat.grads[place], early, str(place))
        count = np.zeros(self.flat.grads.size, int)
        for place in [place for place, _ in self.copies] + self.parts.rest():
            count[place] += 1
        assert (count == 1).all()


def language_model(**options: Any) -> LanguageModel:
    options = {"embedding_size": H, "hidden_size": H, "rng": np.random.default_rng(1), **options}
    return LanguageModel(V, **options)


def test_parts_come_from_the_top_down() -> None:
    model = language_model(num_layers=2)
    observed = Observed(model)
    _, pullback = model.loss_vjp(TOKENS, TARGETS)
    pullback()
    observed.check()
    assert observed.names([place for place, _ in observed.copies]) == [
        ["head.weight"],
        ["rnn.weight_ih_l1", "rnn.weight_hh_l1"],
        ["rnn.weight_ih_l0", "rnn.weight_hh_l0"],
        ["embedding.weight"],
    ]
    vectors = [name for name, shape in model.flat.shapes.items() if len(shape) == 1]
    assert observed.names(observed.parts.rest()) == [vectors]


@pytest.mark.parametrize("repeated", [False, True], ids=["table", "looked up"])
def test_a_tied_weight_waits_for_the_embedding(repeated: bool) -> None:
    tokens = np.tile(TOKENS, (30, 1)) if repeated else TOKENS  # a lookup pays from V tokens on
    model = language_model(tied=True)
    observed = Observed(model)
    _, pullback = model.loss_vjp(tokens, tokens)
    pullback()
    observed.check()
    names = observed.names([place for place, _ in observed.copies])
    assert names == [["rnn.weight_ih_l0", "rnn.weight_hh_l0"], ["head.weight"]]


def test_a_layer_used_twice_waits_for_both() -> None:
    model = language_model()
    observed = Observed(model)
    (_, state), first = model.loss_vjp(TOKENS, TARGETS)
    _, second = model.loss_vjp(TARGETS, TOKENS, state)
    second()
    assert observed.copies == []
    first()
    observed.check()
    assert len(observed.copies) == 3


@pytest.mark.parametrize("repeated", [False, True], ids=["table", "looked up"])
def test_masked_gradients_are_handed_out_masked(repeated: bool) -> None:
    tokens = np.tile(TOKENS, (30, 1)) if repeated else TOKENS
    dropped = {"weight_dropout": 0.5, "dropout_embedding": 0.3, "dropout": 0.2}
    model = language_model(num_layers=2, **dropped)
    observed = Observed(model)
    _, pullback = model.loss_vjp(tokens, tokens, rng=np.random.default_rng(3))
    pullback()
    observed.check()
    assert len(observed.copies) == 4


class Pair(Layer):
    """Every kind of layer with parameters, in both directions."""

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self.table = Embedding(V, H, rng=rng)
        self.rnn = LSTM(H, H, bidirectional=True, rng=rng)
        self.linear = Linear(2 * H, H, rng=rng)
        self.head = SoftmaxHead(H, V, bias=False, rng=rng)
        super().__init__(
            children={
                "table": self.table,
                "rnn": self.rnn,
                "linear": self.linear,
                "head": self.head,
            }
        )

    def loss_vjp(self) -> Callable[[], None]:
        x, table_pullback = self.table.vjp(TOKENS)
        (y, _), rnn_pullback = self.rnn.vjp(x)
        z, linear_pullback = self.linear.vjp(y)
        _, head_pullback = self.head.loss_vjp(z, TARGETS)

        def pullback() -> None:
            table_pullback(rnn_pullback(linear_pullback(head_pullback()))[0])

        return pullback


def test_every_layer_tells() -> None:
    model = Pair()
    observed = Observed(model)
    model.loss_vjp()()
    observed.check()
    assert observed.names([place for place, _ in observed.copies]) == [
        ["head.weight"],
        ["linear.weight"],
        ["rnn.weight_ih_l0", "rnn.weight_hh_l0"],
        ["rnn.weight_ih_l0_reverse", "rnn.weight_hh_l0_reverse"],
        ["table.weight"],
    ]


def test_small_parts_wait_for_the_end() -> None:
    model = LanguageModel(11, embedding_size=4, hidden_size=6, rng=np.random.default_rng(0))
    observed = Observed(model)
    _, pullback = model.loss_vjp(TOKENS % 11, TARGETS % 11)
    pullback()
    assert observed.copies == []
    assert observed.parts.rest() == [slice(0, model.num_parameters)]


def test_what_began_before_is_never_handed_out_early() -> None:
    model = language_model()
    _, before = model.loss_vjp(TOKENS, TARGETS)
    observed = Observed(model)
    before()  # nobody said that it would come
    assert observed.copies == []

    observed = Observed(model)
    _, before = model.loss_vjp(TOKENS, TARGETS)
    before()
    with pytest.raises(RuntimeError, match=r"gradient of embedding\.weight after it was complete"):
        model.loss_vjp(TOKENS, TARGETS)


def test_listening_ends() -> None:
    model = language_model()
    observed = Observed(model)
    other = copy.deepcopy(model)  # nobody listens to a copy
    _, pullback = other.loss_vjp(TOKENS, TARGETS)
    pullback()
    model.listen(None)
    _, pullback = model.loss_vjp(TOKENS, TARGETS)
    pullback()
    assert observed.copies == []
    assert_same_bits(other.flat.grads, model.flat.grads)
