"""Series of any lengths are told apart: by the task, the estimator and the command line."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import assert_same_bits
from unrolled.tasks import classification, make_options
from unrolled.tasks.classification import Classification
from unrolled.tasks.series.changes import Changes
from unrolled.tasks.series.channels import Channels
from unrolled.tasks.series.classifier import SeriesClassifier
from unrolled.tasks.series.estimator import fit_task
from unrolled.tasks.series.labelled import split
from unrolled.tasks.series.ts_format import read_ts
from unrolled.training import Group

SMALL: dict[str, Any] = {"hidden": 8, "batch": 8, "validations": 2}


def make_series(count: int, seed: int = 0, missing: float = 0.0) -> tuple[list[Any], list[str]]:
    """Series of two channels that rise or fall, in one of them, and their classes."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for number in range(count):
        slope = np.linspace(-1.0, 1.0, int(rng.integers(4, 12))) * (1.0 if number % 2 else -1.0)
        one = np.stack([slope, np.zeros_like(slope)]) + 0.2 * rng.standard_normal((2, len(slope)))
        one[rng.random(one.shape) < missing] = np.nan
        series.append(100.0 + 10.0 * one)
        labels.append("rising" if number % 2 else "it falls")
    return series, labels


def write_ts(path: Path, series: list[Any], labels: list[str] | None) -> Path:
    lines = ["@problemName made", "@classLabel " + ("false" if labels is None else "true"), "@data"]
    for number, each in enumerate(series):
        channels = [",".join("?" if np.isnan(v) else repr(float(v)) for v in row) for row in each]
        lines.append(":".join([*channels, *([] if labels is None else [f'"{labels[number]}"'])]))
    path.write_text("\n".join(lines) + "\n")
    return path


# What the model reads.


def test_channels_are_brought_to_one_scale() -> None:
    series, _ = make_series(40)
    channels = Channels.of(series)
    encoded = np.concatenate([channels.encode(each, 0) for each in series])
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(encoded.std(axis=0), 1.0, atol=1e-5)
    again = Channels.from_json(channels.to_json())
    assert_same_bits(again.encode(series[0], 0), channels.encode(series[0], 0))


def test_missing_values_are_told_and_not_filled() -> None:
    series, _ = make_series(40, missing=0.3)
    channels = Channels.of(series)
    assert (channels.count, channels.input_size) == (2, 4)
    values = np.concatenate(series, axis=1)
    np.testing.assert_allclose(channels.mean, np.nanmean(values, axis=1))
    encoded = channels.encode(series[0], 0)
    there = ~np.isnan(series[0].T)
    np.testing.assert_array_equal(encoded[:, 2:], there)
    assert not encoded[:, :2][~there].any()
    changed = Changes(shift=1.0, jitter=1.0, stretch=0.5)(encoded, 2, np.random.default_rng(0))
    assert set(np.unique(changed[:, 2:])) <= {0.0, 1.0}
    assert not changed[:, :2][changed[:, 2:] == 0.0].any()


def test_a_gap_in_what_is_held_out_is_enough(tmp_path: Path) -> None:
    series, labels = make_series(20)
    held_out = split((series, labels))[1][0]
    held_out[0][0, 1] = np.nan  # the array is that of `series`
    path = write_ts(tmp_path / "train.ts", series, labels)
    classify = classification.train(path, steps=1, quiet=True, **SMALL)
    assert classify.channels.gaps
    assert classify.model.input_size == 4


def test_convolutions_leave_about_as_many_steps_as_asked_for(tmp_path: Path) -> None:
    series, labels = make_series(30)
    long = [np.repeat(each, 16, axis=1) for each in series]
    median = np.median([each.shape[1] for each in long])
    source = write_ts(tmp_path / "long.ts", long, labels)
    for resolution in (8, 32, 1000):
        classify = classification.train(source, steps=1, quiet=True, resolution=resolution, **SMALL)
        front_end = classify.model.front_end
        assert front_end is not None
        left = front_end.steps(np.array([median]))[0]
        assert 0.7 * min(resolution, median) <= left <= 1.5 * min(resolution, median)
    alone = classification.train(source, steps=1, quiet=True, conv=0, **SMALL)
    assert alone.model.front_end is None
    with pytest.raises(ValueError, match="expected resolution of 1 or more, got 0"):
        classification.train(source, steps=1, quiet=True, resolution=0, **SMALL)
    with pytest.raises(ValueError, match="expected batch of 1 or more, got 0"):
        classification.train(source, steps=1, quiet=True, **{**SMALL, "batch": 0})


