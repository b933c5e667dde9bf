"""A batch of sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .._case import Case
from .._ours import OursPadded
from .._peers import ON_RAGGED_BATCHES
from .._problem import MODES, OURS
from .._shapes import RAGGED_SHAPE, Shape
from .._suite import Suite, Trial, grouped
from .._table import MILLISECONDS, Table, geometric_mean, percent
from .._torch import TorchPacked, TorchPadded, TorchSorted

_OVERHEAD_GOAL = 1.15
_SPEEDUP_GOAL = 3.0


@dataclass(frozen=True, kw_only=True)
class Ragged(Suite):
    """Lengths uniform from `shortest` to T, the same in every run."""

    name: str = "ragged"
    help: str = "a batch of different lengths, one minute"
    cells: tuple[str, ...] = ("lstm", "gru", "rnn_tanh")
    seconds: float = 6.0
    note: str = (
        "filled: how many of the T*B places hold a token. of linear: our time over filled times "
        "our padded time. over packed: the faster of torch's two packed times over ours. torch "
        "packs x and pads y in a call; 'sorted' gets rows that were sorted before. Padded runs "
        "compute through the padding."
    )

    shape: Shape = RAGGED_SHAPE
    shortest: int = 5

    def trials(self, cells: Sequence[str]) -> Iterable[Trial]:
        rng = np.random.default_rng(0)
        lengths = rng.integers(self.shortest, self.shape.steps, self.shape.batch, endpoint=True)
        for mode in MODES:
            for cell in cells:
                yield Trial.of_layer(
                    cell,
                    mode,
                    self.shape,
                    ON_RAGGED_BATCHES,
                    group=mode,
                    label=cell,
                    lengths=lengths,
                )

    def tables(self, cases: Sequence[Case]) -> list[Table]:
        return [_table(mode, group) for mode, group in grouped(cases).items()]


def _filled(case: Case) -> float:
    return case.work.tokens / case.shape.tokens


def _of_linear(case: Case) -> float:
    return case.ours / (_filled(case) * case.timings[OursPadded.name].median)


def _over_packed(case: Case) -> float | None:
    return case.speedup_over(TorchPacked.name, TorchSorted.name)


def _table(mode: str, cases: Sequence[Case]) -> Table:
    ways = (OursPadded.name, TorchPacked.name, TorchSorted.name, TorchPadded.name)
    rows = []
    for case in cases:
        over_packed = _over_packed(case)
        rows.append(
            (
                case.label,
                percent(_filled(case)),
                MILLISECONDS.of(case.timings[OURS]),
                *(MILLISECONDS.of(case.timings[n]) if n in case.timings else "-" for n in ways),
                f"{_of_linear(case):.2f}",
                "-" if over_packed is None else f"{over_packed:.2f}x",
            )
        )
    overheads = [_of_linear(case) for case in cases]
    note = f"of linear: {geometric_mean(overheads):.2f} in the geometric mean, "
    note += f"most {max(overheads):.2f} (goal: at most {_OVERHEAD_GOAL})"
    speedups = [speedup for case in cases if (speedup := _over_packed(case)) is not None]
    if speedups:
        note += f"; over packed: {geometric_mean(speedups):.2f} in the geometric mean, "
        note += f"least {min(speedups):.2f} (goal: at least {_SPEEDUP_GOAL:g})"
    header = ("cell", "filled", OURS, *ways, "of linear", "over packed")
    return Table(f"ragged batch {cases[0].shape}, {mode}", header, tuple(rows), f"{note}.")
