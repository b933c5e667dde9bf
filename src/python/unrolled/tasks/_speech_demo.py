"""Speech that is made rather than recorded, to try everything with no data at hand."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from unrolled.audio import FeatureSettings, Speech, extract_features, resample, speak
from unrolled.training import counter_rng, import_extra

from ._corpus import builtin_documents
from ._dictionary import Dictionary
from ._spoken import Spoken
from ._utterances import Segment
from ._watch import watched

#: Voices of the demo: men and women.
_VOICES = ("en-us", "en-us+f2", "en-us+f4", "en-us+m3", "en-us+m7")

_SENTENCE = re.compile(r"(?<=[.!?]\s)([A-Z][a-z]+(?:[ ,]+[a-z']+){3,9})[.?!]")

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def say_sentences(count: int, settings: FeatureSettings) -> tuple[Spoken, Dictionary]:
    """Returns sentences from the documentation of Python, said by eSpeak in several voices.

    Which ones, and how they are said, follows from nothing but their number. The dictionary has
    their words as eSpeak said them, the most frequent way first.
    """
    found = set()
    for document in builtin_documents():
        found.update(_SENTENCE.findall(re.sub(r"\s+", " ", document.text)))
    sentences = sorted(found)
    order: list[int] = counter_rng(0, 0, 0).permutation(len(sentences))[:count].tolist()
    texts = [sentences[place] for place in order]
    said = [_say(sentences[place], place) for place in watched(order, "speech")]
    frames = [
        extract_features(resample(each.samples, each.rate, settings.rate), settings)
        for each in watched(said, "features")
    ]
    segments = [
        [Segment(p.symbol, p.start, p.end) for p in each.phonemes if p.symbol] for each in said
    ]
    symbols = [[segment.symbol for segment in row] for row in segments]
    words = [_words(text) for text in texts]
    nothing: list[None] = [None] * len(texts)
    spoken = Spoken(
        frames, symbols, segments, words, [()] * len(texts), [_voice(i) for i in order], nothing
    )
    return spoken, _dictionary(zip(texts, said, strict=True))


def write_sentence(words: Sequence[str], path: Path) -> Path:
    """Says words in the first voice, writes the sound into a file, and returns that."""
    speech = speak(" ".join(words), voice=_VOICES[0])
    import_extra("soundfile", "speech").write(path, speech.samples, speech.rate)
    return path


def _say(sentence: str, number: int) -> Speech:
    rng = counter_rng(0, 1, number)
    voice = _draw_voice(rng)
    speed, pitch = int(rng.integers(140, 200)), int(rng.integers(30, 70))
    return speak(sentence, voice=voice, speed=speed, pitch=pitch)


def _voice(number: int) -> str:
    return _draw_voice(counter_rng(0, 1, number))


def _draw_voice(rng: np.random.Generator) -> str:
    return _VOICES[int(rng.integers(len(_VOICES)))]


def _dictionary(said: Iterable[tuple[str, Speech]]) -> Dictionary:
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for text, speech in said:
        for words, spoken in _parts(text, speech):
            # eSpeak says some words together, as "of the": which phoneme is whose is not known.
            if len(words) == 1:
                counts[words[0]][spoken] += 1
    return Dictionary(
        {
            word: tuple(sorted(ways, key=lambda way: (-ways[way], way)))
            for word, ways in sorted(counts.items())
        }
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _parts(text: str, speech: Speech) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Yields the words, or few words that are said as one, of a text with their phonemes."""
    phonemes = [phoneme for phoneme in speech.phonemes if phoneme.symbol]
    parts = [(place, list(own)) for place, own in groupby(phonemes, lambda p: p.position)]
    for (place, own), (end, _) in pairwise([*parts, (len(text), [])]):
        yield _words(text[place:end]), tuple(phoneme.symbol for phoneme in own)
