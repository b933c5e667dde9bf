"""What is said of series as a whole: numbers standardised, categories as places in a list.

Shapes: B series, S columns of numbers, K of categories.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .data import Columns, Series

#: What a model reads, see `models._static`: numbers (B, S) float32, places (B, K) int64.
Told = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class StaticColumn:
    """One of the columns that are the same at all steps of a series.

    Attributes:
        categories: the values that were learned from, of a column that is not of numbers; the place
            before the first stands for all others.
        mean, deviation: of a column of numbers, over series.
    """

    categories: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True)
class StaticScale:
    """How the columns of what is said of series are read, in their order in `Columns.static`."""

    columns: tuple[StaticColumn, ...] = ()

    @classmethod
    def of(cls, series: Sequence[Series], columns: Columns) -> "StaticScale":
        """Learns the categories, and the mean and deviation of numbers, of a panel.

        A column in which all that is there is a number is of numbers.
        """
        found = []
        for place in range(len(columns.static)):
            cells = [each.static[place] for each in series if each.static[place]]
            numbers = [_number(cell) for cell in cells]
            if None in numbers:
                found.append(StaticColumn(tuple(sorted(set(cells)))))
                continue
            values = np.array(numbers or [0.0], np.float64)
            found.append(StaticColumn((), float(values.mean()), float(values.std()) or 1.0))
        return cls(tuple(found))

    def check(self) -> None:
        """Raises ValueError if a file says what cannot be."""
        for each in self.columns:
            if not (np.isfinite([each.mean, each.deviation]).all() and each.deviation > 0.0):
                raise ValueError(
                    "expected finite means and deviations above zero of static columns"
                )

    @property
    def numbers(self) -> int:
        """S."""
        return sum(not each.categories for each in self.columns)

    @property
    def counts(self) -> list[int]:
        """Of each column of categories how many places its table has."""
        return [len(each.categories) + 1 for each in self.columns if each.categories]

    def __call__(self, series: Sequence[Series]) -> Told:
        """Returns what a model reads; a missing number is the mean.

        Raises:
            ValueError: a cell of a column of numbers is none.
        """
        numbers = np.zeros((len(series), self.numbers), np.float32)
        places = np.zeros((len(series), len(self.counts)), np.int64)
        for row, each in enumerate(series):
            s = k = 0
            for column, cell in zip(self.columns, each.static, strict=True):
                if column.categories:
                    if cell in column.categories:
                        places[row, k] = column.categories.index(cell) + 1
                    k += 1
                    continue
                if cell:
                    value = _number(cell)
                    if value is None:
                        raise ValueError(
                            f"the series {each.name!r} has {cell!r} where those that were learned "
                            "from have a number"
                        )
                    numbers[row, s] = (value - column.mean) / column.deviation
                s += 1
        return numbers, places


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
