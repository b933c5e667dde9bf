"""Audio files of any format, rate and number of channels, as mono samples of one rate."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._extras import import_extra

Samples = NDArray[np.float32]

#: Files of floats may go beyond full scale, even by a mistaken factor of 32,768, but not by this.
_LOUDEST = 1e6

#: Samples a second, from what carries no speech to what no device gives: damaged files name others.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000

#: Seconds of a file that are read at a time.
_BLOCK_SECONDS = 10.0

#: Samples of all channels that are read at a time at most: a damaged file may say that it has many.
_BLOCK_SAMPLES = 1 << 24


class AudioError(ValueError):
    """A file that is no audio, or audio that cannot be used; the text names it."""


def read_audio(path: str | os.PathLike[str], rate: int) -> Samples:
    """Returns all of a file, (N,) samples of -1..1 at `rate` samples a second, mono.

    WAV (PCM and ADPCM), FLAC, OGG, MP3 and whatever else libsndfile reads. Channels are averaged.

    Raises:
        FileNotFoundError: there is no such file.
        AudioError: it is no audio, is damaged, or holds samples that are not finite; or it has
            fewer than 1,000 samples a second, or more than a million.
    """
    blocks = list(audio_blocks(path, rate))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def audio_blocks(
    path: str | os.PathLike[str], rate: int, *, seconds: float = _BLOCK_SECONDS
) -> Iterator[Samples]:
    """Yields a file piece by piece, in constant memory; together the pieces are `read_audio`.

    Args:
        path: the file.
        rate: samples a second of what is yielded.
        seconds: how much of the file to read at a time. It changes the pieces, not the samples.

    Raises: as `read_audio`, when the piece concerned is asked for.
    """
    name = Path(path)
    if not name.is_file():
        raise FileNotFoundError(f"no file {str(name)!r}")
    soundfile = import_extra("soundfile", "speech")
    try:
        with soundfile.SoundFile(name) as file:
            own_rate = int(file.samplerate)
            if not _LOWEST_RATE <= own_rate <= _HIGHEST_RATE:
                raise AudioError(
                    f"{name} says that it has {own_rate:,} samples a second; what has "
                    f"{_LOWEST_RATE:,} to {_HIGHEST_RATE:,} can be read"
                )
            most = max(_BLOCK_SAMPLES // file.channels, 1)
            pieces = _blocks(file, min(max(int(seconds * own_rate), 1), most))
            yield from _resampled(_mono(name, pieces), own_rate, rate)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name} is no audio that can be read ({str(error).rstrip('.')}); "
            "WAV, FLAC, OGG and MP3 can"
        ) from error


def _blocks(file: Any, size: int) -> Iterator[Samples]:
    """Yields (N, channels) samples, N <= `size`.

    What libsndfile counts among the samples of a damaged file without writing it is NaN.
    """
    while True:
        piece = file.read(out=np.full((size, file.channels), np.nan, np.float32))
        if not len(piece):
            return
        yield piece


def _mono(path: Path, pieces: Iterator[Samples]) -> Iterator[Samples]:
    for piece in pieces:
        if not np.isfinite(piece).all():
            raise AudioError(f"{path} holds samples that are NaN or infinite, or damaged ones")
        if piece.size and np.abs(piece).max() > _LOUDEST:
            raise AudioError(f"{path} holds samples of {np.abs(piece).max():.3g}, full scale is 1")
        yield piece[:, 0] if piece.shape[1] == 1 else piece.mean(axis=1)


def _resampled(pieces: Iterator[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    """The pieces at another rate; what a resampler holds back comes at the end."""
    if rate == wanted:
        yield from pieces
        return
    resampler = _resampler(rate, wanted)
    for piece in pieces:
        yield resampler.resample_chunk(piece)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def resample(samples: Samples, rate: float, wanted: float) -> Samples:
    """Returns samples (N,) at another rate; the same numbers at another speed, too.

    Taken as `rate = 1.1 * wanted`, sound becomes a tenth faster and higher.
    """
    if rate == wanted:
        return samples
    result: Samples = _resampler(rate, wanted).resample_chunk(samples, last=True)
    return result


def _resampler(rate: float, wanted: float) -> Any:
    return import_extra("soxr", "speech").ResampleStream(rate, wanted, 1, dtype="float32")
