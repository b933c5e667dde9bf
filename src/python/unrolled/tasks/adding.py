"""The task "adding": add two marked numbers of a long sequence, the classic test of memory.

    from unrolled import tasks
    from unrolled.tasks.adding import Adding

    add = tasks.train(Adding, length=200, cell="lstm")
    add(x)                                      # x (200, B, 2) -> the sums (B,)

Each step has a number, uniform in 0..1, and a marker: 1 at one step of the first half and one of
the second, else 0. The answer after the last step is the sum of the two marked numbers. Whoever
forgets answers 1 and has a mean squared error of 2 / 12 = 0.167, the variance of two such numbers.

Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997 (5.4, there with numbers in
-1..1 and sequences of varying length); in this form Le, Jaitly and Hinton, "A simple way to
initialize recurrent networks of rectified linear units", 2015, and Arjovsky, Shah and Bengio,
"Unitary evolution recurrent neural networks", 2016.
"""

from dataclasses import dataclass

import numpy as np

from unrolled.training import Array, Metric

from ._memory import Examples, GeneratedTask, MemoryOptions
from ._options import option
from ._task import register


@dataclass(frozen=True, kw_only=True)
class Options(MemoryOptions):
    """What can be set for the adding problem."""

    length: int = option(200, "steps of a sequence")


@register
class Adding(GeneratedTask[Options]):
    """Numbers with markers in, the sum of the marked ones out."""

    name = "adding"
    summary = "The adding problem: sum two marked numbers of a long sequence."
    examples = (
        "unrolled train adding",
        "unrolled train adding --cell gru --length 400 --hidden 64 --minutes 5",
    )
    options_type = Options
    input_size = 2
    output_size = 1
    counted = "sums within 0.04"  # the criterion of Hochreiter and Schmidhuber 1997

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Numbers in 0..1 with a marker in each half.

        Raises:
            ValueError: there is no step for one of the markers.
        """
        length, rows = self.options.length, np.arange(count)
        if length < 2:
            raise ValueError(f"[adding] expected length >= 2, got {length}")
        first = rng.integers(0, length // 2, count)
        second = rng.integers(length // 2, length, count)
        inputs = np.zeros((length, count, 2), np.float32)
        inputs[..., 0] = rng.random((length, count), np.float32)
        inputs[first, rows, 1] = inputs[second, rows, 1] = 1.0
        sums = inputs[first, rows, 0] + inputs[second, rows, 0]
        return Examples(inputs, sums[:, None])

    @property
    def metric(self) -> Metric:
        """The loss itself."""
        return Metric("mean squared error", "MSE", "sequences", lambda loss: loss)

    @property
    def baseline(self) -> float:
        """The variance of the sum of two numbers that are uniform in 0..1."""
        return 2.0 / 12.0

    @classmethod
    def encode(cls, options: Options, raw: Array) -> Array:
        """Numbers and markers (T, B, 2) are the inputs as they are."""
        return raw.astype(np.float32)

    @classmethod
    def decode(cls, outputs: Array) -> Array:
        """The sums (B,)."""
        return outputs[:, 0]

    @classmethod
    def right(cls, outputs: Array, targets: Array) -> Array:
        """Sums that are off by less than 0.04."""
        right: Array = np.abs(outputs - targets)[:, 0] < 0.04
        return right
