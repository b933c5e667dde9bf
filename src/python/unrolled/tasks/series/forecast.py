"""What a model says of the steps after the end of one series."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unrolled.models import ForecastModel, Outlook
from unrolled.training import Array

from .calibration import BAND, Spread, widened
from .data import Values
from .times import Times
from .windows import Scale


@dataclass(frozen=True)
class Origin:
    """Where a forecast of one series begins: all that a model knows of it.

    Shapes: H steps, D targets, C context, Q levels.

    Attributes:
        model: the network.
        hidden: (1, units) of each member.
        future, last, history: as `ForecastModel.vjp` reads them, of one forecast.
        scale: of the targets.
        spread: factors of the intervals (H or more, D); None = they stay as the model says them.
    """

    model: ForecastModel
    hidden: Sequence[Array]
    future: Array
    last: Array
    history: Array
    scale: Scale
    spread: Spread | None

    def outlook(self, paths: int, rng: np.random.Generator) -> Outlook:
        """Returns what the model says, standardised."""
        return self.model.outlook(
            self.hidden,
            self.future,
            self.last,
            self.history,
            units=self.scale.deviation[None].astype(self.last.dtype),
            paths=paths,
            rng=rng,
        )

    def sample(self, paths: int, rng: np.random.Generator) -> Values:
        """Returns draws (paths, H, D) in the units of the data; see `Forecast.sample`."""
        said = self.outlook(paths, rng)
        draws = said.sample(paths, rng)
        if self.spread is not None and self.model.config["distribution"] != "point":
            median = said.quantiles(BAND[1:2])[..., 0]
            factors = self.spread[: len(self.future), None]
            draws = widened(np.moveaxis(draws, 0, -1), median, factors)
            draws = np.moveaxis(draws, -1, 0)
        return self.scale.back(draws[:, :, 0])


@dataclass(frozen=True)
class Forecast:
    """What a model says of the steps after the end of one series.

    Shapes: H steps, D targets, Q levels.

    Attributes:
        series: its name.
        times: (H,).
        targets: names of the targets.
        mean: (H, D) the forecast, in the units of the data.
        levels: of the quantiles.
        quantiles: (H, D, Q); Q = 0 for a model without intervals.
        origin: where it begins.
    """

    series: str
    times: Times
    targets: tuple[str, ...]
    mean: Values
    levels: tuple[float, ...]
    quantiles: Values
    origin: Origin = field(repr=False, compare=False)

    def sample(self, paths: int, rng: np.random.Generator | None = None) -> Values:
        """Draws what could come, (paths, H, D), in the units of the data.

        With an autoregressive decoder these are paths: each step goes on from the one before, so
        that sums, maxima or the first time over a limit may be read from them. With a direct
        decoder each step and target is drawn by itself: right for one step, but neighbouring steps
        do not hang together, and sums over steps vary less than those of the series will.

        Args:
            paths: how many, 1 or more.
            rng: where they come from; None draws fresh entropy.
        """
        if paths < 1:
            raise ValueError(f"expected paths of 1 or more, got {paths}")
        return self.origin.sample(paths, np.random.default_rng() if rng is None else rng)
