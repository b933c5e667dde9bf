"""The task "digits": recognise handwritten digits that come in pixel by pixel.

    from unrolled import tasks
    from unrolled.tasks.digits import Digits

    read = tasks.train(Digits, cell="lstm")
    read(images)                                # images (B, 8, 8), 0 white .. 16 black -> (B,)

The 1,797 images of 8 x 8 pixels are read as 64 steps of one pixel, row by row or, with `permuted`,
in one fixed random order, in which neighbours are far apart. scikit-learn brings them along: the
test part of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, UCI, 1998). Of each
class every fifth image, in the order of the data set, is held out (355 images); there is no
official split of these, and others split otherwise.

This is sequential MNIST (Le, Jaitly and Hinton, 2015) in small: 64 steps rather than 784, and
1,442 images to learn from rather than 60,000. Figures for one say nothing about the other.
"""

import math
from dataclasses import dataclass

import numpy as np

from unrolled.training import Array, IndexedBatches, Metric, counter_rng, import_extra

from ._memory import Examples, MemoryOptions, MemoryTask
from ._options import option
from ._task import register

_SIDE, _CLASSES, _WHITE_TO_BLACK = 8, 10, 16.0

#: One image of so many is held out, in each class.
_HELD_OUT_ONE_OF = 5

#: Streams of random numbers: of the order of training images, and of pixels.
_IMAGES, _PIXELS = 0, 1


@dataclass(frozen=True, kw_only=True)
class Options(MemoryOptions):
    """What can be set for digits by pixel."""

    permuted: bool = option(False, "pixels in a fixed random order rather than row by row")


@register
class Digits(MemoryTask[Options]):
    """The pixels of an image in, its class out."""

    name = "digits"
    summary = "Handwritten digits, read pixel by pixel (needs scikit-learn)."
    examples = (
        "unrolled train digits",
        "unrolled train digits --cell gru --permuted --epochs 30",
    )
    options_type = Options
    input_size = 1
    output_size = _CLASSES
    counted = "images"

    def load(self) -> str:
        """Takes the images from scikit-learn and splits them."""
        self.check_sources(self.sources)
        images, classes = import_extra("sklearn.datasets", "recipes").load_digits(return_X_y=True)
        held_out = hold_out(classes)
        self.training = Examples(self.encode(self.options, images[~held_out]), classes[~held_out])
        self.held_out = [Examples(self.encode(self.options, images[held_out]), classes[held_out])]
        return (
            f"{np.count_nonzero(~held_out):,} images of {_SIDE} x {_SIDE} pixels to train on, "
            f"{np.count_nonzero(held_out):,} held out"
        )

    def batches(self, rng: np.random.Generator) -> IndexedBatches[Examples]:
        """All images once in each epoch, in an order that follows from seed and epoch."""
        options, training = self.options, self.training
        size = len(training.targets)
        per_epoch = -(-size // options.batch)

        def make(number: int) -> Examples:
            epoch, part = divmod(number, per_epoch)
            order = counter_rng(options.seed, _IMAGES, epoch).permutation(size)
            rows = order[part * options.batch : (part + 1) * options.batch]
            return Examples(training.inputs[:, rows], training.targets[rows]).share(self.group)

        return IndexedBatches(make, per_epoch=per_epoch)

    @property
    def metric(self) -> Metric:
        """Nats an image."""
        return Metric("nats per image", "nats/image", "images", lambda loss: loss)

    @property
    def baseline(self) -> float:
        """All classes alike."""
        return math.log(_CLASSES)

    @classmethod
    def encode(cls, options: Options, raw: Array) -> Array:
        """Images (B, 8, 8) or (B, 64), 0 white .. 16 black, become sequences of pixels 0..1.

        Raises:
            ValueError: the images have another shape.
        """
        if raw.shape[1:] not in ((_SIDE, _SIDE), (_SIDE * _SIDE,)):
            raise ValueError(f"[digits] expected images of shape (B, 8, 8), got {raw.shape}")
        pixels = raw.reshape(len(raw), -1).T[..., None] / _WHITE_TO_BLACK
        if options.permuted:
            pixels = pixels[counter_rng(0, _PIXELS, 0).permutation(_SIDE * _SIDE)]
        return np.ascontiguousarray(pixels, np.float32)

    @classmethod
    def decode(cls, outputs: Array) -> Array:
        """The most probable classes (B,)."""
        classes: Array = outputs.argmax(axis=-1)
        return classes

    @classmethod
    def right(cls, outputs: Array, targets: Array) -> Array:
        """Images whose most probable class is theirs."""
        return np.equal(cls.decode(outputs), targets)


def hold_out(classes: Array) -> Array:
    """Returns (N,) bool: which are the fifth, tenth, ... of their class, in the order given."""
    held_out = np.zeros(len(classes), bool)
    for kind in np.unique(classes):
        held_out[np.flatnonzero(classes == kind)[_HELD_OUT_ONE_OF - 1 :: _HELD_OUT_ONE_OF]] = True
    return held_out
