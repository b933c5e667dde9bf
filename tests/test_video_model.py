"""Models of video: gradients through time into the pictures' network, clips apart, and streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_slope
from unrolled.models import CaptionModel, VideoEncoderConfig, VideoModel
from unrolled.models._video_encoder import in_context

IMAGE = (9, 12, 2)
LENGTHS = np.array([5, 0, 3])
SMALL: dict[str, Any] = {
    "channels": (4, 5),
    "features": 7,
    "hidden_size": 6,
    "dtype": "float64",
}


def config(image: tuple[int, ...] = IMAGE, **options: Any) -> VideoEncoderConfig:
    return VideoEncoderConfig(image, **{**SMALL, **options})


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *IMAGE))


def roundings(model: Any) -> int:
    """Of the longest path through a model: every parameter is met at most once a step."""
    return int(LENGTHS.max()) * sum(int(np.prod(p.shape[1:])) for p in model.parameters.values())


def check_slopes(model: Any, loss: Any, pull: Any) -> None:
    """Compares the gradient of each parameter with a difference along a random direction."""
    rng = np.random.default_rng(5)
    pull()
    checked = 0
    for name, parameter in model.parameters.items():
        if "running" in name:
            assert not model.grads[name].any()
            continue
        direction = rng.standard_normal(parameter.shape)
        here = parameter.copy()
        parameter[...] = here + STEP * direction
        above = loss()
        parameter[...] = here - STEP * direction
        below = loss()
        parameter[...] = here
        terms = model.grads[name] * direction
        assert_slope(
            float(terms.sum()), (above - below) / (2 * STEP), float(np.abs(terms).sum()), name
        )
        checked += 1
    assert checked > 10


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("context", [1, 3])
def test_the_loss_reaches_every_parameter(pooled: bool, context: int) -> None:
    rng = np.random.default_rng(1)
    model = VideoModel(config(context=context, pooled=context > 1), 4, pooled=pooled, rng=rng)
    x = images(8)
    y, pullback = model.vjp(x, LENGTHS, rng=rng)
    weights = rng.standard_normal(y.shape)
    if not pooled:  # behind its end a clip says nothing
        weights[np.arange(len(y))[:, None] >= LENGTHS] = 0.0

    def loss() -> float:
        return float((model.vjp(x, LENGTHS, rng=rng)[0] * weights).sum())

    check_slopes(model, loss, lambda: pullback(weights))


def test_the_loss_of_a_caption_reaches_every_parameter() -> None:
    rng = np.random.default_rng(1)
    model = CaptionModel(config(context=2), 6, embedding_size=5, rng=rng)
    lengths = np.array([5, 3])
    targets, counts = np.array([[3, 2], [1, 0], [0, 0]]), np.array([3, 2])
    x = images(8)

    def run() -> Any:
        return model.loss_vjp(x, lengths, targets, counts, smoothing=0.1, rng=rng)

    check_slopes(model, lambda: float(run()[0]), lambda: run()[1](1.0))


def test_features_need_no_network() -> None:
    rng = np.random.default_rng(2)
    model = VideoModel(config((7,), network="none"), 3, rng=rng)
    x = rng.standard_normal((8, 7))
    assert model(x, LENGTHS).shape == (5, 3, 3)
    y, pullback = model.vjp(x, LENGTHS, rng=rng)
    weights = np.where(np.arange(5)[:, None, None] < LENGTHS[:, None], 1.0, 0.0) * np.ones(3)
    check_slopes(
        model,
        lambda: float((model(x, LENGTHS) * weights).sum()),
        lambda: pullback(weights * np.ones(y.shape)),
    )


def test_a_clip_does_not_see_the_others() -> None:
    model = VideoModel(config(context=3), 4, rng=np.random.default_rng(3))
    x = images(8)
    together = model(x, LENGTHS)
    others = x.copy()
    others[5:] = images(3, seed=9)
    assert (model(others, LENGTHS)[:, 0] == together[:, 0]).all()
    alone = model(x[5:], np.array([3]))
    assert_close(together[:3, 2], alone[:, 0], K=roundings(model), kind="forward")


def test_frames_before_the_first_are_as_the_first() -> None:
    model = VideoModel(config(context=3), 4, rng=np.random.default_rng(3))
    still = np.repeat(images(1), 6, axis=0)
    seen = model.encoder.packed()(np.concatenate([still] * 3, axis=3))
    assert (model.encoder.packed()(in_context(still, np.array([6]), 3)) == seen).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_a_stream_says_what_the_model_says(pooled: bool) -> None:
    rng = np.random.default_rng(4)
    model = VideoModel(config(context=2, bidirectional=False), 4, pooled=pooled, rng=rng)
    x, stream = images(6), model.stream()
    for step, frame in enumerate(x, 1):
        said = stream(frame)
        y = model(x[:step], np.array([step]))
        whole = y[0] if pooled else y[-1, 0]
        assert_close(said, whole, K=roundings(model), kind="forward")
    with pytest.raises(ValueError, match="expected a frame"):
        stream(x)


def test_the_same_architecture_comes_back() -> None:
    for model in (
        VideoModel(config(context=2), 4, rng=np.random.default_rng(0)),
        CaptionModel(config(context=2), 6, rng=np.random.default_rng(0)),
    ):
        again = type(model).from_parameters(model.config, model.parameters)
        x, lengths = images(5), np.array([5])
        assert (again.encoder(x, lengths)[0] == model.encoder(x, lengths)[0]).all()
        assert str(model.num_parameters)[0] in model.describe()


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    model = VideoModel(config(), 4, rng=rng)
    with pytest.raises(ValueError, match=r"N = sum\(lengths\)"):
        model(images(7), LENGTHS)
    with pytest.raises(ValueError, match="bidirectional"):
        model.stream()
    for network, image in (("none", IMAGE), ("small", (7,)), ("resnet", IMAGE)):
        with pytest.raises(ValueError, match="there is no network"):
            VideoModel(config(image, network=network), 4, rng=rng)
    with pytest.raises(ValueError, match="there is no network"):
        VideoModel(config((32, 32, 3), network="efficientnet-lite0", context=2), 4, rng=rng)
