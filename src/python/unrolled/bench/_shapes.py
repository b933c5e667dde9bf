"""The named shapes that are measured: the only list of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The size of one layer's work: T steps of a batch of B, I inputs, H hidden units."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    def __str__(self) -> str:
        letters = f"T{self.steps} B{self.batch} H{self.hidden}"
        return letters if self.inputs == self.hidden else f"{letters} I{self.inputs}"

    @property
    def tokens(self) -> int:
        """T*B: the vectors that enter the layer."""
        return self.steps * self.batch


@dataclass(frozen=True)
class DeepBenchRow:
    """One row of DeepBench's recurrent list.

    DeepBench leaves out the input product (CUDNN_SKIP_INPUT); it counts 2*G*H*H operations a token,
    with G = 1, 4, 3 gates. Its vanilla network has the relu.
    """

    part: str  # "training", "server" or "device"
    cell: str
    shape: Shape


def _square(steps: int, batch: int, hidden: int) -> Shape:
    return Shape(steps, batch, hidden, hidden)


PEER_SHAPES = tuple(
    _square(*sizes)
    for sizes in (
        (1, 1, 256),
        (50, 1, 64),
        (100, 1, 256),
        (100, 1, 512),
        (50, 1, 1024),
        (50, 16, 256),
        (50, 32, 256),
        (50, 64, 512),
        (25, 64, 1024),
        (25, 128, 1024),
        (100, 128, 128),
        (25, 32, 2048),
    )
)
"""From one step of a stream to weights that no cache holds."""

QUICK_SHAPES = (_square(100, 1, 256), _square(50, 16, 256), _square(20, 64, 512))
"""Three regimes in under a minute: memory-bound, small batch, large batch."""

TINY_SHAPES = (Shape(3, 2, 5, 7),)
"""For trying the machinery out; its times mean nothing."""

RAGGED_SHAPE = _square(100, 64, 256)
"""A batch whose sequences have 5 to 100 steps."""

PRECISION_SHAPES = (_square(100, 1, 512), _square(50, 1, 1024), _square(50, 16, 256))
PRECISION_TRAINING_SHAPES = (_square(100, 1, 512), _square(50, 16, 256))
"""Batch 1 with weights that L2 does not hold, and a small batch."""

CHAR_LM_SHAPE = Shape(steps=64, batch=16, inputs=64, hidden=256)
"""The recurrent layer of the default character language model."""


def _grid(
    part: str, cell: str, hidden: tuple[int, ...], batch: tuple[int, ...], steps: tuple[int, ...]
) -> tuple[DeepBenchRow, ...]:
    return tuple(
        DeepBenchRow(part, cell, _square(t, b, h)) for h in hidden for t in steps for b in batch
    )


_GRU_HIDDEN = (2816, 2048, 1536, 2560)
_GRU_STEPS = (1500, 750, 375, 187)
_SERVER_BATCHES = (1, 2, 4)

DEEPBENCH = (
    *_grid("training", "rnn_relu", (1760, 2048, 2560), (16, 32, 64, 128), (50,)),
    *_grid("training", "lstm", (512, 1024, 2048, 4096), (16, 32, 64, 128), (25,)),
    *_grid("training", "lstm", (1536,), (8, 16, 32), (50,)),
    *_grid("training", "lstm", (256,), (16, 32, 64), (150,)),
    *_grid("training", "gru", _GRU_HIDDEN, (32,), _GRU_STEPS),
    *_grid("training", "gru", (512,), (32,), (1,)),
    *_grid("training", "gru", (1024,), (32, 64), (1500,)),
    *_grid("server", "lstm", (512, 1024, 2048), _SERVER_BATCHES, (25,)),
    *_grid("server", "lstm", (1536,), _SERVER_BATCHES, (50,)),
    *_grid("server", "lstm", (256,), _SERVER_BATCHES, (150,)),
    *_grid("server", "gru", _GRU_HIDDEN, _SERVER_BATCHES, _GRU_STEPS),
    *_grid("server", "gru", (512,), _SERVER_BATCHES, (1,)),
    *_grid("server", "gru", (1024,), _SERVER_BATCHES, (1500,)),
    *_grid("device", "rnn_relu", (32,), (1,), (672,)),
    *_grid("device", "rnn_relu", (64,), (1,), (96,)),
    *_grid("device", "lstm", (256,), (1,), (150,)),
)
"""All 125 rows of github.com/baidu-research/DeepBench, code/kernels/rnn_problems.h."""
