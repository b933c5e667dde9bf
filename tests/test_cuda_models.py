"""Models and their training on a CUDA device are those of the host: results, runs, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from cuda_devices import TorchDevice
from tolerances import assert_close, assert_same_bits
from unrolled import layers, training
from unrolled.models import LanguageModel, SequenceModel
from unrolled.tasks import language_model as lm

ROOT = Path(__file__).resolve().parents[1]
T, B, V, E, H = 6, 4, 11, 8, 8

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)

MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2, "cell": "gru", "dropout": 0.3},
    "tied": {"tied": True, "dropout_embedding": 0.3},
    "adaptive": {"adaptive": (3, 7), "cell": "rnn_tanh"},
    "awd": {
        "num_layers": 2,
        "tied": True,
        "dropout": 0.4,
        "dropout_hidden": 0.2,
        "dropout_input": 0.2,
        "dropout_embedding": 0.1,
        "weight_dropout": 0.3,
        "variational": True,
    },
}


@pytest.fixture
def cupy_device(device: Any) -> Any:
    if isinstance(device, TorchDevice):
        pytest.skip("models are on CuPy")
    return device


def language_model(**options: Any) -> LanguageModel:
    options = {"embedding_size": E, "hidden_size": H, **options}
    return LanguageModel(V, **options, rng=np.random.default_rng(1))


def chunk(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    tokens, targets = np.random.default_rng(seed).integers(0, V, (2, T, B))
    targets[0, 0] = -1
    return tokens, targets


def one_chunk(model: LanguageModel, precision: Any = "full") -> list[Any]:
    """Losses, states and gradients of a chunk that follows another."""
    _, state = model.losses(*chunk())
    with model.in_precision(precision):
        (loss, after), pullback = model.loss_vjp(
            *chunk(1), state, rng=np.random.default_rng(2), alpha=2.0, beta=1.0
        )
    model.zero_grads()
    pullback(3.0)
    losses, _ = model.losses(*chunk(1), state)
    arrays = [*layers.state_arrays(after), losses, *model.grads.values()]
    return [np.float32(loss), *(array.copy() for array in arrays)]


@pytest.mark.parametrize("which", MODELS)
def test_a_language_model(cupy_device: Any, which: str) -> None:
    """Dropout included, which drops the same."""
    model = language_model(**MODELS[which])
    expected = one_chunk(model)
    assert model.to("cuda") is model
    for actual, truth in zip(one_chunk(model), expected, strict=True):
        roundings = model.rnn.num_layers * T * (E + 5 * H + B) + V + T * B
        assert_close(cupy_device.get(actual), truth, K=roundings, kind="ranks")


def test_in_bf16(cupy_device: Any) -> None:
    model = language_model()
    expected, full = one_chunk(model, "bf16"), one_chunk(model)
    model.to("cuda")
    for actual, truth, exact in zip(one_chunk(model, "bf16"), expected, full, strict=True):
        scale = max(1.0, float(np.abs(truth).max()))
        np.testing.assert_allclose(cupy_device.get(actual), truth, atol=2**-6 * scale)
        assert np.shape(truth) == np.shape(exact)
    assert not np.array_equal(expected[-1], full[-1])


@pytest.mark.parametrize("every_step", [False, True])
def test_a_sequence_model(cupy_device: Any, every_step: bool) -> None:
    model = SequenceModel(
        3, 2, hidden_size=H, num_layers=2, every_step=every_step, rng=np.random.default_rng(1)
    )
    x = np.random.default_rng(2).standard_normal((T, B, 3)).astype(np.float32)
    goal = np.random.default_rng(3).standard_normal((T, B, 2) if every_step else (B, 2))
    goal, lengths = goal.astype(np.float32), np.array([6, 2, 5, 1])

    def run(put: Callable[[np.ndarray], Any]) -> list[Any]:
        y, pullback = model.vjp(put(x), lengths)
        (loss, _), loss_pullback = training.mse_vjp(y, put(goal))
        model.zero_grads()
        dx = pullback(loss_pullback(1.0))
        return [np.float32(loss), y, dx, *model.grads.values()]

    expected = run(np.asarray)
    model.to("cuda")
    for actual, truth in zip(run(cupy_device.put), expected, strict=True):
        assert_close(cupy_device.get(actual), truth, K=2 * T * (6 * H + B), kind="ranks")


def test_a_stream_writes_what_the_model_reads(cupy_device: Any) -> None:
    model = language_model(num_layers=2)
    tokens, _ = chunk()
    expected = model.stream(B)
    stream = model.to("cuda").stream(B)
    for step in tokens:
        logits = expected.step(step)
        assert_close(
            cupy_device.get(stream.step(step)), logits, K=2 * T * (E + H + 4), kind="ranks"
        )
    before = stream.state
    stream.fork().step(tokens[0])
    for state, same in zip(stream.state, before, strict=True):
        assert_same_bits(cupy_device.get(state), cupy_device.get(same))
    model.flat.values[...] = 0  # the stream has copies
    assert cupy_device.get(stream.step(tokens[0])).any()


def make_trainer(place: Any, steps: int, save: Any = None, **options: Any) -> training.Trainer[Any]:
    model = language_model(dropout=0.2).to(place)
    averaging = training.EMA(model, 0.9) if options.pop("averaged", False) else None
    batches = training.StreamBatches(
        np.random.default_rng(5).integers(0, V, 400), batch_size=B, steps=T, seed=0, restart=0.2
    )

    def loss(batch: Any, carry: Any, rng: Any) -> Any:
        (mean, state), pullback = model.loss_vjp(
            batch.tokens, batch.targets, batch.begin(carry), rng=rng
        )
        return (mean, batch.targets.size, state), pullback

    return training.Trainer(
        model,
        batches,
        loss,
        optimizer=options.pop("optimizer", training.AdamW)(model, lr=0.01),
        budget=training.Budget(steps=steps),
        rng=np.random.default_rng(6),
        averaging=averaging,
        validate=lambda: float(model.losses(*chunk())[0].sum(dtype=np.float64)) / (T * B),
        validations=2,
        save=save,
        **options,
    )


OPTIMIZERS: dict[str, Any] = {
    "adamw": training.AdamW,
    "sgd": lambda model, lr: training.SGD(model, lr=lr, momentum=0.9, nesterov=True),
    "rmsprop": lambda model, lr: training.RMSprop(model, lr=0.1 * lr, centered=True, momentum=0.5),
}


@pytest.mark.parametrize("which", OPTIMIZERS)
def test_training(cupy_device: Any, which: str) -> None:
    """Losses of updates that follow each other, and parameters in the end."""
    options = {"optimizer": OPTIMIZERS[which], "averaged": True}
    runs = [make_trainer(place, 4, **options) for place in ("cpu", "cuda")]
    for run in runs:
        run.run()
        assert run.skipped == 0
    host, there = runs
    K = T * (E + 5 * H + B) * 4  # of a gradient, for each of the updates
    for name in ("validation", "training"):
        losses = [[p.loss for p in getattr(run.history, name)] for run in (there, host)]
        assert_close(losses[0], losses[1], K=K, kind="ranks", dtype=np.float32)
    # Adam's quotients do not see how large a gradient is: where it is small, so are they as errors.
    for mine, truth in ((there.values, host.values), (there.best_values, host.best_values)):
        difference = np.abs(cupy_device.get(mine) - truth)
        assert np.quantile(difference, 0.99) < 1e-4
    assert not np.array_equal(cupy_device.get(there.values), language_model().flat.values)


def test_a_run_that_goes_on_is_the_unbroken_one(cupy_device: Any) -> None:
    """To the bit, and its state lies on the host; a run may also go on elsewhere."""
    whole = make_trainer("cuda", 4, averaged=True)
    whole.run()
    kept: list[Any] = []

    def keep(trainer: Any) -> None:
        arrays, values = trainer.state()
        assert all(type(array) is np.ndarray for array in arrays.values())
        kept.append(({name: array.copy() for name, array in arrays.items()}, values, trainer))

    first = make_trainer("cuda", 4, keep, averaged=True)
    first.run()
    arrays, values, _ = kept[1]  # after the first of two validations
    assert 0 < values["steps"] < 4
    for place in ("cuda", "cpu"):
        second = make_trainer(place, 4, averaged=True)
        second.load_state(arrays, values, None)
        assert all(
            type(part) is type(second.model.flat.values)
            for part in layers.state_arrays(second._carry)
        )
        second.run()
        if place == "cuda":
            assert_same_bits(
                cupy_device.get(second.model.flat.values), cupy_device.get(whole.model.flat.values)
            )
        else:
            loss, expected = (run.history.validation[-1].loss for run in (second, whole))
            assert loss == pytest.approx(expected, rel=1e-3)


def test_an_optimizer_of_before_the_move(emulated_device: Any) -> None:
    model = language_model()
    optimizer = training.AdamW(model)
    model.to("cuda")
    with pytest.raises(RuntimeError, match=r"\[AdamW\] the model lies elsewhere .* after model.to"):
        optimizer.step()


def test_statistics(emulated_device: Any) -> None:
    statistics = [training.Statistics(every=1), training.Statistics(every=1)]
    for place, each in zip(("cpu", "cuda"), statistics, strict=True):
        make_trainer(place, 2, callbacks=[each]).run()
    for host, there in zip(*(each.measurements for each in statistics), strict=True):
        for name, truth in host.parameters.items():
            assert there.parameters[name].grad_norm == pytest.approx(truth.grad_norm, rel=1e-3)
            assert there.parameters[name].zeros == truth.zeros


def test_the_task(emulated_device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained there, it is a model of the host; its checkpoint goes on in either place."""
    pytest.importorskip("safetensors", reason='pip install "unrolled[train]"')
    monkeypatch.setattr("unrolled.tasks._score._CONTEXT", 4)  # a step takes the emulation long
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox. " * 20)
    sizes = {"hidden": 4, "embedding": 2, "batch": 2, "steps_per_update": 4, "validations": 1}
    options = {**sizes, "quiet": True, "steps": 3}
    path = tmp_path / "there.safetensors"
    there = lm.train(text, output=path, device="cuda", **options)
    host = lm.train(text, **options)
    assert there.model.place == "cpu"
    expected = lm.evaluate(host, "the fox").bits_per_character
    for model in (there, lm.load(path)):
        assert lm.evaluate(model, "the fox").bits_per_character == pytest.approx(expected, rel=1e-3)
    for device in ("cuda", "cpu"):
        options = {"device": device, "steps": 4, "quiet": True}
        resumed = lm.train(resume=path, output=tmp_path / device, **options)
        assert resumed.model.place == "cpu"


def test_what_the_task_refuses(
    emulated_device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f g h. " * 100)
    monkeypatch.setattr(layers.Dropout, "_runs_on_cuda", False)  # as of a layer of one's own
    with pytest.raises(ValueError, match=r"cannot train on a CUDA device: .*got Dropout"):
        lm.train(text, device="cuda", batch=2, steps_per_update=4, steps=1, quiet=True)


def test_a_device_for_each_process(emulated_device: Any) -> None:
    emulated_device.cupy.cuda.Device.used.clear()
    unrolled.cuda.use_device(0, 1)
    assert emulated_device.cupy.cuda.Device.used == []
    with pytest.raises(ValueError, match=r"a CUDA device for each process .* got 1 for 2"):
        unrolled.cuda.use_device(1, 2)


def test_without_a_device(tmp_path: Path) -> None:
    if unrolled.cuda.is_available():
        pytest.skip("there is one")
    text = tmp_path / "text.txt"
    text.write_text("one two three. " * 100)
    with pytest.raises((ImportError, ValueError), match=r"\[cuda\] expected a "):
        lm.train(text, device="cuda", batch=2, steps=1, quiet=True)
