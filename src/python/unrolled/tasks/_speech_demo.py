"""Speech that is made rather than recorded, to try everything with no data at hand."""

import re

from unrolled.audio import FeatureSettings, Speech, extract_features, resample, speak
from unrolled.training import counter_rng

from ._corpus import builtin_documents
from ._spoken import Spoken
from ._utterances import Segment
from ._watch import watched

#: Voices of the demo: men and women.
_VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-us+m7")

_SENTENCE = re.compile(r"(?<=[.!?]\s)([A-Z][a-z]+(?:[ ,]+[a-z']+){3,9})[.?!]")


def say_sentences(count: int, settings: FeatureSettings) -> Spoken:
    """Returns sentences from the documentation of Python, said by eSpeak in several voices.

    Which ones, and how they are said, follows from nothing but their number.
    """
    found = set()
    for document in builtin_documents():
        found.update(_SENTENCE.findall(re.sub(r"\s+", " ", document.text)))
    sentences = sorted(found)
    order: list[int] = counter_rng(0, 0, 0).permutation(len(sentences))[:count].tolist()
    said = [_say(sentences[place], place) for place in watched(order, "speech")]
    frames = [
        extract_features(resample(each.samples, each.rate, settings.rate), settings)
        for each in watched(said, "features")
    ]
    segments = [
        [Segment(p.symbol, p.start, p.end) for p in each.phonemes if p.symbol] for each in said
    ]
    return Spoken(frames, [[s.symbol for s in row] for row in segments], segments, [()] * count)


def _say(sentence: str, number: int) -> Speech:
    rng = counter_rng(0, 1, number)
    voice = _VOICES[int(rng.integers(len(_VOICES)))]
    speed, pitch = int(rng.integers(140, 200)), int(rng.integers(30, 70))
    return speak(sentence, voice=voice, speed=speed, pitch=pitch)
