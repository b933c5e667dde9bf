#!/usr/bin/env python3
"""What one hop of sound costs, as it is made: features, a model of 2 x 256 GRUs, the listener.

    pip install "unrolled[speech]"
    python benchmarks/bench_hop.py                    # one thread

Noise at 16 kHz, 160 samples (10 ms) at a time; the model takes a step each hop. Microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np

from unrolled import functional
from unrolled.audio import FeatureSettings, FeatureStream, Normalisation, SpeakerNormalisation
from unrolled.models import AcousticModel
from unrolled.tasks import keywords
from unrolled.tasks._listen import Listener

SECONDS = 30
WORDS = tuple(f"word{number}" for number in range(12))


def report(what: str, run: Callable[[Any], Any], inputs: Iterable[Any]) -> None:
    """Runs on one input after the other; prints percentiles of the time of each."""
    taken = []
    for each in inputs:
        begun = time.perf_counter()
        run(each)
        taken.append(time.perf_counter() - begun)
    median, high, highest = np.quantile(np.array(taken[len(taken) // 20 :]) * 1e6, [0.5, 0.9, 0.99])
    print(f"{what:24}{median:10.1f}{high:10.1f}{highest:10.1f}")


def main() -> None:
    functional.set_num_threads(1)
    rng = np.random.default_rng(0)
    settings = FeatureSettings()
    samples = (0.1 * rng.standard_normal(SECONDS * settings.rate)).astype(np.float32)
    hops = np.split(samples, SECONDS * 100)
    frames = rng.standard_normal((len(hops), 1, settings.size)).astype(np.float32)
    model = AcousticModel(
        settings.size, len(WORDS), hidden_size=256, num_layers=2, stride=1, pooled=True, rng=rng
    )
    print(f"{'µs':24}{'median':>10}{'90%':>10}{'99%':>10}")
    report("features", FeatureStream(settings).push, hops)
    # A tenth of a second with speech, and one without.
    voiced = frames + np.where(np.arange(len(hops)) // 10 % 2, 12.0, 8.0)[:, None, None]
    voiced = voiced.astype(np.float32)
    report("normalised", Normalisation.of(voiced).speaker(), voiced)
    report(
        "normalised, by speaker", SpeakerNormalisation.of_speech(voiced, settings).speaker(), voiced
    )
    for precision in get_args(functional.Precision):
        with model.in_precision(precision):
            report(f"model, {precision}", model.stream(), frames)
            spotter = keywords.Spotter(
                model,
                WORDS,
                settings,
                Normalisation.of([frames[:, 0]]),
                1.0,
                keywords.Options(minutes=1),
            )
            report(f"listener, {precision}", Listener(spotter), hops)


if __name__ == "__main__":
    main()
