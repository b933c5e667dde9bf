"""Speech that is made rather than recorded, to try everything with no data at hand."""

import re
from dataclasses import dataclass

import numpy as np

from unrolled.audio import Samples, resample, speak
from unrolled.training import counter_rng

from ._corpus import builtin_documents
from ._watch import watched

#: Voices of the demo: men and women.
_VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-us+m7")

_SENTENCE = re.compile(r"(?<=[.!?]\s)([A-Z][a-z]+(?:[ ,]+[a-z']+){3,9})[.?!]")


@dataclass(frozen=True, eq=False)
class Made:
    """A sentence that was said: its samples (N,) and its phonemes."""

    samples: Samples
    symbols: tuple[str, ...]


def make_speech(count: int, rate: int) -> list[Made]:
    """Returns sentences from the documentation of Python, said by eSpeak in several voices.

    Which ones, and how they are said, follows from nothing but their number.
    """
    found = set()
    for document in builtin_documents():
        found.update(_SENTENCE.findall(re.sub(r"\s+", " ", document.text)))
    sentences = sorted(found)
    order: list[int] = counter_rng(0, 0, 0).permutation(len(sentences))[:count].tolist()
    return [_say(sentences[place], place, rate) for place in watched(order, "speech")]


def _say(sentence: str, number: int, rate: int) -> Made:
    rng = counter_rng(0, 1, number)
    voice = _VOICES[int(rng.integers(len(_VOICES)))]
    speed, pitch = int(rng.integers(140, 200)), int(rng.integers(30, 70))
    speech = speak(sentence, voice=voice, speed=speed, pitch=pitch)
    symbols = tuple(phoneme.symbol for phoneme in speech.phonemes if phoneme.symbol)
    samples = resample(np.ascontiguousarray(speech.samples), speech.rate, rate)
    return Made(samples, symbols)
