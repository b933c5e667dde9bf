"""DeepBench's list of recurrent layers, with fewer steps where a call would take too long.

A row is sampled, which means fewer steps T and never another B or H, until a call stays within two
limits, `max_operations` and `max_bytes`. It keeps `min_steps` whatever that costs: with fewer, what
is done once a call (packing the weights for training) would hide the recurrence. The defaults make
for calls of about a second and a run of less than an hour on two cores with AVX2.

    operations    of a call, with the gradients where the row is for training; a step with fewer
                  than 8 rows counts as one with 8, as reading the weights takes that long anyway
    bytes         of everything that grows with T, in all contenders together

The weights are never made smaller. Up to ten copies of them exist at a time: ours packed both ways,
the peers' own, the model in ONNX's form, and everybody's gradients. The largest row takes 5.5 GB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ... import functional
from .._peers import ON_SEQUENCES
from .._problem import FORWARD, MODES
from .._roofline import ITEM, layer_work
from .._shapes import DEEPBENCH, DeepBenchRow, Shape
from .._suite import Suite, Trial

_LEAST_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class DeepBench(Suite):
    """Part "training" forward and with gradients, "server" and "device" forward."""

    name: str = "deepbench"
    help: str = "the 125 rows of DeepBench, less than an hour"
    cells: tuple[str, ...] = ("rnn_relu", "lstm", "gru")
    seconds: float = 8.0
    min_rounds: int = 3
    note: str = (
        "Operations are those of the whole layer with I = H, input product included, which "
        "DeepBench leaves out of its own count. 'T10 of 1500': the row has 1500 steps, of which "
        "10 were run (see benchmarks/README.md); rows that differ only in the steps left out "
        "share one measurement."
    )

    rows: tuple[DeepBenchRow, ...] = DEEPBENCH
    min_steps: int = 8
    max_operations: float = 8e10
    max_bytes: float = 4e9

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        kinds = dict.fromkeys((row.part, row.cell) for row in self.rows if row.cell in cells)
        for part, cell in kinds:
            rows = [row for row in self.rows if (row.part, row.cell) == (part, cell)]
            for mode in MODES if part == "training" else (FORWARD,):
                for row in rows:
                    shape = self.sampled(row)
                    yield Trial.of_layer(
                        cell,
                        mode,
                        shape,
                        group=f"{part}: {cell}, {mode}",
                        label=_label(row.shape, shape),
                    )

    def sampled(self, row: DeepBenchRow) -> Shape:
        """The row's shape, with as many steps as the limits allow."""
        gates = len(functional.cell_info(row.cell).gates)
        training = row.part == "training"
        rows = max(row.shape.batch, _LEAST_ROWS)
        step = layer_work(gates, replace(row.shape, steps=1, batch=rows), training=training)
        # x, y and their gradients, the input product, the gates and the states of every step.
        floats = row.shape.batch * row.shape.hidden * (4 + 2 * gates + 2)
        steps = min(
            self.max_operations / step.operations,
            self.max_bytes / (ITEM * floats * len(ON_SEQUENCES)),
            row.shape.steps,
        )
        return replace(row.shape, steps=max(min(self.min_steps, row.shape.steps), int(steps)))


def _label(whole: Shape, sampled: Shape) -> str:
    if sampled == whole:
        return str(whole)
    return str(sampled).replace(" ", f" of {whole.steps} ", 1)
