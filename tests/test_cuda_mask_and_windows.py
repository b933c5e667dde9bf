"""Masks, recomputation and single steps of BPTT on a CUDA device: those of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from test_cuda_layers import make_layer
from tolerances import assert_close, assert_same_bits
from unrolled import cuda

ROOT = Path(__file__).resolve().parents[1]
T, B, I, H = 7, 4, 3, 6  # noqa: E741
KINDS = [unrolled.LSTM, unrolled.GRU, unrolled.RNN]
K = 2 * T * (I + 5 * H + B)  # roundings of two layers

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def run(layer: Any, put: Any, **options: Any) -> list[Any]:
    """y, states, gradients of inputs and of parameters."""
    rng = np.random.default_rng(2)

    def array(*shape: int) -> Any:
        return put(rng.standard_normal(shape).astype(np.float32))

    x = array(*((B, T) if layer.batch_first else (T, B)), I)
    state = [array(*shape) for shape in layer._shapes(B)]
    state = state[0] if len(state) == 1 else tuple(state)
    (y, final), pullback = layer.vjp(x, state, **options, rng=np.random.default_rng(3))
    layer.zero_grads()
    dx, dstate = pullback(array(*y.shape), final)
    results = [y, dx]
    for each in (final, dstate):
        results += each if isinstance(each, tuple) else (each,)
    return [*results, *layer.grads.values()]


MASKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "both ways": {"num_layers": 2, "bidirectional": True},
    "batch first": {"num_layers": 2, "batch_first": True, "residual": True},
}


@pytest.mark.parametrize("more", ["", "lengths", "resets"])
@pytest.mark.parametrize("options", MASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_masks(emulated_device: Any, kind: Any, options: str, more: str) -> None:
    """A row without a live step is among them; what a masked step reads is never read."""
    layer = make_layer(kind, **MASKED[options])
    rng = np.random.default_rng(4)
    mask = rng.random((T, B)) < 0.6
    mask[:, 1] = False
    given: dict[str, Any] = {"mask": mask}
    if more == "lengths":
        given["lengths"] = np.array([3, 7, 0, 5])
    if more == "resets":
        given["resets"] = rng.random((T, B)) < 0.3
    if layer.batch_first:
        given = {name: v.T.copy() if v.ndim == 2 else v for name, v in given.items()}
    expected = run(layer, np.asarray, **given)
    actual = run(layer.to("cuda"), emulated_device.put, **given)
    for a, e in zip(actual, expected, strict=True):
        assert_close(emulated_device.get(a), e, K=K, kind="ranks")


WINDOWED: dict[str, tuple[Any, dict[str, Any]]] = {  # recompute, and options of the layer
    "gates": ("gates", {}),
    "every step": (1, {}),
    "one window": (100, {"zoneout": 0.3, "recurrent_dropout": 0.4}),
    "both ways": (3, {"bidirectional": True}),
    "clip of values": (2, {"clip_gradient": 0.1}),
    "clip of norms": (3, {"clip_gradient": ("norm", 0.2)}),
}


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("which", WINDOWED)
def test_recomputation(emulated_device: Any, which: str, ragged: bool) -> None:
    recompute, options = WINDOWED[which]
    layer = make_layer(unrolled.LSTM, **options)
    given: dict[str, Any] = {}
    if ragged:
        given["lengths"] = np.array([3, 7, 0, 4])
        given["resets"] = np.random.default_rng(5).random((T, B)) < 0.3
    layer.to("cuda")
    expected = run(layer, emulated_device.put, **given)
    layer.recompute = recompute
    for a, e in zip(run(layer, emulated_device.put, **given), expected, strict=True):
        assert_close(emulated_device.get(a), emulated_device.get(e), K=K, kind="ranks")


def test_recomputation_saves_memory(emulated_device: Any) -> None:
    put = emulated_device.put
    layer = make_layer(unrolled.LSTM)
    weights = cuda.pack("lstm", *map(put, layer.parameters.values()))
    x = put(np.zeros((64, B, I), np.float32))
    sizes = [cuda.scan_vjp(weights, x, recompute=recompute)[2].nbytes for recompute in ("none", 8)]
    assert sizes[1] == 7 * 2 * B * H * 4  # h and c, between eight windows
    assert sizes[0] > 64 * 6 * B * H * 4 - 1


def test_wrong_arguments_of_recomputation(emulated_device: Any) -> None:
    put = emulated_device.put
    layer = make_layer(unrolled.LSTM)
    weights = cuda.pack("lstm", *map(put, layer.parameters.values()))
    x = put(np.zeros((T, B, I), np.float32))
    with pytest.raises(ValueError, match='expected recompute to be "none", "gates" or a number'):
        cuda.scan_vjp(weights, x, recompute=0)
    with pytest.raises(ValueError, match=r"expected lengths in 0 \.\. T = 7, got 8"):
        cuda.scan_vjp(weights, x, recompute=3, lengths=[8, 1, 1, 1])
    with pytest.raises(ValueError, match=r"expected x of shape \(T, B, I\)"):
        cuda.scan_vjp(weights, x[0], recompute=3)
    *_, saved = cuda.scan_vjp(weights, x, recompute=3)
    grads = [put(np.zeros_like(each)) for each in layer.parameters.values()]
    with pytest.raises(ValueError, match="expected dx with accumulate_dx=True, got None"):
        cuda.scan_backward(saved, None, grads=grads, accumulate_dx=True)


STEPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2, "dropout": 0.3, "variational": True, "residual": True},
    "zoneout": {"zoneout": 0.4, "recurrent_dropout": 0.3, "weight_dropout": 0.2},
}


@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("options", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_steps(emulated_device: Any, kind: Any, options: str, ragged: bool) -> None:
    """Each input is the output of the step before, so that all of them depend on each other."""
    layer = make_layer(kind, **{"hidden_size": I, **STEPS[options]})
    lengths = np.array([3, 7, 0, 4]) if ragged else np.full(B, T)
    rng = np.random.default_rng(6)
    first, dy = rng.standard_normal((2, B, I)).astype(np.float32)

    def run_steps(put: Any) -> list[Any]:
        layer.zero_grads()
        steps = layer.steps_vjp(rng=np.random.default_rng(7))
        x, state = put(first), None
        for t in range(T):
            x, state = steps(x, state, (t < lengths).astype(np.int64))
        dx, dstate = put(dy), None
        for _ in range(T):
            dx, dstate = steps.pull(dx, dstate)
        states = state if isinstance(state, tuple) else (state,)
        return [x, *states, dx, *layer.grads.values()]

    expected = run_steps(np.asarray)
    layer.to("cuda")
    for a, e in zip(run_steps(emulated_device.put), expected, strict=True):
        assert_close(emulated_device.get(a), e, K=K, kind="ranks")


def test_steps_of_one_graph(emulated_device: Any) -> None:
    """A step over all rows has the plan that all have: nothing is copied for it."""
    layer = make_layer(unrolled.GRU).to("cuda")
    x = emulated_device.put(np.ones((B, I), np.float32))
    whole, some = (layer.steps_vjp() for _ in range(2))
    y, _ = whole(x, None, np.ones(B, np.int64))
    live = np.array([1, 1, 1, 0])
    z, _ = some(x, None, live)
    assert_same_bits(emulated_device.get(y)[:3], emulated_device.get(z)[:3])
    assert not emulated_device.get(z)[3].any()
