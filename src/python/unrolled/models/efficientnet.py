"""EfficientNet-Lite: what pictures show as rows of numbers."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..layers import Initialiser, Layer, Linear
from ..layers._checks import checked_size
from ..layers._types import Array
from ._configured import ConfiguredModel
from ._conv_norm import ConvNorm
from ._image_parts import (
    ImagePullback,
    MeanOverPlaces,
    PackedNetwork,
    Reads,
    parts_vjp,
)
from ._mbconv import MBConv

#: Kernel, repeats, stride, expansion and channels of each stage at width and depth 1.
_STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)

#: Width, depth, and the side of the images that each was trained on.
VARIANTS = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}

#: Factors beyond this are no network, but a file that would fill the memory.
_LARGEST = 100


class _Block(NamedTuple):
    """Arguments of an `MBConv`."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    expand: int


class EfficientNet(ConfiguredModel):
    """EfficientNet-Lite: a stem, blocks of `MBConv`, a head, and the mean over all places.

        x_0 = relu6(stem(images));  x_k = block_k(x_{k-1});  y = mean(relu6(head(x_K)))

    Any image size will do. With `first` = k > 0 the network begins behind block k and reads x_k, so
    that what is left out can be computed once: see `trunk` and `tail`.

    Shapes: N images, H and W, F features, V classes; x_k (N, h, w, C), with `channels` C and h the
        `reduction`-th part of H, rounded up. images (N, H, W, 3), y (N, F), logits (N, V).
        Lite0 at 224 x 224: x_0 112 x 112 x 32, x_1 112 x 112 x 16, x_3 56 x 56 x 24,
        x_5 28 x 28 x 40, x_8 14 x 14 x 80, x_11 14 x 14 x 112, x_15 7 x 7 x 192,
        x_16 7 x 7 x 320, y 1280.

    Args:
        width: factor of the channels of the blocks, which are rounded to multiples of 8.
        depth: factor of the blocks of each stage but the first and the last.
        stem: channels of the stem.
        features: F.
        classes: V; 0: no classifier.
        first: k, blocks that are left out, with the stem; 0: none.
        dtype: float32 or float64.
        init: a name from `unrolled.layers.initialisers()`, or a callable (spec, rng) -> array.
        rng: where initial values come from; None draws fresh entropy.

    Attributes:
        output_size: F.
        channels: of what it reads, 3 of images.
        reduction: how many pixels of an image, in each direction, lie under a place of what it
            reads; 1 of images.
        num_blocks: K.

    Raises:
        ValueError: a size or factor out of range, or `first` outside of 0..K.

    Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
    2019; Lite (no squeeze-and-excitation, relu6, stem and head of one width): R. Liu, 2020.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        stem: int = 32,
        features: int = 1280,
        classes: int = 0,
        first: int = 0,
        dtype: DTypeLike = np.float32,
        init: str | Initialiser = "he",
        rng: np.random.Generator | None = None,
    ) -> None:
        where = type(self).__name__
        if not (0 < width <= _LARGEST and 0 < depth <= _LARGEST and classes >= 0):
            raise ValueError(
                f"[{where}] expected width and depth above 0 and up to {_LARGEST}, classes >= 0, "
                f"got {width}, {depth} and {classes}"
            )
        rng = np.random.default_rng() if rng is None else rng
        common: dict[str, Any] = {"dtype": dtype, "rng": rng, "init": init}
        self.config = {
            "width": float(width),
            "depth": float(depth),
            "stem": checked_size(where, "stem", stem),
            "features": checked_size(where, "features", features),
            "classes": classes,
            "first": first,
            "dtype": str(np.dtype(dtype)),
        }
        self._blocks = _blocks(width, depth, stem)
        self.num_blocks, self.output_size, self.first = len(self._blocks), features, first
        if not 0 <= first <= self.num_blocks:
            raise ValueError(f"[{where}] expected first in 0..{self.num_blocks}, got {first}")
        layers: dict[str, Layer] = {}
        if first == 0:
            layers["stem"] = ConvNorm(3, stem, 3, 2, activation="relu6", **common)
        for number, block in enumerate(self._blocks[first:], first + 1):
            layers[f"block{number}"] = MBConv(*block, **common)
        channels = self._blocks[-1].out_channels
        layers["head"] = ConvNorm(channels, features, 1, activation="relu6", **common)
        self._parts: tuple[Any, ...] = (*layers.values(), MeanOverPlaces())
        self.classifier: Linear | None = None
        if classes:
            self.classifier = layers["classifier"] = Linear(features, classes, **common)
        super().__init__(children=layers)
        self._reads = self._read_behind(first)
        self.channels, self.reduction = self._reads.channels, self._reads.reduction

    def __call__(self, images: Array) -> Array:
        """Returns y (N, F), by the running statistics, of normalised images or of x_k."""
        return self.packed()(images)

    def logits(self, images: Array) -> Array:
        """Returns the logits (N, V) of normalised images or of x_k.

        Raises:
            ValueError: there is no classifier.
        """
        if self.classifier is None:
            raise ValueError(f"[{type(self).__name__}] there is no classifier: classes is 0")
        return self.classifier(self(images))

    def trunk(self, block: int) -> PackedNetwork:
        """Returns images -> x_k for inference, with copied weights: what `tail(k)` reads.

        Raises:
            ValueError: `block` is not in first + 1 .. K.
        """
        parts = self._parts[: self._place(block)]
        return PackedNetwork(type(self).__name__, parts, self._reads)

    def tail(self, block: int) -> "EfficientNet":
        """Returns the network behind block k, with copied parameters: x_k -> y.

        Raises:
            ValueError: `block` is not in first + 1 .. K.
        """
        self._place(block)
        config = self.config | {"first": block}
        tail = type(self).from_config(config, init="zeros")
        tail.load_parameters({name: self._parameters[name] for name in tail.parameters})
        return tail

    def packed(self) -> PackedNetwork:
        """Returns the network for inference, images -> y, with copied weights."""
        return PackedNetwork(type(self).__name__, self._parts, self._reads)

    def vjp(
        self, images: Array, *, frozen: bool = True, from_block: int | None = None
    ) -> tuple[Array, ImagePullback]:
        """Returns y and its pullback.

        `pullback(dy, needs_dx=False)` adds to `grads`, and returns the gradient of what the network
        reads if that is needed. It refers to the images and to the parameters: leave them as they
        are until it has run.

        Where images are many the pullback computes again what it needs, so that memory does not
        grow with them: a few images at a time with frozen statistics, block by block with those of
        the batch (whose memory grows with the images, but slowly).

        Args:
            images: (N, H, W, 3), normalised, or x_k.
            frozen: normalise by the running statistics and leave them alone; otherwise by those of
                all these images, which the running ones then follow.
            from_block: back-propagation ends behind this block; blocks before it, with the stem,
                are computed by the running statistics. None: it goes through the whole network.

        Raises:
            ValueError: `from_block` is not in first + 1 .. K.
        """
        where = type(self).__name__
        if from_block is None:
            return parts_vjp(where, self._parts, images, self._reads, frozen=frozen)
        x = self.trunk(from_block)(images)
        parts, reads = self._parts[self._place(from_block) :], self._read_behind(from_block)
        y, pull = parts_vjp(where, parts, x, reads, frozen=frozen)

        def pullback(dy: Array, *, needs_dx: bool = False) -> Any:
            if needs_dx:
                raise ValueError(
                    f"[{where}] there is no dx: back-propagation ends behind block {from_block}"
                )
            return pull(dy)

        return y, pullback

    def _place(self, block: int) -> int:
        """How many of the parts lie before the one behind `block`."""
        if not self.first < block <= self.num_blocks:
            raise ValueError(
                f"[{type(self).__name__}] expected a block in {self.first + 1}..{self.num_blocks}, "
                f"got {block}"
            )
        return block - self.first + (self.first == 0)

    def _read_behind(self, block: int) -> Reads:
        if block == 0:
            return Reads(3, 1, self.dtype)
        strides = [each.stride for each in self._blocks[:block]]
        return Reads(self._blocks[block - 1].out_channels, 2 * math.prod(strides), self.dtype)


def _blocks(width: float, depth: float, stem: int) -> list[_Block]:
    """The blocks of all stages; the first of a stage has its stride and takes its channels."""
    blocks, channels = [], stem
    for place, (kernel, repeats, stride, expand, out) in enumerate(_STAGES):
        if 0 < place < len(_STAGES) - 1:
            repeats = math.ceil(depth * repeats)
        out = _rounded(out * width)
        for number in range(repeats):
            blocks.append(_Block(channels, out, kernel, stride if number == 0 else 1, expand))
            channels = out
    return blocks


def _rounded(channels: float) -> int:
    """The multiple of 8 next to it, 8 at least, and not below nine tenths of it."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
