"""The task "copy": repeat ten symbols after a long silence.

    from unrolled import tasks
    from unrolled.tasks.copy_memory import CopyMemory

    recall = tasks.train(CopyMemory, length=100, cell="gru")
    recall(symbols)                             # symbols (10, B) of 0..7 -> the same, with luck

With S = 10 symbols and T = `length` a sequence has T + 2 S steps: S symbols, each one of 8, then
T - 1 blanks, a mark that asks for them, and S more blanks. The answer is a blank at the first
T + S steps and then the symbols in their order. Whoever remembers that much of the task, but no
symbol, has a cross-entropy of S ln 8 / (T + 2 S) nats a step.

Source: Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks", 2016 (4.1), after
Hochreiter and Schmidhuber, 1997.
"""

import math
from dataclasses import dataclass

import numpy as np

from unrolled.models import SequenceModel
from unrolled.training import AdamW, Array, Metric, Optimizer

from ._memory import Examples, GeneratedTask, MemoryOptions
from ._options import option
from ._task import register

#: S, how many symbols there are to keep, and of how many kinds.
SYMBOLS, KINDS = 10, 8

_BLANK, _MARK = KINDS, KINDS + 1


@dataclass(frozen=True, kw_only=True)
class Options(MemoryOptions):
    """What can be set for copy memory."""

    batch: int = option(16, "sequences per update")
    clip: float = option(0.1, "largest norm of the gradients")
    hidden: int = option(128, "units per recurrent layer")
    length: int = option(100, "steps between the symbols and their recall")


@register
class CopyMemory(GeneratedTask[Options]):
    """Symbols in, the same symbols out, much later."""

    name = "copy"
    summary = "Copy memory: repeat ten symbols after a long silence."
    examples = (
        "unrolled train copy",
        "unrolled train copy --cell gru --length 200 --minutes 10",
    )
    options_type = Options
    input_size = KINDS + 2
    output_size = KINDS + 1  # the mark is never an answer
    every_step = True
    counted = "symbols recalled"

    def draw(self, rng: np.random.Generator, count: int) -> Examples:
        """Random symbols, to be repeated at the end."""
        symbols = rng.integers(0, KINDS, (SYMBOLS, count))
        targets = np.full((self.options.length + 2 * SYMBOLS, count), _BLANK)
        targets[-SYMBOLS:] = symbols
        return Examples(self.encode(self.options, symbols), targets)

    def optimizer(self, model: SequenceModel) -> Optimizer:
        """AdamW that soon forgets how large gradients were: they grow as symbols are found."""
        options = self.options
        return AdamW(model, lr=options.lr, betas=(0.9, 0.99), weight_decay=options.weight_decay)

    @property
    def metric(self) -> Metric:
        """Nats a step."""
        return Metric("nats per step", "nats/step", "steps", lambda loss: loss)

    @property
    def baseline(self) -> float:
        """Blanks for certain, symbols by chance."""
        return SYMBOLS * math.log(KINDS) / (self.options.length + 2 * SYMBOLS)

    @classmethod
    def encode(cls, options: Options, raw: Array) -> Array:
        """Symbols (10, B) of 0..7 become sequences of one-hot rows.

        Raises:
            ValueError: the shape or a symbol does not fit, or there is no step for the mark.
        """
        length = options.length
        if length < 1:
            raise ValueError(f"[copy] expected length >= 1, got {length}")
        if raw.ndim != 2 or len(raw) != SYMBOLS or not np.isin(raw, range(KINDS)).all():
            raise ValueError(
                f"[copy] expected symbols of shape ({SYMBOLS}, B) from 0..{KINDS - 1}, "
                f"got shape {raw.shape}"
            )
        tokens = np.full((length + 2 * SYMBOLS, raw.shape[1]), _BLANK)
        tokens[:SYMBOLS] = raw
        tokens[SYMBOLS + length - 1] = _MARK
        inputs: Array = np.eye(cls.input_size, dtype=np.float32)[tokens]
        return inputs

    @classmethod
    def decode(cls, outputs: Array) -> Array:
        """The most probable symbols (10, B) at the last ten steps; 8 stands for a blank."""
        symbols: Array = outputs[-SYMBOLS:].argmax(axis=-1)
        return symbols

    @classmethod
    def right(cls, outputs: Array, targets: Array) -> Array:
        """Symbols recalled at their place."""
        return np.equal(cls.decode(outputs), targets[-SYMBOLS:])
