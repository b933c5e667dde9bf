"""A recurrent layer on a CUDA device is the layer on the host: results, moves, refusals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from cuda_devices import TorchDevice
from tolerances import assert_close, assert_same_bits
from unrolled import layers

ROOT = Path(__file__).resolve().parents[1]
T, B, I, H = 5, 4, 3, 6  # noqa: E741
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers": {"num_layers": 2, "bias": False},
    "both ways": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "dropout": {"num_layers": 2, "dropout": 0.5, "variational": True, "weight_dropout": 0.3},
    "zoneout": {"zoneout": 0.4, "bidirectional": True},
    "sum": {"num_layers": 2, "bidirectional": True, "merge": "sum", "residual": True},
    "clip of values": {"clip_gradient": 0.1},
    "clip of norms": {"num_layers": 2, "recurrent_dropout": 0.4, "clip_gradient": ("norm", 0.2)},
    "widths": {"hidden_size": (4, 7), "bidirectional": True},
}

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


def make_layer(kind: Any = unrolled.LSTM, **options: Any) -> Any:
    clip = options.pop("clip_gradient", None)
    layer = kind(I, **{"hidden_size": H, **options}, rng=np.random.default_rng(1))
    layer.clip_gradient = clip
    return layer


def run(layer: Any, put: Any) -> list[Any]:
    """y, states, gradients of inputs and of parameters."""
    rng = np.random.default_rng(2)
    first = (B, T) if layer.batch_first else (T, B)

    def array(*shape: int) -> Any:
        return put(rng.standard_normal(shape).astype(np.float32))

    x, lengths = array(*first, I), np.array([3, 5, 0, 4])
    resets = rng.random(first) < 0.3
    state = [array(*shape) for shape in layer._shapes(B)]
    state = state[0] if len(state) == 1 else tuple(state)
    options = {"lengths": lengths, "resets": resets}
    plain_y, plain_state = layer(x, state, **options)
    (y, final), pullback = layer.vjp(x, state, **options, rng=np.random.default_rng(3))
    layer.zero_grads()
    dx, dstate = pullback(array(*y.shape), final)
    results = [plain_y, y, dx]
    for each in (plain_state, final, dstate):
        results += each if isinstance(each, tuple) else (each,)
    return [*results, *layer.grads.values()]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", [unrolled.LSTM, unrolled.GRU, unrolled.RNN])
def test_it_computes_the_same(device: Any, kind: Any, options: str) -> None:
    """Masks of dropout and of zoneout included, which come from the same generator."""
    if isinstance(device, TorchDevice):
        pytest.skip("layers are on CuPy")
    layer = make_layer(kind, **OPTIONS[options])
    expected = run(layer, np.asarray)
    assert layer.to("cuda") is layer
    actual = run(layer, device.put)
    roundings = layer.num_layers * T * (I + 5 * H + B)
    for a, e in zip(actual, expected, strict=True):
        assert_close(device.get(a), e, K=roundings, kind="ranks")


@pytest.mark.parametrize("kind", [unrolled.LSTM, unrolled.GRU])
def test_learned_initial_states(emulated_device: Any, kind: Any) -> None:
    layer = make_layer(kind, bidirectional=True, learn_initial_state=True)
    for name, array in layer.parameters.items():
        if name.startswith("initial_"):
            array[...] = np.random.default_rng(4).standard_normal(H)
    x, dy = np.random.default_rng(5).standard_normal((2, T, B, 2 * H)).astype(np.float32)
    x = np.ascontiguousarray(x[..., :I])
    (expected, _), pullback = layer.vjp(x)
    pullback(dy)
    gradients = layer.flat.grads.copy()
    layer.to("cuda").zero_grads()
    (y, _), pullback = layer.vjp(emulated_device.put(x))
    pullback(emulated_device.put(dy))
    K = T * (I + 5 * H + B)
    assert_close(emulated_device.get(y), expected, K=K, kind="ranks")
    assert_close(emulated_device.get(layer.flat.grads), gradients, K=K, kind="ranks")


def test_it_moves_there_and_back(emulated_device: Any) -> None:
    layer = make_layer()
    before = {name: value.copy() for name, value in layer.parameters.items()}
    layer.to("cuda")
    for name, value in layer.parameters.items():
        assert isinstance(value, emulated_device.cupy.ndarray)
        assert np.shares_memory(value, layer.flat.values), name
    layer.to("cuda").to("cpu")
    for name, value in layer.parameters.items():
        assert type(value) is np.ndarray
        assert_same_bits(value, before[name])


def test_copies_lie_on_the_host(emulated_device: Any) -> None:
    layer = make_layer().to("cuda")
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for name, value in other.parameters.items():
            assert type(value) is np.ndarray
            assert_same_bits(value, emulated_device.get(layer.parameters[name]))


def test_parameters_are_loaded(emulated_device: Any) -> None:
    values = {name: value + 1 for name, value in make_layer().parameters.items()}
    layer = make_layer().to("cuda")
    layer.load_parameters(values)
    for name, value in layer.parameters.items():
        assert isinstance(value, emulated_device.cupy.ndarray)
        assert_same_bits(emulated_device.get(value), values[name])


def test_what_runs_on_the_host_alone(emulated_device: Any) -> None:
    layer = make_layer().to("cuda")
    with pytest.raises(ValueError, match=r"a layer on the host, .* call layer.to\("):
        layer.memory(3, 2)
    with pytest.raises(TypeError, match=r"layers of float32 that run on a CUDA.*got Layer"):
        layers.Layer({"weight": np.zeros(3, np.float32)}).to("cuda")
    with pytest.raises(TypeError, match="got LSTM of float64"):
        make_layer(dtype=np.float64).to("cuda")
    with pytest.raises(ValueError, match="expected one of cpu, cuda, got 'gpu'"):
        make_layer().to("gpu")


def test_arrays_of_the_other_place(emulated_device: Any) -> None:
    x = np.zeros((T, B, I), np.float32)
    with pytest.raises(TypeError, match="an array of a CUDA device, got a ndarray"):
        make_layer().to("cuda")(x)
    with pytest.raises(TypeError, match="states to be on a CUDA device, got a ndarray"):
        make_layer(unrolled.GRU).to("cuda")(emulated_device.put(x), np.zeros((1, B, H), np.float32))


OF_ONE_CELL: dict[str, tuple[Any, dict[str, Any]]] = {
    "projected": (unrolled.LSTM, {"proj_size": 4, "num_layers": 2, "bidirectional": True}),
    "projected, with all of it": (
        unrolled.LSTM,
        {"proj_size": 4, "zoneout": 0.3, "recurrent_dropout": 0.4, "cell_clip": 0.3},
    ),
    "reset before": (unrolled.GRU, {"reset_after": False, "num_layers": 2}),
    "reset before, with all of it": (
        unrolled.GRU,
        {"reset_after": False, "zoneout": 0.3, "recurrent_dropout": 0.4, "clip_gradient": 0.1},
    ),
    "normalised LSTM": (
        unrolled.LSTM,
        {"layer_norm": True, "zoneout": 0.3, "cell_clip": 0.3, "clip_gradient": ("norm", 0.2)},
    ),
    "normalised GRU": (
        unrolled.GRU,
        {"layer_norm": True, "num_layers": 2, "bidirectional": True, "recurrent_dropout": 0.4},
    ),
}


@pytest.mark.parametrize("which", OF_ONE_CELL)
def test_cells_of_other_kinds(emulated_device: Any, which: str) -> None:
    """With two products, or with norms."""
    kind, options = OF_ONE_CELL[which]
    layer = make_layer(kind, **options)
    expected = run(layer, np.asarray)
    actual = run(layer.to("cuda"), emulated_device.put)
    K = 5 * layer.num_layers * T * (I + 5 * H + B)  # five sums of a step follow each other
    for a, e in zip(actual, expected, strict=True):
        assert_close(emulated_device.get(a), e, K=K, kind="ranks")


def test_the_cell_is_clipped(emulated_device: Any) -> None:
    layer = make_layer(num_layers=2, cell_clip=0.1)
    expected = run(layer, np.asarray)
    actual = run(layer.to("cuda"), emulated_device.put)
    assert np.any(np.abs(expected[4]) == np.float32(0.1))  # c in the end
    for a, e in zip(actual, expected, strict=True):
        assert_close(emulated_device.get(a), e, K=2 * T * (I + 5 * H + B), kind="ranks")


@pytest.mark.parametrize("options", ["plain", "two layers", "widths"])
def test_states_after_every_step(emulated_device: Any, options: str) -> None:
    layer = make_layer(**{**OPTIONS[options], "bidirectional": False})
    x = np.random.default_rng(6).standard_normal((T, B, I)).astype(np.float32)
    expected = layer.states(x)
    actual = layer.to("cuda").states(emulated_device.put(x))
    for a, e in zip(actual, expected, strict=True):
        assert_close(emulated_device.get(a), e, K=2 * T * (I + 5 * H + B), kind="ranks")


STREAMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "three layers": {"num_layers": 3, "bias": False},
    "zoneout": {"num_layers": 2, "zoneout": 0.4},
    "residual": {"num_layers": 3, "residual": True},
    "widths": {"hidden_size": (4, 7)},
    "learned beginning": {"learn_initial_state": True},
}
OF_ONE_STREAM: dict[str, tuple[Any, dict[str, Any]]] = {
    "projected": (unrolled.LSTM, {"proj_size": 4, "num_layers": 2, "zoneout": 0.2}),
    "reset before": (unrolled.GRU, {"reset_after": False, "num_layers": 2}),
    "normalised": (unrolled.LSTM, {"layer_norm": True}),
}


class TestStream:
    @pytest.mark.parametrize("options", STREAMED)
    @pytest.mark.parametrize("kind", [unrolled.LSTM, unrolled.GRU, unrolled.RNN])
    def test_it_takes_the_steps_of_the_host(
        self, emulated_device: Any, kind: Any, options: str
    ) -> None:
        self.check(emulated_device, make_layer(kind, **STREAMED[options]))

    @pytest.mark.parametrize("which", OF_ONE_STREAM)
    def test_cells_of_other_kinds(self, emulated_device: Any, which: str) -> None:
        kind, options = OF_ONE_STREAM[which]
        self.check(emulated_device, make_layer(kind, **options))

    def check(self, emulated_device: Any, layer: Any) -> None:
        """More steps than a graph waits for; the state carries on, and begins anew."""
        for name, array in layer.parameters.items():
            if name.startswith("initial_"):
                array[...] = np.random.default_rng(4).standard_normal(H)
        host = layer.stream(B)
        stream = layer.to("cuda").stream(B)
        rng = np.random.default_rng(7)
        for step in range(1, 2 * T + 1):
            if step == T:
                host.reset()
                stream.reset()
            x_t = rng.standard_normal((B, I)).astype(np.float32)
            y_t = stream(emulated_device.put(x_t))
            K = 3 * layer.num_layers * step * (I + 5 * H + B)  # three sums follow each other
            assert_close(emulated_device.get(y_t), host(x_t), K=K, kind="ranks")
            states = zip(self.arrays(stream.state), self.arrays(host.state), strict=True)
            for a, e in states:
                assert_close(emulated_device.get(a), e, K=K, kind="ranks")

    def arrays(self, state: Any) -> tuple[Any, ...]:
        return state if isinstance(state, tuple) else (state,)

    def test_steps_are_graphs(self, emulated_device: Any) -> None:
        """Two layers: made at the second step, two launches a step from then on."""
        stream = make_layer(num_layers=2).to("cuda").stream(1)
        counts = []
        for _ in range(4):
            stream(emulated_device.put(np.zeros((1, I), np.float32)))
            counts.append([emulated_device.count(f"graphs_{of}") for of in ("made", "launched")])
        made, launched = np.diff(counts, axis=0).T
        assert made.tolist() == [2, 0, 0]
        assert launched.tolist() == [2, 2, 2]

    def test_later_changes_do_not_reach_it(self, emulated_device: Any) -> None:
        layer = make_layer(learn_initial_state=True).to("cuda")
        x_t = emulated_device.put(np.ones((B, I), np.float32))
        stream = layer.stream(B)
        expected = emulated_device.get(stream(x_t))
        layer.flat.values[...] = 3
        stream.reset()
        assert_same_bits(emulated_device.get(stream(x_t)), expected)
        assert_same_bits(emulated_device.get(stream.fork()(x_t)), expected)

    def test_a_state_is_assigned(self, emulated_device: Any) -> None:
        layer = make_layer().to("cuda")
        x_t, out = (emulated_device.put(np.ones((B, n), np.float32)) for n in (I, H))
        first, second = layer.stream(B), layer.stream(B)
        first(x_t)
        second.state = first.state
        assert second(x_t, out=out) is out
        assert_same_bits(emulated_device.get(out), emulated_device.get(first(x_t)))

    def test_wrong_input(self, emulated_device: Any) -> None:
        stream = make_layer().to("cuda").stream(B)
        put, x_t = emulated_device.put, np.zeros((B, I), np.float32)
        with pytest.raises(ValueError, match=r"x_t of shape \(B, I\) = \(4, 3\), got \(3, 4\)"):
            stream(put(np.ascontiguousarray(x_t.T)))
        with pytest.raises(ValueError, match=r"out of shape \(B, H\) = \(4, 6\), got \(4, 3\)"):
            stream(put(x_t), out=put(x_t))
        with pytest.raises(TypeError, match="expected x_t of float32, got float64"):
            stream(put(x_t.astype(np.float64)))
        with pytest.raises(TypeError, match="an array of a CUDA device, got a ndarray"):
            stream(x_t)
