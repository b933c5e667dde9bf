"""The kinds of answers by name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .answers import Answer
from .caption_answer import CaptionAnswer
from .clip_answer import ClipAnswer
from .data import Shot
from .frame_answer import FrameAnswer
from .sentence_answer import SentenceAnswer

if TYPE_CHECKING:
    from .._video_options import Options

_KINDS: dict[str, type[Answer]] = {
    each.kind: each for each in (ClipAnswer, FrameAnswer, SentenceAnswer, CaptionAnswer)
}


def answer_of(kind: str, shots: Sequence[Shot], options: "Options") -> Answer:
    """Returns the answer of a kind, or of what the clips say, learnt from training clips.

    Raises:
        ValueError: the clips do not say what it needs.
    """
    if kind == "auto":
        if any(shot.text for shot in shots):
            kind = "sentence" if any(shot.segments for shot in shots) else "caption"
        else:
            kind = "clip" if any(shot.label for shot in shots) else "frame"
    return _KINDS[kind].of(shots, options)


def answer_from_json(values: Mapping[str, Any]) -> Answer:
    """Returns the answer that a checkpoint describes."""
    return _KINDS[values["kind"]].from_json(values)
