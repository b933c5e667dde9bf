"""A regularised language model: each rate acts where it says, AR and TAR in the gradient."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from test_language_model import B, E, H, T, V, draw_text, make
from test_recurrent import check_slopes
from tolerances import assert_close, assert_same_bits
from unrolled.models import LanguageModel

# Small enough that the recurrence does not amplify: third derivatives stay small.
RATES = {
    "dropout": 0.4,
    "dropout_hidden": 0.25,
    "dropout_input": 0.3,
    "dropout_embedding": 0.1,
    "weight_dropout": 0.2,
}
PENALTIES = {"alpha": 0.5, "beta": 0.4}


def forward(model: LanguageModel, tokens: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of the last layer before and after dropout, part by part."""
    rng = np.random.default_rng(seed)
    embedded, _ = model.embedding.vjp(tokens, rng=rng)
    embedded, _ = model.dropout_input.vjp(embedded, rng=rng)
    (hidden, _), _ = model.rnn.vjp(embedded, rng=rng)
    dropped, _ = model.dropout.vjp(hidden, rng=rng)
    return hidden, dropped


@pytest.mark.parametrize("penalties", [{}, {"alpha": 0.5}, {"beta": 0.4}, PENALTIES], ids=str)
@pytest.mark.parametrize("drop", [{}, RATES, RATES | {"variational": True}], ids=["no", "", "var"])
@pytest.mark.parametrize("vocabulary", [V, 40], ids=["characters", "words"])
def test_gradient_is_the_slope(
    matrix_cell: str, vocabulary: int, drop: dict, penalties: dict, rng: np.random.Generator
) -> None:
    sizes = {"embedding_size": H, "hidden_size": H, "num_layers": 2, "dtype": "float64"}
    model = LanguageModel(vocabulary, **sizes, cell=matrix_cell, tied=True, **drop, rng=rng)
    tokens, targets = draw_text(rng)
    counted = np.count_nonzero(targets >= 0)

    def cross_entropy(dropped: np.ndarray) -> float:
        return float(model.head.losses(dropped, targets).sum()) / counted

    def value() -> float:
        hidden, dropped = forward(model, tokens, seed=4)
        activation = penalties.get("alpha", 0.0) * np.mean(dropped**2)
        temporal = penalties.get("beta", 0.0) * np.mean((hidden[1:] - hidden[:-1]) ** 2)
        return 3.0 * (cross_entropy(dropped) + float(activation + temporal))

    rng = np.random.default_rng(4)
    (loss, _), pullback = model.loss_vjp(tokens, targets, rng=rng, **penalties)
    pullback(3.0)
    check_slopes(model, value, [])
    # The loss that is told is the cross-entropy alone.
    expected = cross_entropy(forward(model, tokens, seed=4)[1])
    assert_close(loss, expected, K=T * (H + vocabulary), kind="head", dtype="float64")


def test_penalties_do_not_depend_on_how_often_the_pullback_runs(rng: np.random.Generator) -> None:
    model = make(rng, dtype="float64")
    tokens, targets = draw_text(rng)
    _, pullback = model.loss_vjp(tokens, targets, **PENALTIES)
    pullback()
    once = model.flat.grads.copy()
    pullback()
    assert_close(model.flat.grads, 2 * once, K=1, kind="elementwise")


def test_one_step_has_no_change_to_penalise(rng: np.random.Generator) -> None:
    model = make(rng)
    tokens, targets = draw_text(rng, steps=1)
    grads = []
    for beta in (0.0, 5.0):
        model.zero_grads()
        model.loss_vjp(tokens, targets, beta=beta)[1]()
        grads.append(model.flat.grads.copy())
    np.testing.assert_array_equal(*grads)


def test_each_rate_reaches_its_layer(rng: np.random.Generator) -> None:
    model = make(rng, num_layers=2, **RATES, variational=True)
    assert (model.dropout.p, model.dropout_input.p) == (0.4, 0.3)
    assert (model.rnn.dropout, model.rnn.weight_dropout) == (0.25, 0.2)
    assert model.embedding.dropout == 0.1
    assert model.dropout.variational
    assert model.dropout_input.variational
    assert model.rnn.variational
    assert make(rng, num_layers=2, dropout=0.4).rnn.dropout == 0.4
    assert make(rng, num_layers=2, dropout=0.4, dropout_hidden=0.0).rnn.dropout == 0.0
    text = model.describe()
    for part in (
        f"Embedding({V}, {E}, dropout=0.1)",
        "dropout=0.25, variational=True, weight_dropout=0.2",
        "Dropout(0.3, variational=True) of the embedded tokens",
        "Dropout(0.4, variational=True) of the last outputs",
    ):
        assert part in text


@pytest.mark.parametrize("name", RATES)
def test_each_rate_is_for_training(name: str, rng: np.random.Generator) -> None:
    model = make(rng, num_layers=2, **{name: 0.5})
    plain = make(rng, num_layers=2)
    plain.load_parameters(model.parameters)
    tokens, targets = draw_text(rng)
    assert_same_bits(model.losses(tokens, targets)[0], plain.losses(tokens, targets)[0])
    assert_same_bits(model.stream(B).step(tokens[0]), plain.stream(B).step(tokens[0]))

    def loss(model: LanguageModel, seed: int) -> float:
        return model.loss_vjp(tokens, targets, rng=np.random.default_rng(seed))[0][0]

    assert loss(model, 1) == loss(model, 1)
    assert len({loss(model, 1), loss(model, 2), loss(plain, 1)}) == 3
    with pytest.raises(ValueError, match=r"=0\.5 needs rng in vjp"):
        model.loss_vjp(tokens, targets)


@pytest.mark.parametrize(
    "options", [RATES | {"variational": True}, {"dropout": 0.5, "dropout_hidden": 0.0}], ids=str
)
def test_config_rebuilds_them(options: dict[str, Any], rng: np.random.Generator) -> None:
    model = make(rng, num_layers=2, **options)
    config = json.loads(json.dumps(model.config))
    other = LanguageModel.from_config(config, init="zeros")
    other.load_parameters(model.parameters)
    assert other.describe() == model.describe()
    assert other.config == model.config


def test_a_config_of_before_them_still_builds(rng: np.random.Generator) -> None:
    """Version 0.1 wrote these keys; a resumed run compares them with those of its model."""
    before = {
        "vocab_size": V,
        "embedding_size": E,
        "hidden_size": H,
        "num_layers": 2,
        "cell": "gru",
        "dropout": 0.3,
        "tied": False,
        "dtype": "float32",
    }
    model = LanguageModel.from_config(before, rng=rng)
    assert model.config == before
    assert (model.rnn.dropout, model.dropout.p) == (0.3, 0.3)


def test_errors(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"expected 0 <= dropout_hidden < 1, got 1\.5"):
        make(rng, dropout_hidden=1.5)
    with pytest.raises(ValueError, match=r"\[Embedding\] expected 0 <= dropout < 1, got -1"):
        make(rng, dropout_embedding=-1)
    tokens, targets = draw_text(rng)
    for bad in ({"alpha": -0.1}, {"beta": float("nan")}):
        with pytest.raises(ValueError, match=r"expected alpha >= 0 and beta >= 0, got "):
            make(rng).loss_vjp(tokens, targets, **bad)
