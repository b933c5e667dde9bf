"""Networks for images as parts one after the other, in memory that few images take."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from ..layers import GlobalAvgPool2d, Layer
from ..layers._images import check_images
from ..layers._linear import LinearPullback
from ..layers._types import Array, DType

#: (M, H, W, C) -> (M, ...) at inference.
Packed: TypeAlias = Callable[[Array], Array]

#: Pixels of the images that go through a network at once in training. Of each, EfficientNet-Lite0
#: keeps 134 numbers for back-propagation, 280 MB in float32.
_TRAINED_PIXELS = 1 << 19

#: And at inference: what a layer wrote should lie in a cache when the next one reads it.
_PIXELS = 1 << 16


class Part(Protocol):
    """What a network is made of; a `Layer`."""

    def vjp(self, x: Array, *, frozen: bool) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback; `frozen` as of `BatchNorm2d.vjp`."""

    def packed(self) -> Packed:
        """Returns the part for inference, with copied weights."""


class ImagePullback(Protocol):
    """Carries gradients back through one `vjp` of a network for images."""

    def __call__(self, dy: Array, *, needs_dx: bool = False) -> Any: ...


class MeanOverPlaces(Layer):
    """The part that ends a network: x (N, H, W, C) to y (N, C)."""

    _runs_on_cuda = True

    def __init__(self) -> None:
        self._pool = GlobalAvgPool2d()
        super().__init__()

    def packed(self) -> Packed:
        """Returns x -> y: there are no weights."""
        return self._pool

    def vjp(self, x: Array, *, frozen: bool) -> tuple[Array, LinearPullback]:
        """Returns y and its pullback."""
        y, pull = self._pool.vjp(x)

        def pullback(dy: Array, *, needs_dx: bool = True) -> Any:
            return pull(dy) if needs_dx else None

        return y, pullback


@dataclass(frozen=True)
class Reads:
    """What a network reads: arrays (N, H, W, C) of one dtype.

    Attributes:
        channels: C.
        reduction: pixels of an image under one place, in each direction.
        dtype: of the arrays.
    """

    channels: int
    reduction: int
    dtype: DType

    def check(self, where: str, x: Array) -> None:
        """Raises unless x is such an array, with places."""
        check_images(where, x, self.channels, self.dtype)
        if 0 in x.shape[1:3]:
            raise ValueError(f"[{where}] expected images with places, got {x.shape}")

    def chunks(self, x: Array, pixels: int) -> list[slice]:
        """Returns the places of images with so many pixels together, of one image at least."""
        step = max(pixels // (x.shape[1] * x.shape[2] * self.reduction**2), 1)
        return [slice(start, start + step) for start in range(0, max(len(x), 1), step)]


class PackedNetwork:
    """A network for images at inference, with the statistics of its norms within its weights.

    The packed copy is a snapshot: later changes of the parameters do not reach it.
    """

    def __init__(self, where: str, parts: Sequence[Part], reads: Reads) -> None:
        self._where, self._reads = where, reads
        self._parts = [part.packed() for part in parts]

    def __call__(self, images: Array) -> Array:
        """Returns y of what the network reads, (N, H, W, C)."""
        self._reads.check(self._where, images)
        results = []
        for chunk in self._reads.chunks(images, _PIXELS):
            y = images[chunk]
            for part in self._parts:
                y = part(y)
            results.append(y)
        return results[0] if len(results) == 1 else np.concatenate(results)


def parts_vjp(
    where: str, parts: Sequence[Any], x: Array, reads: Reads, *, frozen: bool
) -> tuple[Array, ImagePullback]:
    """Returns what the parts make of x, and its pullback, which adds to their gradients.

    It refers to x and to the parameters: leave them as they are until it has run. Where there are
    more images than go through at once, it computes again what it needs: with frozen statistics
    chunk by chunk, which changes no result, otherwise part by part, with the inputs of all parts in
    memory.
    """
    reads.check(where, x)
    chunks = reads.chunks(x, _TRAINED_PIXELS)
    if len(chunks) == 1:
        return kept_vjp(parts, x, frozen=frozen)
    if not frozen:
        return _by_part_vjp(parts, x)
    pullback = _by_chunk_pullback(parts, x, chunks)
    return PackedNetwork(where, parts, reads)(x), pullback


def kept_vjp(parts: Sequence[Any], x: Array, *, frozen: bool) -> tuple[Array, ImagePullback]:
    """Returns what the parts make of x, and its pullback; all that it needs stays in memory."""
    pullbacks = []
    for part in parts:
        x, pull = part.vjp(x, frozen=frozen)
        pullbacks.append(pull)

    def pullback(dy: Array, *, needs_dx: bool = False) -> Any:
        for place in range(len(pullbacks) - 1, -1, -1):
            dy = pullbacks[place](dy, needs_dx=needs_dx or place > 0)
        return dy

    return x, pullback


def _by_chunk_pullback(parts: Sequence[Any], x: Array, chunks: list[slice]) -> ImagePullback:
    for part in parts:
        part._expect(_trained(part))

    def pullback(dy: Array, *, needs_dx: bool = False) -> Any:
        dx = []
        with _unheard(parts):
            for chunk in chunks:
                _, pull = kept_vjp(parts, x[chunk], frozen=True)
                dx.append(pull(dy[chunk], needs_dx=needs_dx))
        for part in reversed(parts):
            part._added(_trained(part))
        return np.concatenate(dx) if needs_dx else None

    return pullback


def _by_part_vjp(parts: Sequence[Any], x: Array) -> tuple[Array, ImagePullback]:
    inputs = []
    for part in parts:
        part._expect(_trained(part))
    with _unheard(parts):
        for part in parts:
            inputs.append(x)
            x, _ = part.vjp(x, frozen=False)

    def pullback(dy: Array, *, needs_dx: bool = False) -> Any:
        for place in range(len(parts) - 1, -1, -1):
            part = parts[place]
            with _unheard([part]), _statistics_kept(part):
                _, pull = part.vjp(inputs[place], frozen=False)
                dy = pull(dy, needs_dx=needs_dx or place > 0)
            part._added(_trained(part))
        return dy

    return x, pullback


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def _trained(part: Layer) -> list[str]:
    """The parameters that a pullback adds to."""
    return [name for name in part.parameters if not _is_statistic(name)]


@contextmanager
def _statistics_kept(part: Layer) -> Iterator[None]:
    """Undoes what a repeated forward pass does to running statistics."""
    before = {name: array.copy() for name, array in part.parameters.items() if _is_statistic(name)}
    try:
        yield
    finally:
        for name, array in before.items():
            part.parameters[name][...] = array


@contextmanager
def _unheard(parts: Sequence[Layer]) -> Iterator[None]:
    """Keeps what is computed a second time from the listener, who has been told of it."""
    heard = [(part, part._listener, part._prefix) for part in parts]
    for part in parts:
        part._listen(None, "")
    try:
        yield
    finally:
        for part, listener, prefix in heard:
            part._listen(listener, prefix)