def test_one_of_ten_of_each_class_is_held_out() -> None:
    series, labels = make_series(61)
    training, held_out = split((series, labels))
    assert len(training[0]) == 55
    assert sorted(held_out[1]) == ["it falls"] * 3 + ["rising"] * 3
    assert {id(each) for each in training[0] + held_out[0]} == {id(each) for each in series}
    assert len(split((series[:3], ["a", "a", "b"]))[1][0]) == 1
    with pytest.raises(ValueError, match="none can be held out: give --validation FILE"):
        split((series[:2], labels[:2]))


# The task and its commands.


@pytest.mark.parametrize("missing", [0.0, 0.2], ids=["complete", "gaps"])
def test_from_files_to_answers(
    missing: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("typer", "rich", "safetensors"):
        pytest.importorskip(module, reason=f"{module} comes with the extra [train]")
    from unrolled.cli import main

    def run(*arguments: object) -> list[str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out.splitlines()

    source = write_ts(tmp_path / "train.ts", *make_series(80, missing=missing))
    path = tmp_path / "model.safetensors"
    sizes = ("--steps", 80, "--hidden", 8, "--batch", 16, "--lr", 0.02, "--validations", 2)
    told = "\n".join(run("train", "classification", source, *sizes, "--output", path))
    assert "72 series of 4 to 11 steps to train on, 8 held out, 2 channels" in told
    assert ("with missing values" in told) == (missing > 0)
    assert "100.00% of 8 series, held out" in told
    assert f"unrolled evaluate classification {path} TEST.ts" in told
    assert f"unrolled classify-series {path} FILE.ts" in told

    series, labels = make_series(50, seed=9, missing=missing)
    test = write_ts(tmp_path / "test.ts", series, labels)
    (line,) = run("evaluate", "classification", path, test)
    found = re.fullmatch(r"right +(\d+\.\d\d)% of 50 series, [\d.e-]+ nats per series", line)
    assert found is not None
    assert float(found[1]) >= 90.0
    (line,) = run("evaluate", "classification", path)
    assert "100.00% of 8 series" in line
    *wrong, last = run("evaluate", "classification", path, test, "--tokens", "--precision", "int8")
    assert all(re.match(r"wrong +series \d+: (rising|it falls) told as", each) for each in wrong)
    assert last.endswith("of the answers as in full precision")

    unlabelled = write_ts(tmp_path / "new.ts", series, None)
    lines = run("classify-series", path, unlabelled)
    assert len(lines) == 50
    answers, probabilities = zip(*(each.split("\t") for each in lines), strict=True)
    right = np.mean([a == b for a, b in zip(answers, labels, strict=True)])
    assert f"{right:.2%}" == f"{found[1]}%"
    assert all(0.5 <= float(each) <= 1.0 for each in probabilities)
    every = [each.split("\t") for each in run("classify-series", path, test, "--all")]
    assert [len(each) for each in every] == [4] * 50
    for row, line in zip(every, lines, strict=True):
        assert "\t".join(row[:2]) == line
        assert float(row[1]) + float(row[3]) == pytest.approx(1.0, abs=2e-4)


def test_a_classifier_is_saved_and_loaded(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    source = write_ts(tmp_path / "train.ts", *make_series(30))
    classify = classification.train(source, steps=5, quiet=True, **SMALL)
    classification.save(classify, tmp_path / "again.safetensors")
    again = classification.load(tmp_path / "again.safetensors")
    series, _ = make_series(4, seed=1)
    assert_same_bits(again.probabilities(series), classify.probabilities(series))
    answer = again(series[0])
    assert {name for name, _ in answer} == {"rising", "it falls"}
    assert sum(p for _, p in answer) == pytest.approx(1.0)
    assert answer[0][1] >= answer[1][1]


def test_resumed_equals_unbroken(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="safetensors comes with the extra [train]")
    source = write_ts(tmp_path / "train.ts", *make_series(30))
    options = SMALL | {"schedule": "constant", "dropout": 0.3, "stretch": 0.2, "quiet": True}
    whole = classification.train(source, steps=7, output=tmp_path / "whole", **options)
    classification.train(source, steps=3, output=tmp_path / "parts", **options)
    resume = tmp_path / "parts.safetensors"
    parts = classification.train((), resume=resume, steps=7, quiet=True)
    assert_same_bits(parts.model.flat.values, whole.model.flat.values)


def test_norms_of_all_ranks_stay_the_same(tmp_path: Path) -> None:
    """The other rank has seen statistics that are larger by 2."""

    class Two(Group):
        size = 2

        def sum(self, values: Any) -> list[float]:
            return [2.0 * value + 2.0 for value in values]

    source = write_ts(tmp_path / "train.ts", *make_series(30))
    models = []
    for group in (Group(), Two()):
        task = Classification(make_options(Classification, SMALL), [source])
        task.load()
        model = task.build(np.random.default_rng(0))
        batch = task.batches(np.random.default_rng(0)).next()
        task.group = group
        task.loss(model, batch, None, np.random.default_rng(0))
        models.append(model.parameters)
    for name, values in models[0].items():
        away = 1.0 if "running" in name else 0.0
        np.testing.assert_allclose(models[1][name], values + away, rtol=1e-6, err_msg=name)


def test_data_that_will_not_do(tmp_path: Path) -> None:
    series, labels = make_series(20)

    def refuses(reason: str, **changed: Any) -> None:
        given = {"series": series, "labels": labels, **changed}
        path = write_ts(tmp_path / "some.ts", given["series"], given["labels"])
        with pytest.raises(ValueError, match=reason):
            classification.train(path, steps=1, quiet=True, **SMALL, **changed.get("options", {}))

    with pytest.raises(ValueError, match=r"give a \.ts file"):
        classification.train((), steps=1, quiet=True)
    refuses("18 series of one class, a, to train on: two classes", labels=["a"] * 20)
    refuses("has no classes .* `unrolled classify-series` does without", labels=None)
    refuses("expected 0 <= stretch < 1.0, got 2", options={"stretch": 2.0})
    empty = [np.stack([each[0], np.full(each.shape[1], np.nan)]) for each in series]
    refuses("channel 2 has no value in any series to train on: leave it out", series=empty)
    other = write_ts(tmp_path / "other.ts", series, ["rising", "level"] * 10)
    refuses("series of the class level, but none to train on", options={"validation": str(other)})


# The estimator.


@pytest.fixture(scope="module")
def fitted() -> SeriesClassifier:
    series, labels = make_series(60)
    return SeriesClassifier(hidden=8, epochs=15, batch=16, lr=0.02).fit(series, labels)


def test_the_estimator_learns(fitted: SeriesClassifier) -> None:
    series, labels = make_series(40, seed=5)
    assert fitted.classes_.tolist() == ["it falls", "rising"]
    assert fitted.n_channels_ == 2
    probabilities = fitted.predict_proba(series)
    assert probabilities.shape == (40, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    predicted = fitted.predict(series)
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    assert fitted.score(series, labels) == np.mean(predicted == np.array(labels)) >= 0.9


def test_few_series_are_seen_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def note(task: Any, *, validate: bool) -> Any:
        steps.append(task.options.epochs * -(-len(task.training.targets) // task.options.batch))
        return fit_task(task, validate=validate)

    monkeypatch.setattr("unrolled.tasks.series.classifier.fit_task", note)
    series, labels = make_series(40)
    for count, batch, expected in ((40, 32, 300), (40, 4, 600), (8, 32, 300)):
        model = SeriesClassifier(hidden=2, conv=2, batch=batch)
        model.fit(series[:count], labels[:count])
        assert steps.pop() == pytest.approx(expected)
    SeriesClassifier(hidden=2, conv=2, epochs=2).fit(series, labels)
    assert steps.pop() == 4


def test_arrays_lists_and_labels_of_any_type() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 2, 5)), np.arange(12) % 11 - 5  # classes -5..5
    settings: dict[str, Any] = {"hidden": 4, "epochs": 1}
    one, other = (SeriesClassifier(**settings).fit(each, y) for each in (X, list(X)))
    assert one.classes_.tolist() == list(range(-5, 6))
    assert one.predict(X).dtype == y.dtype
    assert_same_bits(one.predict_proba(X), other.predict_proba(list(X)))
    third = SeriesClassifier(**settings, random_state=1).fit(X, y)
    assert np.any(third.predict_proba(X) != one.predict_proba(X))


def test_parameters_are_those_of_the_constructor() -> None:
    model = SeriesClassifier(hidden=5, cell="lstm")
    params = model.get_params()
    assert (params["hidden"], params["cell"]) == (5, "lstm")
    assert set(params) == set(vars(model))
    again = SeriesClassifier().set_params(**params)
    assert again.get_params() == params
    with pytest.raises(ValueError, match="there is no parameter 'size', only cell, hidden"):
        model.set_params(size=3)
    series, labels = make_series(4)
    with pytest.raises(ValueError, match="expected cell to be one of"):
        model.set_params(cell="hopfield").fit(series, labels)


def test_what_the_estimator_refuses(fitted: SeriesClassifier) -> None:
    series, labels = make_series(6)
    model = SeriesClassifier(epochs=1)
    shapes = r"expected X as an array \(cases, channels, time\) or a list of arrays"
    for X, reason in (
        (np.zeros((6, 9)), rf"{shapes}.*got an array of shape \(6, 9\).*X\[:, None, :\]"),
        ([np.zeros(9)], rf"{shapes}.*got shape \(9,\) of series 1.*series\[None, :\]"),
        ([], rf"{shapes}.*got no series"),
        ([["a"]], rf"{shapes}.* of numbers"),
        ([*series[:5], np.zeros((3, 4))], r"2 channels each, got \(3, 4\) of series 6"),
        ([*series[:5], np.zeros((2, 0))], "series 6 is empty: leave it out"),
        ([*series[:5], np.full((2, 4), 1e300)], "channel 1 has values too large to square"),
        ([*series[:5], np.full((2, 4), np.inf)], "series 6 has an infinite value in channel 1"),
    ):
        with pytest.raises(ValueError, match=reason):
            model.fit(X, labels[: len(X)])
    with pytest.raises(ValueError, match=r"y of shape \(cases,\) = \(6,\), got \(5,\)"):
        model.fit(series, labels[:5])
    with pytest.raises(ValueError, match="series of one class, a, to train on"):
        model.fit(series, ["a"] * 6)
    with pytest.raises(ValueError, match="call fit before predict"):
        model.predict(series)
    with pytest.raises(ValueError, match=r"2 channels each, got \(1, 4\) of series 1"):
        fitted.predict(np.zeros((3, 1, 4)))
    with pytest.raises(ValueError, match="has missing values, and the model was trained on"):
        fitted.predict(np.full((3, 2, 4), np.nan))
    with pytest.raises(ValueError, match="too far from those of the training"):
        fitted.predict(np.full((3, 2, 4), 1e300))


def test_a_constant_channel_is_no_fault() -> None:
    series, labels = make_series(8)
    with_constant = [np.vstack([each, np.full((1, each.shape[1]), 1e6 / 3)]) for each in series]
    model = SeriesClassifier(hidden=4, epochs=1).fit(with_constant, labels)
    assert np.isfinite(model.predict_proba(with_constant)).all()


def test_scikit_learn_takes_it() -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn comes with the extra [recipes]")
    from sklearn.exceptions import NotFittedError
    from sklearn.model_selection import cross_val_score
    from sklearn.utils import estimator_checks as checks

    for check in (  # the others fit arrays (cases, features), which are no series
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
    ):
        check("SeriesClassifier", SeriesClassifier())
    with pytest.raises(NotFittedError, match="call fit before predict"):
        SeriesClassifier().predict(np.zeros((1, 1, 4)))
    series, labels = make_series(40)
    model = SeriesClassifier(hidden=8, epochs=15, batch=8, lr=0.02)
    again = base.clone(model)
    assert again is not model
    assert again.get_params() == model.get_params()
    assert base.is_classifier(model)
    scores = cross_val_score(model, series, np.array(labels), cv=2)
    assert scores.shape == (2,)
    assert scores.mean() > 0.8


# Real data.


def japanese_vowels(part: str) -> Path:
    name = Path("JapaneseVowels") / f"JapaneseVowels_{part}.ts"
    places = [Path(os.environ["UNROLLED_DATA"]) / "series"] if "UNROLLED_DATA" in os.environ else []
    aeon = importlib.util.find_spec("aeon")
    if aeon is not None and aeon.submodule_search_locations:
        places.append(Path(aeon.submodule_search_locations[0]) / "datasets" / "data")
    for place in places:
        if (place / name).is_file():
            return place / name
    pytest.skip(f"neither UNROLLED_DATA nor an installed aeon has {name}")


@pytest.mark.slow
def test_speakers_by_their_vowels() -> None:
    training, test = japanese_vowels("TRAIN"), japanese_vowels("TEST")
    classify = classification.train(training, epochs=60, quiet=True)
    file = read_ts(test)
    chosen = classify.probabilities(file.series).argmax(axis=1)
    right = np.mean([classify.classes[a] == b for a, b in zip(chosen, file.labels, strict=True)])
    assert right >= 0.96
