"""`unrolled listen`: words in a stream of sound."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..audio import Samples, audio_blocks
from ..tasks import keywords

#: Bytes of a sample of raw sound, and its full scale.
_BYTES, _FULL_SCALE = 2, 32768.0


def listen(
    checkpoint: Annotated[
        Path, typer.Argument(help="A .safetensors file that `unrolled train keywords` wrote.")
    ],
    sound: Annotated[
        str,
        typer.Argument(
            metavar="FILE or -",
            help="A sound file, or - for raw samples on standard input: mono, 16 bits, "
            "little-endian, at the model's rate (16 kHz unless trained with another --rate).",
        ),
    ],
    threshold: Annotated[
        float, typer.Option(help="Least probability of a word that is told, 0..1.")
    ] = 0.8,
) -> None:
    """Say which words are heard, while the sound goes on."""
    spotter = keywords.load(checkpoint)
    listener = keywords.Listener(spotter, threshold)
    hop, rate = spotter.settings.hop, spotter.settings.rate
    pieces = (
        _raw_pieces(round(hop * rate)) if sound == "-" else audio_blocks(sound, rate, seconds=hop)
    )
    count, busy = 0, 0.0
    try:
        for samples in pieces:
            count += len(samples)
            for heard in listener(samples):
                print(f"{heard.seconds:9.2f} s  {heard.word}  {heard.probability:.2f}", flush=True)
            busy += listener.latencies[-1]
    except KeyboardInterrupt:
        pass
    finally:
        seconds = count / rate
        if seconds:
            latencies = np.array(listener.latencies) * 1e6
            print(
                f"{seconds:.1f} s of sound in {busy:.2f} s "
                f"(real-time factor {busy / seconds:.4f}); {np.median(latencies):.0f} us for "
                f"{1000 * hop:.0f} ms, at most {latencies.max():.0f} us",
                file=sys.stderr,
            )
    if not count:
        print("there was no sound to listen to", file=sys.stderr)


def _raw_pieces(size: int) -> Iterator[Samples]:
    """Samples from standard input, little-endian and signed, as soon as they are there."""
    rest = b""
    while True:
        data = sys.stdin.buffer.read(size * _BYTES)
        if not data:
            return
        data = rest + data
        whole = len(data) // _BYTES * _BYTES
        data, rest = data[:whole], data[whole:]
        yield np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
