"""How large the gradient and the update of each parameter are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.functional import global_norm
from unrolled.layers._place import move

from ._callbacks import Callback, Update
from ._types import Array

if TYPE_CHECKING:
    from ._loop import Trainer


@dataclass(frozen=True)
class ParameterStatistics:
    """One parameter in one update.

    Attributes:
        grad_norm: norm of its gradient, as the optimizer gets it: the mean over targets, scaled to
            the largest global norm (and before single values are clipped).
        zeros: part of its gradient that is exactly zero, 0..1: rows that were not looked up,
            units that are saturated or switched off.
        value_norm: its norm before the update.
        update_norm: norm of the change that the optimizer made.
        update_ratio: update_norm / value_norm, None for a parameter that is zero. About 1e-3 is
            usual; far above, the learning rate is too high; far below, the parameter barely learns.
    """

    grad_norm: float
    zeros: float
    value_norm: float
    update_norm: float
    update_ratio: float | None


@dataclass(frozen=True)
class Measurement:
    """All parameters in one update.

    Attributes:
        step: the update.
        parameters: by name.
    """

    step: int
    parameters: dict[str, ParameterStatistics]

    def to_json(self) -> dict[str, Any]:
        """Returns the measurement as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measurement:
        """Returns the measurement that `to_json` returned."""
        parameters = values["parameters"]
        return cls(
            int(values["step"]), {name: ParameterStatistics(**p) for name, p in parameters.items()}
        )


class Statistics(Callback):
    """Measures every parameter's gradient and update, now and then.

    A measured update takes a copy of the parameters and a few passes over them; all others are as
    fast as without. The first update is measured, and then every `every`-th. Whenever there are
    more than `keep` measurements, every second one is dropped and `every` is doubled, so that
    neither memory nor time grows with the run.

    Args:
        every: updates from one measurement to the next, at first.
        keep: the most measurements to keep.

    Attributes:
        measurements: the oldest first.

    Raises:
        ValueError: `every` or `keep` is less than 1.
    """

    def __init__(self, every: int = 10, keep: int = 256) -> None:
        for name, value in (("every", every), ("keep", keep)):
            if value < 1:
                raise ValueError(f"[Statistics] expected {name} >= 1, got {value}")
        self.measurements: list[Measurement] = []
        self._every = every
        self._keep = keep
        self._before: Array | None = None

    def before_step(self, trainer: Trainer[Any], update: Update) -> None:
        """Keeps the values of before, if it is time for a measurement."""
        if self._is_due(update.step):
            self._before = move(trainer.model.flat.values, "cpu").copy()

    def updated(self, trainer: Trainer[Any], update: Update) -> None:
        """Measures, if the values of before were kept."""
        if self._before is None:
            return
        flat = trainer.model.flat.moved(lambda array: move(array, "cpu"))
        places = {name: flat.slices[name] for name in flat.shapes}  # in the order of the model
        value_norms = {name: global_norm(self._before[place]) for name, place in places.items()}
        change = np.subtract(flat.values, self._before, out=self._before)
        self._before = None
        parameters = {}
        for name, place in places.items():
            grads, value_norm = flat.grads[place], value_norms[name]
            update_norm = global_norm(change[place])
            parameters[name] = ParameterStatistics(
                grad_norm=update.grad_scale * global_norm(grads),
                zeros=1.0 - np.count_nonzero(grads) / max(grads.size, 1),
                value_norm=value_norm,
                update_norm=update_norm,
                update_ratio=update_norm / value_norm if value_norm else None,
            )
        self._add(Measurement(update.step, parameters))

    def of(self, update: Update) -> Measurement | None:
        """Returns the measurement of this update, None if it was not measured."""
        newest = self.measurements[-1] if self.measurements else None
        return newest if newest is not None and newest.step == update.step else None

    def load(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """Takes over the measurements of a run that goes on, from `Measurement.to_json`."""
        for values in measurements:
            self._add(Measurement.from_json(values))

    def _add(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)
        while len(self.measurements) > self._keep:
            self._every *= 2
            self.measurements = [m for m in self.measurements if self._is_due(m.step)]

    def _is_due(self, step: int) -> bool:
        return (step - 1) % self._every == 0
