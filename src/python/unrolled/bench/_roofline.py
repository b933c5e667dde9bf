"""The least time that work can take on this machine: a roofline, measured in the same run.

One direction of one layer over T steps of a batch of B, with I inputs, H hidden units and G gates:

    operations, forward          2 * T * B * G*H * (I + H)
    operations, with gradients   three times that: the products for y, for dx and dh, and for dW
    seconds >= operations / peak                                         of all threads together
    seconds >= sum over phases of bytes of weights read / bandwidth of the cache that holds them

Weights are all that the second line counts. The recurrent weights (G*H*H values) are read again at
every step, once on the way forward and, with gradients, once more on the way back; each thread
reads its own part of them. The input weights (G*H*I values) are read once on the way forward, and
once more for dx; they have to come from wherever both matrices fit together.

The larger of the two is the roofline. It leaves out activations, the traffic of x and y, the
meeting of the threads after each step and that a product with few rows cannot reach the peak, so
that no program reaches 100%.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import functional
from ._machine import Cache, caches
from ._shapes import Shape

_DEFAULT_CACHES = (Cache(1, 32 << 10, 1), Cache(2, 1 << 20, 1), Cache(3, 32 << 20, 2))
ITEM = 4  # bytes of a float32


@dataclass(frozen=True)
class Level:
    """A level of memory: what it holds for all threads together, and its read bandwidth."""

    name: str
    capacity: int | None  # bytes; None = everything
    bandwidth: float  # bytes/s, all threads together


@dataclass(frozen=True)
class Read:
    """Weights that are read: how many bytes in all, from wherever `held` bytes fit together."""

    nbytes: float
    held: int


@dataclass(frozen=True)
class Work:
    """What a measured unit (a call, a step, a token) has to do, whoever does it."""

    tokens: int  # vectors that go through the layer
    operations: float  # of products only, as everybody counts them
    reads: tuple[Read, ...]

    def __add__(self, other: Work) -> Work:
        """One after the other, on the same tokens."""
        return Work(self.tokens, self.operations + other.operations, (*self.reads, *other.reads))

    @property
    def weight_bytes(self) -> float:
        """Bytes of weights that are read, from whatever level."""
        return sum(read.nbytes for read in self.reads)


def layer_work(
    gates: int, shape: Shape, *, training: bool = False, tokens: int | None = None
) -> Work:
    """The work of one call of one direction of one layer.

    Args:
        gates: G.
        training: with the gradients of everything.
        tokens: how many of the T*B places hold a token; None = all.
    """
    tokens = shape.tokens if tokens is None else tokens
    products, passes = (3, 2) if training else (1, 1)
    recurrent = gates * shape.hidden * shape.hidden * ITEM
    inputs = gates * shape.hidden * shape.inputs * ITEM
    return Work(
        tokens=tokens,
        operations=products * 2.0 * tokens * gates * shape.hidden * (shape.inputs + shape.hidden),
        reads=(
            Read(passes * shape.steps * recurrent, recurrent),
            Read(passes * inputs, inputs + recurrent),
        ),
    )


@dataclass(frozen=True)
class Roofline:
    """Peak and bandwidths of `threads` threads in float32."""

    threads: int
    peak: float  # operations/s; a multiplication and an addition are two
    levels: tuple[Level, ...]

    def seconds(self, work: Work) -> float:
        """The least time that the work can take."""
        return max(work.operations / self.peak, self.memory_seconds(work))

    def memory_seconds(self, work: Work) -> float:
        """The least time to read the weights as often as the work needs them."""
        return sum(read.nbytes / self.level(read.held).bandwidth for read in work.reads)

    def level(self, size: int) -> Level:
        """The nearest level that holds `size` bytes, spread over the threads."""
        for level in self.levels:
            if level.capacity is None or size <= level.capacity:
                return level
        return self.levels[-1]


def measure_roofline(threads: int) -> Roofline:
    """Measures the peak and every level with `threads` threads; `set_num_threads` is the caller's.

    Noise only ever makes a measurement slower, so the best of several counts: of the seven inside
    each function, and of two calls of this one (see `better`).
    """
    peak = functional.measure_fma_peak(np.float32)
    levels = []
    for cache in caches() or _DEFAULT_CACHES:
        part = cache.size // min(threads, cache.shared_by)  # of one thread
        bandwidth = functional.measure_bandwidth(part // 2)
        levels.append(Level(f"L{cache.level}", part * threads, bandwidth))
    beyond = max(64 << 20, 4 * (levels[-1].capacity or 0) // threads)
    levels.append(Level("memory", None, functional.measure_bandwidth(beyond)))
    return Roofline(threads, peak, tuple(levels))


def better(one: Roofline, other: Roofline) -> Roofline:
    """The better figure of two measurements, from before and after a run."""
    levels = tuple(
        Level(a.name, a.capacity, max(a.bandwidth, b.bandwidth))
        for a, b in zip(one.levels, other.levels, strict=True)
    )
    return Roofline(one.threads, max(one.peak, other.peak), levels)
