"""The task "lm": what a trained model scores, writes and suggests, and training as a whole."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from text_models import TEXT, make_model
from tolerances import assert_close
from unrolled.tasks import _score, make_options, option_types, tasks
from unrolled.tasks import language_model as lm
from unrolled.tasks._score import score_tokens, token_losses
from unrolled.tasks._text import END, UNKNOWN
from unrolled.tasks._write import read_text

# Scores.


def test_an_even_guess_costs_log_of_the_vocabulary() -> None:
    model = make_model()
    model.model.flat.values[:] = 0.0
    score = lm.evaluate(model, "the cat")
    assert (score.tokens, score.characters, score.unknown) == (8, 7, 0)  # with its end
    expected = 8 * math.log2(len(model.vocabulary))
    assert score.bits_per_character == pytest.approx(expected / 7, rel=1e-6)
    assert score.perplexity == pytest.approx(len(model.vocabulary), rel=1e-6)


def test_unknown_characters_are_charged_for() -> None:
    model = make_model(TEXT + "éàü", min_count=2)
    assert model.vocabulary.rare == 3
    model.model.flat.values[:] = 0.0
    score = lm.evaluate(model, "é?")
    assert (score.characters, score.unknown) == (2, 2)
    each = math.log2(len(model.vocabulary)) + math.log2(3)
    end = math.log2(len(model.vocabulary))
    assert score.bits_per_character == pytest.approx((2 * each + end) / 2, rel=1e-6)


def one_by_one(model: lm.TextModel, text: str) -> np.ndarray:
    """-log p of each token, from a stream and in float64."""
    stream, result, last = model.model.stream(), [], END
    for token in model.vocabulary.encode(text):
        logits = stream.step(np.array([last]))[0].astype(np.float64)
        result.append(np.log(np.exp(logits - logits[token]).sum()))
        last = int(token)
    return np.array(result)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_scores_are_those_of_a_stream(cell: str) -> None:
    model = make_model(cell=cell)
    expected = one_by_one(model, TEXT)
    losses = token_losses(model.model, model.vocabulary, model.vocabulary.encode(TEXT))
    # Hidden states are the same bits; each logit sums H products, the softmax V exponentials.
    roundings = model.model.config["hidden_size"] + len(model.vocabulary)
    assert_close(losses, expected, K=roundings, kind="head", dtype=np.float32)
    pairs = list(lm.token_probabilities(model, TEXT))
    assert "".join(symbol for symbol, _ in pairs) == TEXT
    probabilities = np.array([p for _, p in pairs])
    assert_close(probabilities, np.exp(-expected), K=roundings, kind="head", dtype=np.float32)


def test_long_texts_are_scored_side_by_side() -> None:
    model = make_model()
    text = (TEXT * 11)[:9001]
    expected = one_by_one(model, text)
    losses = token_losses(model.model, model.vocabulary, model.vocabulary.encode(text))
    # The second of the two streams starts 256 tokens early, with a state that differs slightly.
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-3)


def test_long_texts_are_scored_a_slab_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(TEXT + "éà", level="char", min_count=2)
    text = (TEXT + "é") * 3
    whole = lm.evaluate(model, text)
    monkeypatch.setattr(_score, "_SLAB", 700)
    parts = lm.evaluate(model, text)
    assert whole.tokens > 3 * 700
    assert (parts.tokens, parts.characters, parts.unknown) == (
        whole.tokens,
        whole.characters,
        whole.unknown,
    )
    # Each slab starts 256 tokens early, with a state that differs slightly.
    assert parts.nats == pytest.approx(whole.nats, rel=1e-3)


def test_scores_add_up() -> None:
    model = make_model(level="word")
    vocabulary = model.vocabulary
    first, second = lm.evaluate(model, "the cat"), lm.evaluate(model, "a xyz bird")
    both = first + second
    assert (both.tokens, both.unknown) == (7, 1)
    assert both.loss == pytest.approx((first.nats + second.nats) / 7)
    assert both.perplexity == pytest.approx(math.exp(both.loss))
    with pytest.raises(ValueError, match="no bits per character"):
        _ = both.bits_per_character
    ends = vocabulary.join(["the cat"])
    part = score_tokens(model.model, vocabulary, ends[:-1])
    expected = token_losses(model.model, vocabulary, ends)[:-1].sum()
    assert part.nats == pytest.approx(expected)


# Writing.


def test_writing_repeats_with_the_seed() -> None:
    model = make_model()
    text = lm.generate(model, "the ", length=60, seed=1)
    assert len(text) == 60
    assert lm.generate(model, "the ", length=60, seed=1) == text
    assert lm.generate(model, "the ", length=60, seed=2) != text
    assert "".join(lm.write(model, "the ", length=60, seed=1)) == text


def test_temperature_zero_takes_the_most_probable() -> None:
    model = make_model()
    text = "the "
    for _ in range(10):
        _, logits = read_text(model.model, model.vocabulary.encode(text))
        logits[:, [END, UNKNOWN]] = -np.inf
        text += model.vocabulary.symbols[int(logits.argmax())]
    assert "the " + lm.generate(model, "the ", length=10, temperature=0.0) == text
    assert lm.generate(model, "the ", length=10, top_k=1) == text[4:]


def test_the_state_carries_on() -> None:
    """Writing in two parts is writing in one, and a prompt may be longer than a chunk."""
    model = make_model()
    prompt = TEXT * 3
    assert len(prompt) > 2048
    once = lm.generate(model, prompt, length=20, temperature=0.0)
    first = lm.generate(model, prompt, length=10, temperature=0.0)
    assert first + lm.generate(model, prompt + first, length=10, temperature=0.0) == once


def test_only_known_characters_are_written() -> None:
    model = make_model(min_count=2)
    text = lm.generate(model, "?é", length=300, temperature=5.0, seed=0)
    assert len(text) == 300
    assert set(text) <= set(model.vocabulary.symbols[2:])
    model.model.parameters["head.bias"][END] = 50.0
    assert lm.generate(model, "the", length=300, stop=True) == ""
    assert len(lm.generate(model, "the", length=30)) == 30


def test_words_are_written_with_spaces() -> None:
    text = lm.generate(make_model(level="word"), "the cat", length=30, seed=3)
    assert set(re.findall(r"[\w']+", text)) <= set(re.findall(r"[\w']+", TEXT))


# Suggestions.


def all_words(model: lm.TextModel, text: str, length: int) -> dict[str, float]:
    """Probabilities of all words of up to `length` characters right after `text`."""
    symbols = model.vocabulary.symbols
    found: dict[str, float] = {}

    def go_on(added: str, probability: float) -> None:
        _, logits = read_text(model.model, model.vocabulary.encode(text + added))
        p = np.exp(logits[0].astype(np.float64))
        p *= probability / p.sum()
        if added:
            ends = [t for t, s in enumerate(symbols) if t != UNKNOWN and (t == END or s in " .")]
            found[added] = float(p[ends].sum())
        if len(added) < length:
            for token, symbol in enumerate(symbols):
                if token > UNKNOWN and symbol.isalpha():
                    go_on(added + symbol, p[token])

    go_on("", 1.0)
    return found


def test_suggested_words_have_their_probability() -> None:
    # A model that ends words soon and never writes two spaces, so that short words are all.
    model = make_model("abc abc. ")
    for sign in " .":
        model.model.parameters["head.bias"][model.vocabulary.encode(sign)[0]] += 1.0
    expected = all_words(model, "ab c", 4)
    suggestions = lm.suggest(model, "ab c", 3)
    assert len(suggestions) == 3
    completed = {f"c{word}": p for word, p in expected.items()}
    _, logits = read_text(model.model, model.vocabulary.encode("ab c"))
    p = np.exp(logits[0].astype(np.float64))
    p /= p.sum()
    completed["c"] = float(p[[END, *model.vocabulary.encode(" .")]].sum())
    best = sorted(completed, key=lambda word: -completed[word])[:3]
    assert [s.word for s in suggestions] == best
    for suggestion in suggestions:
        assert suggestion.probability == pytest.approx(completed[suggestion.word], rel=1e-4)


def test_suggestions_sum_over_what_stands_before_the_word() -> None:
    model = make_model("abc abc. ")
    after_space = lm.suggest(model, "ab ", 20)
    assert after_space == sorted(after_space, key=lambda s: -s.probability)
    assert sum(s.probability for s in after_space) <= 1.0
    direct = all_words(model, "ab ", 1)
    for suggestion in after_space:
        if suggestion.word in direct:
            assert suggestion.probability >= direct[suggestion.word] * (1.0 - 1e-4)


def test_completions_begin_with_what_is_typed() -> None:
    model = make_model()
    for typed in ("d", "dog'", "the", "XYZ", "é"):
        suggestions = lm.suggest(model, f"a {typed}", 3)
        assert suggestions
        assert all(s.word.startswith(typed.rstrip("'")) for s in suggestions)
    assert lm.suggest(model, "", 2)


def test_word_models_filter_their_vocabulary() -> None:
    model = make_model(level="word")
    _, logits = read_text(model.model, model.vocabulary.encode("the cat"))
    p = np.exp(logits[0].astype(np.float64))
    p /= p.sum()
    by_word = dict(zip(model.vocabulary.symbols, p, strict=True))

    free = lm.suggest(model, "the cat ", 100)
    assert {s.word for s in free} == {w for w in by_word if w[0].isalpha()}
    for s in free:
        assert s.probability == pytest.approx(by_word[s.word], rel=1e-5)

    begun = lm.suggest(model, "the cat b", 100)
    assert [s.word for s in begun] == ["bird"]
    assert begun[0].probability == pytest.approx(1.0)
    two = lm.suggest(model, "the cat do", 100)
    total = sum(by_word[w] for w in ("dog", "dog's"))
    assert {s.word: pytest.approx(s.probability) for s in two} == {
        w: by_word[w] / total for w in ("dog", "dog's")
    }
    assert lm.suggest(model, "the cat zz") == []


# The whole task.


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_training_learns(tmp_path: Path, level: str, cell: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 4)
    model = lm.train(
        path, level=level, cell=cell, steps=150, lr=0.02, batch=4, steps_per_update=16, hidden=24,
        embedding=8, seed=1, validations=2, quiet=True,
    )  # fmt: skip
    assert lm.evaluate(model, TEXT).perplexity < 2.0
    best = lm.suggest(model, "the dog's ")[0]
    assert best.word == "cat"
    assert best.probability > 0.3
    assert "the cat" in lm.generate(model, "", length=200, temperature=0.5, seed=0)


def test_a_model_in_a_file_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    model = make_model()
    lm.save(model, tmp_path / "model.safetensors")
    loaded = lm.load(tmp_path / "model.safetensors")
    assert loaded.vocabulary == model.vocabulary
    assert loaded.options == model.options
    np.testing.assert_array_equal(loaded.model.flat.values, model.model.flat.values)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="there is no option 'hiden', only"):
        lm.train(hiden=3)
    with pytest.raises(ValueError, match="expected level to be one of 'char', 'word'"):
        lm.train(level="letter")
    with pytest.raises(ValueError, match="expected one limit"):
        lm.train(steps=1, epochs=1.0)


def test_every_task_keeps_the_contract() -> None:
    assert "lm" in tasks()
    for name, task in tasks().items():
        assert task.name == name
        assert task.summary.endswith(".")
        assert all(line.startswith(f"unrolled train {name}") for line in task.examples)
        options = make_options(task, {})
        assert options.budget().minutes == options.default_minutes
        for field in option_types(task):
            assert task.options_type.__dataclass_fields__[field].metadata["help"]
