"""Forecasts from one origin after the other, as they would have been made at the time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.models import ForecastModel, Outlook
from unrolled.training import Array, counter_rng

from .baselines import Matrix, Ridge
from .data import Panel
from .windows import Batch, Indices, Windows

#: Values that are forecast at a time.
_VALUES = 1 << 19

#: Paths that an autoregressive decoder draws for each forecast.
PATHS = 100


@dataclass(frozen=True)
class Part:
    """A part of each series, by time: its steps from `begins` to before `ends`, (series,) each."""

    begins: Indices
    ends: Indices


def cut(lengths: Sequence[int], validation: float, test: float, least: int) -> list[Part]:
    """Cuts series by time into what is learned from, what chooses the model, and what scores it.

    Args:
        lengths: of the series.
        validation, test: shares of each series, or numbers of steps if 1 or more.
        least: steps that each part must have.

    Raises:
        ValueError: no series is long enough.
    """
    length = np.array(lengths, np.int64)
    tested, validated = (
        np.full_like(length, round(part)) if part >= 1.0 else np.floor(length * part).astype(int)
        for part in (test, validation)
    )
    ends = [length - tested - validated, length - tested, length]
    if ends[0].max(initial=0) < least:
        raise ValueError(
            f"the longest series has {length.max(initial=0):,} steps; with "
            f"{tested.max(initial=0):,} for --test and {validated.max(initial=0):,} for "
            f"--validation fewer than {least:,} are left to learn from: hold out less, or choose a "
            "shorter --horizon"
        )
    ends = [np.maximum(end, 0) for end in ends]
    begins = [np.zeros_like(length), ends[0], ends[1]]
    return [Part(begin, end) for begin, end in zip(begins, ends, strict=True)]


def check_learned(panel: Panel, learned: Part) -> None:
    """Raises ValueError where a target has no value in the part that is learned from."""
    parts = zip(panel.series, learned.ends.tolist(), strict=True)
    seen = sum((~np.isnan(series.targets[:end])).sum(axis=0) for series, end in parts)
    for name, count in zip(panel.columns.targets, np.atleast_1d(seen), strict=True):
        if not count:
            raise ValueError(
                f"{name} has no value in the part to learn from: leave it out with --target, or "
                "hold out less"
            )


def origins(part: Part, horizon: int, stride: int) -> list[Indices]:
    """Returns for each series the steps after which forecasts begin, so that all H are inside."""
    return [
        np.arange(max(begin, 1) - 1, end - horizon, stride)
        for begin, end in zip(part.begins.tolist(), part.ends.tolist(), strict=True)
    ]


def roll(
    windows: Windows, part: Part, stride: int, values: int = _VALUES
) -> Iterator[tuple[Batch, Indices]]:
    """Yields batches with forecasts of about so many values from every `stride`-th step of a part.

    With each come the places of the N forecasts that are meant; others fill up a stretch.
    """
    spans = max(windows.steps - max(windows.context, windows.steps // 2), 0) // stride + 1
    places = windows.steps - 1 - stride * np.arange(spans)[::-1]
    series, ends, wanted = [], [], []
    for number, steps in enumerate(origins(part, windows.horizon, stride)):
        # From the end, so that the last stretch ends with the last origin.
        for stop in range(len(steps), 0, -spans):
            series.append(number)
            ends.append(int(steps[stop - 1]) + 1)
            wanted.append(min(spans, stop))
    size = max(values // (spans * windows.horizon * windows.targets), 1)
    for first in range(0, len(series), size):
        rows = slice(first, first + size)
        batch = windows.batch(np.array(series[rows]), np.array(ends[rows]), places)
        meant = np.arange(spans)[:, None] >= spans - np.array(wanted[rows])
        yield batch, np.flatnonzero(meant.reshape(-1))


def regress(
    learned: tuple[Windows, Part, int], held_out: tuple[Windows, Part, int], *, shared: bool
) -> Matrix:
    """Returns the matrices (D, C + 1, H) of a `Ridge`.

    Args:
        learned, held_out: windows, a part of their series, and the stride of the origins in it.
        shared: see `Ridge`; one target alone shares with nobody.
    """

    def whole(of: tuple[Windows, Part, int]) -> Iterator[tuple[Array, Array, Array, Array]]:
        for batch, meant in roll(*of):
            targets, observed = batch.targets[:, meant], batch.observed[:, meant]
            yield batch.history[meant], batch.last[meant], targets, observed

    windows = learned[0]
    fit = Ridge(windows.targets, windows.context, windows.horizon)
    for window in whole(learned):
        fit.add(*window)
    return fit.solve(whole(held_out), shared=shared and windows.targets > 1)


def look_ahead(
    model: ForecastModel,
    batch: Batch,
    meant: Indices,
    *,
    paths: int = PATHS,
    rng: np.random.Generator | None = None,
) -> Outlook:
    """Returns what a model says at those of the N origins of a batch that are meant."""
    hidden = model.read(batch.x, batch.origins, resets=batch.resets, static=batch.static)
    return model.outlook(
        [rows[meant] for rows in hidden],
        np.ascontiguousarray(batch.future[:, meant]),
        batch.last[meant],
        batch.history[meant],
        units=batch.units[meant],
        paths=paths,
        rng=rng,
    )


@dataclass(frozen=True)
class Rolled:
    """Forecasts of a model, standardised, with what came true.

    Shapes: W forecasts, H horizon, D targets, Q levels.

    Attributes:
        mean: (H, W, D).
        bands: (H, W, D, Q), the quantiles of `levels`; Q = 0 for a head without intervals.
        levels: as asked for.
        truth: (H, W, D), NaN where it is missing or does not count.
        series: (W,) numbers of the series.
        steps: (W,) the last step of the series that each forecast knew.
        others: forecasts of others by name, (H, W, D) each.
    """

    mean: Array
    bands: Array
    levels: tuple[float, ...]
    truth: Array
    series: Indices
    steps: Indices
    others: Mapping[str, Array]


#: A forecast (H, N, D) from the last values (N, D) and the history (N, D, C).
Simple = Callable[[Array, Array], Array]


def roll_model(
    model: ForecastModel,
    windows: Windows,
    part: Part,
    stride: int,
    *,
    levels: Sequence[float] = (),
    others: Mapping[str, Simple] | None = None,
) -> Rolled:
    """Forecasts from every `stride`-th step of a part.

    Args:
        levels: of the quantiles.
        others: forecasts to make from the same windows.

    Raises:
        ValueError: no forecast fits into the part.
    """
    simple = {} if others is None else others
    wanted = () if model.config["distribution"] == "point" else tuple(levels)
    rng = counter_rng(0)  # the same paths for the same model
    columns: dict[str, list[Any]] = {}

    def keep(**arrays: Array) -> None:
        for name, array in arrays.items():
            columns.setdefault(name, []).append(array)

    values = _VALUES // PATHS if model.autoregressive else _VALUES
    for batch, meant in roll(windows, part, stride, values):
        said = look_ahead(model, batch, meant, rng=rng)
        mean = said.mean()
        observed = batch.observed[:, meant] > 0.0
        steps = batch.ends - windows.steps + batch.origins[:, None]
        keep(
            mean=mean,
            bands=said.quantiles(wanted) if wanted else np.zeros((*mean.shape, 0), mean.dtype),
            truth=np.where(observed, batch.targets[:, meant], np.float32(np.nan)),
            series=np.tile(batch.series, len(batch.origins))[meant],
            steps=steps.reshape(-1)[meant],
            **{
                f"by {n}": make(batch.last[meant], batch.history[meant])
                for n, make in simple.items()
            },
        )
    if not columns:
        raise ValueError(f"there is no stretch of {windows.horizon:,} steps to score forecasts on")
    found = {
        name: np.concatenate(parts, axis=0 if parts[0].ndim == 1 else 1)
        for name, parts in columns.items()
    }
    by = {name: found.pop(f"by {name}") for name in simple}
    return Rolled(levels=wanted, others=by, **found)


def errors(model: ForecastModel, windows: Windows, part: Part, stride: int) -> list[float]:
    """Returns the root of the mean squared error of each target, standardised; 1 if untold."""
    squares, counts = np.zeros(windows.targets), np.zeros(windows.targets)
    for batch, meant in roll(windows, part, stride):
        params = model(*batch.inputs(), **batch.more())[:, meant]
        observed = batch.observed[:, meant]
        away = (model.distribution.mean(params) - batch.targets[:, meant]) * observed
        squares += np.square(away, dtype=np.float64).sum(axis=(0, 1))
        counts += observed.sum(axis=(0, 1), dtype=np.float64)
    found: list[float] = np.where(
        counts > 0, np.sqrt(squares / np.maximum(counts, 1)), 1.0
    ).tolist()
    return found
