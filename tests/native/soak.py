#!/usr/bin/env python3
"""Streams and trains for a long time and looks whether memory stays flat.

    python tests/native/soak.py --minutes 60     # half of it steps of a stream, half training
    python tests/native/soak.py --listen speech.wav --hours 24      # so much of a sound

Prints the resident memory once a minute. It may wobble, but not grow: after a warm-up of a tenth of
the run the level at the end has to be that of the beginning, within `--slack` MiB.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from unrolled import GRU, LanguageModel, functional
from unrolled.audio import (
    FeatureSettings,
    Samples,
    SpeakerNormalisation,
    extract_features,
    read_audio,
)
from unrolled.models import AcousticModel
from unrolled.tasks import keywords
from unrolled.training import AdamW, StreamBatches

_SAMPLES = 40
_ROUNDS = 20  # between two samples at least, however slow the machine is
_PIECE_SECONDS = 0.1  # of sound, as a device may give them


def resident() -> float:
    """Resident memory of this process, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def stream_steps() -> Iterator[None]:
    """Steps of two streams, one of them opened anew now and then."""
    rng = np.random.default_rng(0)
    layer = GRU(48, 96, 2, rng=rng)
    lasting = layer.stream(4)
    while True:
        opened = layer.stream(1)
        for _ in range(2000):
            lasting(rng.standard_normal((4, 48), np.float32))
            opened(rng.standard_normal((1, 48), np.float32))
            yield


def training_updates() -> Iterator[None]:
    """Updates of a language model, scores and streams of text between them, lengths that vary."""
    rng = np.random.default_rng(0)
    model = LanguageModel(80, embedding_size=24, hidden_size=64, num_layers=2, dropout=0.1, rng=rng)
    optimizer = AdamW(model, lr=1e-3)
    tokens = rng.integers(0, 80, 20_000)
    while True:
        steps, batch = int(rng.integers(1, 60)), int(rng.integers(1, 12))
        batches, state = StreamBatches(tokens, batch_size=batch, steps=steps, seed=0), None
        for _ in range(10):
            piece = batches.next()
            (_, state), pullback = model.loss_vjp(piece.tokens, piece.targets, state, rng=rng)
            model.zero_grads()
            pullback()
            optimizer.step()
            yield
        model.losses(piece.tokens, piece.targets)
        stream = model.stream()
        for token in range(20):
            stream.step(np.array([token]))


def listened_pieces(samples: Samples) -> Iterator[None]:
    """Pieces of a sound over and over, heard by two GRUs of 256 units in 8 bits, by speaker.

    They are as they begin, and tell at random what they take to be words.
    """
    settings, words = FeatureSettings(), tuple(f"word{number}" for number in range(12))
    rng = np.random.default_rng(0)
    model = AcousticModel(settings.size, len(words), hidden_size=256, pooled=True, rng=rng)
    normalisation = SpeakerNormalisation.of_speech([extract_features(samples, settings)], settings)
    spotter = keywords.Spotter(
        model, words, settings, normalisation, 1.0, keywords.Options(minutes=1)
    )
    with model.in_precision("int8"):
        listener = keywords.Listener(spotter, threshold=1.05 / len(words))
    size = round(_PIECE_SECONDS * settings.rate)
    for start in itertools.cycle(range(0, len(samples) - size + 1, size)):
        listener(samples[start : start + size])
        yield


def settled() -> float:
    """Returns the memory in use in MiB, without what is kept free for later by us and by malloc."""
    gc.collect()
    functional.trim_memory()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


def grows(
    work: Iterator[None],
    say: Callable[[str], object],
    *,
    minutes: float = math.inf,
    rounds: float = math.inf,
) -> tuple[float, int]:
    """Runs for so long, or so many rounds.

    Returns by how many MiB memory grew after the warm-up, and the rounds.
    """
    start, levels, done = time.monotonic(), [], 0
    shown, busy = start, time.process_time()
    for _ in work:
        done += 1
        now = time.monotonic()
        part = max((now - start) / (60 * minutes), done / rounds)
        due = part >= 0.1 + 0.9 * len(levels) / _SAMPLES
        if due and done >= _ROUNDS * (len(levels) + 1):
            levels.append(settled())
        if now - shown >= 60 or len(levels) > _SAMPLES:
            shown = now
            each = 1e6 * (time.process_time() - busy) / done
            say(
                f"{(now - start) / 60:.0f} min, {done:,}, {resident():.1f} MiB, "
                f"{each:.0f} us of the processor each"
            )
        if len(levels) > _SAMPLES:
            break
    # Medians of the first and the last quarter: single peaks do not count, a slope does.
    quarter = len(levels) // 4
    return float(np.median(levels[-quarter:]) - np.median(levels[:quarter])), done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--listen", type=Path, help="a sound to hear instead, over and over")
    parser.add_argument("--hours", type=float, default=24.0, help="of sound to hear")
    parser.add_argument("--slack", type=float, default=2.0, help="MiB")
    given = parser.parse_args()
    say = functools.partial(print, flush=True)
    worst = 0.0
    if given.listen is not None:
        functional.set_num_threads(1)
        sound = read_audio(given.listen, FeatureSettings().rate)
        count = 3600 * given.hours / _PIECE_SECONDS
        worst, pieces = grows(listened_pieces(sound), say, rounds=count)
        print(f"{pieces:,} pieces of {_PIECE_SECONDS} s, {worst:+.2f} MiB")
    else:
        for work in (stream_steps, training_updates):
            growth, rounds = grows(work(), say, minutes=given.minutes / 2)
            print(f"{work.__name__}: {rounds:,} in {given.minutes / 2:g} min, {growth:+.2f} MiB")
            worst = max(worst, growth)
    print("memory is flat" if worst <= given.slack else f"memory grew by {worst:.2f} MiB")
    return 0 if worst <= given.slack else 1


if __name__ == "__main__":
    sys.exit(main())
