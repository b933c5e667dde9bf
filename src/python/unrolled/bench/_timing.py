"""Measuring several functions against each other in one run.

The functions take turns in rounds, so that whatever slows the machine down for a while meets all
of them. Before a turn begins we wait until the process has gone quiet: the thread pools of OpenBLAS
and ONNX Runtime keep spinning for 50 to 100 ms after a call, and would take a core from whoever is
measured next. A turn begins with untimed calls, which bring the function's data back into the
caches and its own pool back to work. The result is the median of all samples; the spread is shown
beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIN_ROUNDS = 5
MAX_ROUNDS = 40
_SAMPLE_SECONDS = 0.002  # a sample of a short function is a loop of calls that takes this long
_LONG_SECONDS = 1.0  # a first call that takes so long is a good enough estimate
_LEAD_IN_SECONDS = 0.02  # untimed calls at the beginning of a turn
_QUIET_LIMIT_SECONDS = 0.4


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median, the 10th and 90th percentile, the best, and how many samples."""

    median: float
    low: float
    high: float
    best: float
    samples: int

    @property
    def spread(self) -> float:
        """Half the distance between the percentiles, as a part of the median."""
        return (self.high - self.low) / 2 / self.median

    def per(self, units: int) -> Timing:
        """The timing of one of the `units` equal parts that a call consists of."""
        return Timing(
            median=self.median / units,
            low=self.low / units,
            high=self.high / units,
            best=self.best / units,
            samples=self.samples,
        )

    @classmethod
    def of(cls, samples: list[float]) -> Timing:
        ordered = sorted(samples)
        last = len(ordered) - 1
        return cls(
            median=statistics.median(ordered),
            low=ordered[round(0.1 * last)],
            high=ordered[round(0.9 * last)],
            best=ordered[0],
            samples=len(ordered),
        )


def measure(
    functions: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    min_rounds: int = MIN_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Times every function, in turns, within about `seconds` altogether.

    Args:
        functions: what to call, by name. Each is called untimed first (compilation, memory),
            twice where a call is short.
        seconds: the budget, by the clock; at least `min_rounds` rounds are run even where they
            take longer.
        clock: seconds; `time.process_time` on a machine that others use, for one thread.

    Returns:
        The timing of each function, under its name.
    """
    estimates = {name: _estimate(function, clock) for name, function in functions.items()}
    turn = seconds / max(1, len(functions)) / 8  # 8 rounds where calls are short
    samples: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    started = clock()
    for round_ in range(MAX_ROUNDS):
        if round_ >= min_rounds and clock() - started > seconds:
            break
        first = round_ % max(1, len(names))
        for name in names[first:] + names[:first]:  # nobody always follows the same neighbour
            wait_until_quiet()
            samples[name] += _take_turn(functions[name], estimates[name], turn, clock)
    return {name: Timing.of(values) for name, values in samples.items()}


def wait_until_quiet() -> None:
    """Sleeps until this process uses no CPU time, or for 0.4 s at most."""
    deadline = time.perf_counter() + _QUIET_LIMIT_SECONDS
    while time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(0.01)  # longer than the tick in which CPU time is counted (4 ms or less)
        if time.process_time() - before < 0.002:
            return


def _estimate(function: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the second call, or of the first where that is long enough to tell."""
    seconds = 0.0
    for _ in range(2):
        started = clock()
        function()
        seconds = max(clock() - started, 1e-7)
        if seconds > _LONG_SECONDS:
            break
    return seconds


def _take_turn(
    function: Callable[[], object],
    estimate: float,
    seconds: float,
    clock: Callable[[], float],
) -> list[float]:
    calls = max(1, round(_SAMPLE_SECONDS / estimate))
    collecting = gc.isenabled()
    gc.disable()
    try:
        if estimate < 0.2:  # one call of a longer one brings itself back
            started = clock()
            function()
            while clock() - started < min(_LEAD_IN_SECONDS, seconds / 4):
                function()
        samples = []
        turn_started = clock()
        while True:
            started = clock()
            for _ in range(calls):
                function()
            ended = clock()
            samples.append((ended - started) / calls)
            if ended - turn_started + estimate * calls > seconds:
                return samples
    finally:
        if collecting:
            gc.enable()
