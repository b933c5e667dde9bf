"""What unrolled.cuda takes: arrays by DLPack and the CUDA array interface; what it refuses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cuda_devices import STREAM, InterfaceArray
from cuda_runs import Run, check, make
from dlpack import RELEASE, Managed, ManagedVersioned, Tensor, capsule_name, make_capsule
from unrolled import cuda, functional

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "src" / "cuda").is_dir(), reason="runs in the source tree"
)


class Refused:
    """A call with one argument changed."""

    def __init__(self, device: Any) -> None:
        self.problem = make("lstm", 4, 3, 5, 6)
        self.device = device
        self.run = Run(device, self.problem)

    def pack(self, **changes: Any) -> None:
        names = functional.PARAMETERS
        given = dict(zip(names, self.run.put_some(self.problem.weights), strict=True))
        cuda.pack(**{"cell": "lstm", **given, **changes})

    def scan(self, **changes: Any) -> None:
        given = {"x": self.run.x, "states": self.run.states, **changes}
        cuda.scan_vjp(self.run.weights, **given)

    def backward(self, **changes: Any) -> None:
        _, _, saved = cuda.scan_vjp(self.run.weights, self.run.x, self.run.states)
        given = {"dy": self.run.dy, "dstates": self.run.dstates, "grads": self.run.grads}
        cuda.scan_backward(saved, **{**given, **changes})

    def zeros(self, *shape: int, dtype: Any = np.float32) -> Any:
        return self.device.put(np.zeros(shape, dtype))


WRONG: dict[str, tuple[Callable[[Refused], None], type[Exception], str]] = {
    "cell": (lambda r: r.pack(cell="lstn"), ValueError, r"\[cell\] expected one of .*, got 'lstn'"),
    "path": (lambda r: r.pack(path="fast"), ValueError, "path to be one of auto, steps, pers"),
    "precision": (lambda r: r.pack(precision="int8"), ValueError, "full, tf32, bf16, got 'int8'"),
    "weights on the host": (
        lambda r: r.pack(weight_hh=np.zeros((24, 6), np.float32)),
        TypeError,
        "expected weight_hh to be on a CUDA device, got a ndarray elsewhere",
    ),
    "no array": (lambda r: r.pack(weight_hh=[1.0]), TypeError, "array of a CUDA device, got a l"),
    "weights of a shape": (
        lambda r: r.pack(weight_hh=r.zeros(18, 6)),
        ValueError,
        r"weight_hh of shape \(G\*H, H\) = \(24, 6\), got \(18, 6\)",
    ),
    "bias of a dtype": (
        lambda r: r.pack(bias_ih=r.zeros(24, dtype=np.float64)),
        TypeError,
        "bias_ih of dtype float32, got float64",
    ),
    "weights transposed": (
        lambda r: r.pack(weight_ih=r.zeros(5, 24).T),
        ValueError,
        "weight_ih to be C-contiguous",
    ),
    "x of two axes": (lambda r: r.scan(x=r.zeros(4, 5)), ValueError, r"\(T, B, I\), got \(4, 5\)"),
    "x of a width": (
        lambda r: r.scan(x=r.zeros(4, 3, 7)),
        ValueError,
        r"x of shape \(T, B, I\) = \(4, 3, 5\), got \(4, 3, 7\)",
    ),
    "x of a dtype": (
        lambda r: r.scan(x=r.zeros(4, 3, 5, dtype=np.float64)),
        TypeError,
        "x of dtype float32, got float64",
    ),
    "x not along I": (
        lambda r: r.scan(x=r.zeros(5, 3, 4).swapaxes(0, 2)),
        ValueError,
        "x to have unit stride",
    ),
    "one state": (lambda r: r.scan(states=(r.zeros(3, 6),)), ValueError, "expected 2 state arrays"),
    "states in one": (lambda r: r.scan(states=r.zeros(2, 3, 6)), TypeError, "as a tuple of arrays"),
    "state of a shape": (
        lambda r: r.scan(states=(r.zeros(3, 6), r.zeros(3, 5))),
        ValueError,
        r"state c of shape \(B, H\) = \(3, 6\), got \(3, 5\)",
    ),
    "out of a shape": (lambda r: r.scan(out=r.zeros(4, 3, 7)), ValueError, r"out of shape \(T, B"),
    "lengths too long": (lambda r: r.scan(lengths=[1, 5, 2]), ValueError, r"in 0 .. T = 4, got 5"),
    "lengths of a dtype": (lambda r: r.scan(lengths=[1.0, 2, 3]), TypeError, "lengths of an int"),
    "too few lengths": (lambda r: r.scan(lengths=[1, 2]), ValueError, r"\(B,\) = \(3,\), got \(2"),
    "resets of a dtype": (
        lambda r: r.scan(resets=np.zeros((4, 3))),
        TypeError,
        "resets of dtype bool, got float64",
    ),
    "resets of a shape": (
        lambda r: r.scan(resets=np.zeros((3, 4), bool)),
        ValueError,
        r"resets of shape \(T, B\) = \(4, 3\), got \(3, 4\)",
    ),
    "recompute": (lambda r: r.scan(recompute="all"), ValueError, "steps >= 1, got .all."),
    "a clip below zero": (lambda r: r.scan(cell_clip=-1.0), ValueError, "cell_clip > 0, got -1"),
    "factors of a shape": (
        lambda r: r.scan(recurrent_factors=r.zeros(3, 5)),
        ValueError,
        r"recurrent_factors of shape \(B, H\) = \(3, 6\), got \(3, 5\)",
    ),
    "factors on the host": (
        lambda r: r.scan(recurrent_factors=np.zeros((3, 6), np.float32)),
        TypeError,
        "recurrent_factors to be on a CUDA device",
    ),
    "a norm of nothing": (
        lambda r: r.backward(clip_gradient=("norm", 0)),
        ValueError,
        "clip_gradient to be None, a limit > 0 or",
    ),
    "three gradients": (lambda r: r.backward(grads=[None] * 3), ValueError, "to be 4 to 6 arrays"),
    "no gradient": (
        lambda r: r.backward(grads=[None] * 4),
        ValueError,
        "expected dweight_ih, got None",
    ),
    "gradient of a shape": (
        lambda r: r.backward(grads=(*r.run.grads[:3], r.zeros(6), None)),
        ValueError,
        r"dbias_hh of shape \(G\*H,\) = \(24,\), got \(6,\)",
    ),
    "dy of a shape": (lambda r: r.backward(dy=r.zeros(4, 3, 5)), ValueError, "dy of shape"),
    "dx of a shape": (lambda r: r.backward(dx=r.zeros(4, 3, 6)), ValueError, "dx of shape"),
    "no recurrent weights": (
        lambda r: r.pack(weight_hh=None),
        ValueError,
        r"weight_hh of shape \(G\*H, H\), got None",
    ),
    "weights that the cell lacks": (
        lambda r: r.pack(weight_unit=r.zeros(18)),
        ValueError,
        "expected no weight_unit, which this cell does not have",
    ),
    "two updates too few": (
        lambda r: r.scan(updates=[r.zeros(4, 3, 6)]),
        ValueError,
        "expected 2 arrays update of shape",
    ),
    "steps of a shape": (
        lambda r: r.scan(steps_out=[r.zeros(4, 3, 5)]),
        ValueError,
        r"steps of c of shape \(T, B, H\) = \(4, 3, 6\), got \(4, 3, 5\)",
    ),
    "no dx": (lambda r: r.backward(accumulate_dx=True), ValueError, "expected dx with accumulate"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments(device: Any, wrong: str) -> None:
    call, error, text = WRONG[wrong]
    refused = Refused(device)
    with pytest.raises(error, match=text):
        call(refused)
    check(refused.problem, refused.run.vjp())  # and nothing is broken by it


def test_memory_that_may_not_be_written(emulated_device: Any) -> None:
    run = Run(emulated_device, make("gru", 4, 3, 5, 6))
    out = InterfaceArray(np.zeros((4, 3, 6), np.float32), read_only=True)
    with pytest.raises(ValueError, match="out to be writable"):
        run.scan(out=out)


class Producer:
    """An array that exports what a test says; `asked` is how it was asked for it."""

    def __init__(self, *, version: int | None = None, flags: int = 0, **fields: Any) -> None:
        shape = fields.pop("shape", (2, 3))
        strides = fields.pop("strides", None)
        tensor = Tensor(
            **{
                "data": 0x7000,
                "device_type": 2,
                "code": 2,
                "bits": 32,
                "lanes": 1,
                "dimensions": len(shape),
                "shape": (ctypes.c_int64 * len(shape))(*shape),
                "strides": strides and (ctypes.c_int64 * len(shape))(*strides),
                **fields,
            }
        )
        self.released = 0
        self.asked: dict[str, Any] = {}
        self.version, self.device = version, (tensor.device_type, tensor.device_id)
        release = RELEASE(self.release)
        if version is None:
            self.managed: Any = Managed(tensor, None, release)
            self.name = b"dltensor"
        else:
            self.managed = ManagedVersioned(version, 0, None, release, flags, tensor)
            self.name = b"dltensor_versioned"
        self.capsule = make_capsule(ctypes.byref(self.managed), self.name)

    def release(self, _: int) -> None:
        self.released += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **asked: Any) -> Any:
        if self.version is None and "max_version" in asked:
            raise TypeError("a producer of DLPack 0.x")
        self.asked = asked
        return self.capsule


@pytest.fixture(scope="module")
def module(emulated: tuple[ModuleType, Path]) -> ModuleType:
    return emulated[0]


class TestDlpack:
    def test_contiguous(self, module: ModuleType) -> None:
        producer = Producer(device_id=3, byte_offset=8)
        array = module.Array("here", "x", producer, STREAM)
        assert (array.shape, array.strides, array.dtype) == ((2, 3), (3, 1), "float32")
        assert (array.address, array.device, array.writable) == (0x7008, 3, True)
        assert producer.asked == {"stream": STREAM}

    def test_strides(self, module: ModuleType) -> None:
        assert module.Array("here", "x", Producer(strides=(1, 2)), 0).strides == (1, 2)

    def test_the_default_stream_is_called_1(self, module: ModuleType) -> None:
        producer = Producer(version=1)
        module.Array("here", "x", producer, 0)
        assert producer.asked == {"stream": 1, "max_version": (1, 0)}

    @pytest.mark.parametrize(("flags", "writable"), [(0, True), (1, False), (2, True), (3, False)])
    def test_read_only(self, module: ModuleType, flags: int, writable: bool) -> None:
        producer = Producer(version=1, flags=flags)
        assert module.Array("here", "x", producer, 0).writable is writable

    @pytest.mark.parametrize("version", [None, 1])
    def test_it_is_given_back_once(self, module: ModuleType, version: int | None) -> None:
        producer = Producer(version=version)
        array = module.Array("here", "x", producer, 0)
        assert capsule_name(producer.capsule) == b"used_" + producer.name
        assert producer.released == 0
        del array
        assert producer.released == 1

    @pytest.mark.parametrize(
        ("code", "bits", "lanes", "dtype"),
        [
            (0, 64, 1, "int64"),
            (1, 8, 1, "uint8"),
            (2, 16, 1, "float16"),
            (2, 64, 1, "float64"),
            (4, 16, 1, "bfloat16"),
            (6, 8, 1, "bool"),
        ],
    )
    def test_dtypes(self, module: ModuleType, code: int, bits: int, lanes: int, dtype: str) -> None:
        producer = Producer(code=code, bits=bits, lanes=lanes)
        assert module.Array("here", "x", producer, 0).dtype == dtype

    def test_vectors_are_no_numbers(self, module: ModuleType) -> None:
        weight = module.Array("here", "w", Producer(lanes=4), 0)
        with pytest.raises(TypeError, match="weight_ih of dtype float32, got vectors"):
            module.Weights("gru", weight, weight, *[None] * 4, "full", "auto", [], np.inf, False)

    @pytest.mark.parametrize("device_type", [1, 3, 10])
    def test_other_devices(self, module: ModuleType, device_type: int) -> None:
        producer = Producer(device_type=device_type)
        with pytest.raises(
            TypeError, match=r"\[here\] expected x to be on a CUDA device, got a Pro"
        ):
            module.Array("here", "x", producer, 0)
        assert producer.asked == {}

    def test_a_future_version(self, module: ModuleType) -> None:
        producer = Producer(version=2)
        with pytest.raises(TypeError, match="a tensor of DLPack 1, got one of DLPack 2"):
            module.Array("here", "x", producer, 0)
        assert capsule_name(producer.capsule) == producer.name

    def test_too_many_axes(self, module: ModuleType) -> None:
        producer = Producer(shape=(1, 1, 1, 1, 1))
        with pytest.raises(ValueError, match="at most 4 dimensions, got 5"):
            module.Array("here", "x", producer, 0)
        assert producer.released == 0

    def test_arrays_of_two_devices(self, module: ModuleType) -> None:
        def view(*shape: int, device: int) -> Any:
            return module.Array("here", "x", Producer(shape=shape, device_id=device), 0)

        def pack(device: int) -> Any:
            weights = view(4, 4, device=0), view(4, 4, device=device)
            return module.Weights(
                "rnn_tanh", *weights, *[None] * 4, "full", "auto", [], np.inf, False
            )

        text = "expected all arrays on one device, cuda:0, got {} on cuda:1"
        with pytest.raises(ValueError, match=text.format("weight_hh")):
            pack(1)
        plan = module.Plan("rnn_tanh", 2, 3, None, None, False)
        x, y = view(2, 3, 4, device=1), view(2, 3, 4, device=0)
        with pytest.raises(ValueError, match=text.format("x")):
            module.forward(pack(0), plan, x, y, [], [], np.inf, None, [], [], [], None, y, 0)


class TestInterface:
    def test_strides_of_bytes(self, module: ModuleType) -> None:
        host = np.zeros((4, 6), np.float32)[:, ::2]
        array = module.Array("here", "x", InterfaceArray(host, read_only=True), STREAM)
        assert (array.shape, array.strides, array.dtype) == ((4, 3), (6, 2), "float32")
        assert (array.address, array.device, array.writable) == (host.ctypes.data, -1, False)

    @pytest.mark.parametrize("dtype", ["float16", "int32", ">f4", "bool", "int64"])
    def test_dtypes(self, module: ModuleType, dtype: str) -> None:
        host = np.zeros(3, dtype)
        expected = dtype if dtype in ("bool", "int64") else host.dtype.str
        assert module.Array("here", "x", InterfaceArray(host), STREAM).dtype == expected

    def test_the_producer_is_waited_for(self, emulated_device: Any) -> None:
        """Only where it works on another stream than ours."""
        run = Run(emulated_device, make("gru", 4, 3, 5, 6))
        x, before = run.x, emulated_device.count("stream_waits")
        for stream, waits in ((None, 0), (STREAM, 0), (1, 1)):
            run.x = InterfaceArray(x, stream=stream)
            run.scan()
            assert emulated_device.count("stream_waits") - before == waits


def test_options_that_a_cell_lacks(device: Any) -> None:
    gru, alone = (Run(device, make(cell, 2, 3, 4, 5)) for cell in ("gru", "indrnn"))
    with pytest.raises(ValueError, match="the cell has no state c to clip"):
        gru.scan(cell_clip=1.0)
    with pytest.raises(ValueError, match="the cell has no recurrent product"):
        alone.scan(recurrent_factors=device.put(np.ones((3, 5), np.float32)))
