"""Series with their forecasts, as a picture."""

from pathlib import Path

import numpy as np

from unrolled.training import import_extra

from .data import Panel
from .forecaster import Forecaster

#: The most curves of one picture, and the steps of the past that it shows, in horizons.
_CURVES, _PAST = 6, 4

#: The interval that is shaded, and the median.
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def draw_forecasts(path: Path, forecaster: Forecaster, panel: Panel, *, back: int = 0) -> None:
    """Draws the end of some series and what comes next, with intervals of 50 and 90%.

    Args:
        path: PNG to write.
        forecaster: the model.
        panel: the series; those after the first few are not drawn.
        back: forecast so many steps before the end, to see what came true.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure_module = import_extra("matplotlib.figure", "train")
    long = [series for series in panel.series if len(series) > back]
    drawn = Panel(tuple(long[:_CURVES]), panel.columns, panel.step)
    forecasts = forecaster.predict(drawn, back=back, levels=_LEVELS)
    curves = [
        (series, forecast, d)
        for series, forecast in zip(drawn.series, forecasts, strict=True)
        for d in range(len(forecast.targets))
    ][:_CURVES]
    figure = figure_module.Figure(figsize=(9.0, 2.4 * len(curves) + 0.4), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(len(curves), 1))
    for axes, (series, forecast, d) in zip(all_axes, curves, strict=True):
        first = max(len(series) - back - _PAST * len(forecast.times), 0)
        times = panel.step.times(series.start, first, len(series) - first)
        axes.plot(times, series.targets[first:, d], color="black", linewidth=1.0)
        if forecast.quantiles.shape[2]:
            for low, high, alpha in ((0, 4, 0.2), (1, 3, 0.35)):
                bands = forecast.quantiles[:, d]
                axes.fill_between(
                    forecast.times,
                    bands[:, low],
                    bands[:, high],
                    color="tab:blue",
                    alpha=alpha,
                    linewidth=0.0,
                )
        axes.plot(forecast.times, forecast.mean[:, d], color="tab:blue", linewidth=1.5)
        name = forecast.targets[d] if len(panel.series) == 1 else series.name
        if len(panel.series) > 1 and len(forecast.targets) > 1:
            name = f"{series.name}: {forecast.targets[d]}"
        # Dollar signs would begin a formula.
        axes.set_title(name.replace("$", r"\$"), fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=110)
