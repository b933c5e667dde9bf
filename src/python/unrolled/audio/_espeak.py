"""Speech from text, with the exact time of every phoneme: eSpeak NG, for data that cost nothing."""

import ctypes
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .._extras import import_extra
from ._files import AudioError, Samples

# From eSpeak's speak_lib.h: output, options, events, encoding and parameters.
_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA = 2, 1, 2
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_UTF8 = 1
_RATE, _PITCH = 1, 3

#: Stress and length of pauses, which are no phonemes.
_MARKS = "ˈˌ_:'%,"

#: One voice speaks at a time: the library has one state.
_lock = threading.Lock()


@dataclass(frozen=True)
class Phoneme:
    """A phoneme in a sound.

    Attributes:
        symbol: in the International Phonetic Alphabet, without stress; "" for a pause.
        start: when it begins, in seconds.
        end: when the next one begins.
        position: where in the text that begins which it is said for, a word or a few words that are
            said as one.
    """

    symbol: str
    start: float
    end: float
    position: int


@dataclass(frozen=True, eq=False)
class Speech:
    """What was said: samples (N,) of -1..1 at `rate` samples a second, and its phonemes."""

    samples: Samples
    rate: int
    phonemes: tuple[Phoneme, ...]


def speak(text: str, *, voice: str = "en-us", speed: int = 170, pitch: int = 50) -> Speech:
    """Says a text.

    Args:
        text: what to say.
        voice: a name of eSpeak, as "en-us", "de" or "en-us+f3" for a woman's voice.
        speed: words a minute, 80..450.
        pitch: 0..99.

    Raises:
        ValueError: there is no such voice.
        ImportError: the extra [speech-demo] is not installed.
    """
    library, rate = _open()
    parts: list[bytes] = []
    events: list[tuple[str, float, int]] = []

    def take(wave: Any, count: int, given: Any) -> int:
        if wave and count > 0:
            parts.append(ctypes.string_at(wave, 2 * count))
        place = 0
        while given[place].type != _EVENT_END_OF_LIST:
            if given[place].type == _EVENT_PHONEME:
                event = given[place]
                symbol = event.id.string.decode("utf-8", "ignore")
                # The library counts characters from 1.
                events.append((symbol, event.audio_position / 1000.0, event.text_position - 1))
            place += 1
        return 0

    data = text.encode() + b"\0"
    with _lock:
        callback = _Callback(take)
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak has no voice {voice!r}")
        library.espeak_SetParameter(_RATE, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        if library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None):
            raise AudioError(f"eSpeak could not say {text!r}")
    samples = np.frombuffer(b"".join(parts), np.int16).astype(np.float32) / np.float32(32768.0)
    ends = [start for _, start, _ in events[1:]] + [len(samples) / rate]
    phonemes = tuple(
        Phoneme(symbol.strip(_MARKS), start, end, position)
        for (symbol, start, position), end in zip(events, ends, strict=True)
        if end > start
    )
    return Speech(samples, rate, phonemes)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@cache
def _open() -> tuple[Any, int]:
    """The library, and the rate of its sound."""
    loader = import_extra("espeakng_loader", "speech-demo")
    library = ctypes.CDLL(str(loader.get_library_path()))
    options = _PHONEME_EVENTS | _PHONEME_IPA
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(loader.get_data_path()).encode(), options)
    if rate <= 0:
        raise AudioError("eSpeak could not be started")
    return library, int(rate)
