"""What can be set for the task "forecasting"."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from ._options import TrainOptions, option
from .series.data import Columns


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for forecasting."""

    batch: int = option(32, "stretches of series per update, of all ranks together")
    lr: float = option(1e-3, "highest learning rate")
    target: str | None = option(
        None, "columns to forecast, with commas; not given: all numbers that are nothing else"
    )
    time: str | None = option(None, "column of times; not given: one named date, time, ds, ...")
    series: str | None = option(None, "column that names the series; not given: there is one")
    known: str | None = option(None, "columns that are known in advance, with commas")
    past: str | None = option(None, "columns that help, but are not known in advance")
    static: str | None = option(
        None, "columns that are the same at all steps of a series: numbers or categories"
    )
    demo: Literal["sunspots", "co2"] | None = option(
        None, "learn from a series of statsmodels (extra [series])"
    )
    horizon: int = option(24, "steps to forecast")
    context: int | None = option(
        None, "steps of the past to learn from at least; not given: some seasons and horizons"
    )
    season: int | None = option(
        None,
        "steps after which much is the same again; not given: a day, a week or a year; 1: none",
    )
    validation: float = option(
        0.15,
        "share of each series that chooses the model, or steps if >= 1; 0: learn from it too, and "
        "choose by the end of what was learned",
    )
    test: float = option(0.15, "share at the end of each series that scores it, or steps if >= 1")
    origins: int = option(12, "forecasts from each stretch of a series")
    head: Literal["student-t", "gaussian", "negative-binomial", "quantile", "point"] = option(
        "student-t",
        "what a forecast is: a distribution (of counts: negative-binomial), quantiles, or the mean",
    )
    decoder: Literal["direct", "autoregressive"] = option(
        "direct", "say all steps at once, or each after the one before: paths"
    )
    calibrate: bool = option(
        True,
        "let the held-out part say how wide intervals are, and how much the recurrent part adds",
    )
    apart: bool = option(False, "forecast each target by itself, with the same weights")
    log: bool = option(False, "learn logarithms: for numbers above zero that grow by shares")
    linear: bool = option(True, "add the recurrent layers to a regression on the context")
    cell: Literal["lstm", "gru", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(64, "units of a layer")
    layers: int = option(1, "recurrent layers that read the past")
    members: int = option(1, "models that are trained together and forecast with their mean")
    dropout: float = option(0.1, "part of the outputs dropped in training, 0..1")

    default_minutes: ClassVar[float] = 1.0

    def check(self) -> None:
        """Raises ValueError where numbers are none that a model can be trained with."""
        for name in ("horizon", "origins", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name} 1 or more, got {getattr(self, name)}")
        for name in ("validation", "test"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"expected --{name} 0 or more, got {getattr(self, name)}")
        if self.log and self.head == "negative-binomial":
            raise ValueError("--log is not for counts: the head negative-binomial has a logarithm")

    def columns(self) -> Columns:
        """Returns which columns of a table are what."""
        target, known, past, static = (
            tuple(name.strip() for name in names.split(",")) if names else ()
            for names in (self.target, self.known, self.past, self.static)
        )
        return Columns(target, self.time, self.series, known, past, static)
