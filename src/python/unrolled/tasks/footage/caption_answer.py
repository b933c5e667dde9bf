"""A text about a clip: the model has seen all of it, then it writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unrolled.models import BeamOptions, CaptionModel, VideoEncoderConfig, beam_search
from unrolled.training import Array, pad_sequences

from .._edit_distance import error_rate
from .._segmenters import Segmenter, segmenter_from_json, train_segmenter
from .._text import UNKNOWN
from .answers import Answer, LossPullback
from .data import Integers, Reading, Shot, Times

if TYPE_CHECKING:
    from .._video_options import Options


@dataclass(frozen=True)
class CaptionAnswer(Answer):
    """A caption, or a sentence that is written rather than read off frame by frame.

    Attributes:
        segmenter: cuts texts into tokens.
        longest: tokens of the longest text that was learnt from; texts of half as many again are
            written at most.
        smoothing: of the labels, in training.
        beam: hypotheses that are kept.
    """

    kind: ClassVar[str] = "caption"
    unit: ClassVar[str] = "tokens"

    segmenter: Segmenter
    longest: int
    smoothing: float
    beam: int

    @classmethod
    def of(cls, shots: Sequence[Shot], options: "Options") -> "CaptionAnswer":
        """The words or the characters of the texts."""
        texts = [shot.text for shot in shots if shot.text]
        if not texts:
            raise ValueError("there are no texts in the training clips to learn captions from")
        segmenter = train_segmenter(texts, options.tokens, size=options.vocabulary)
        longest = max(len(segmenter.encode(text)) for text in texts)
        return cls(segmenter, longest, options.label_smoothing, options.beam)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return {
            "segmenter": self.segmenter.to_json(),
            "longest": self.longest,
            "smoothing": self.smoothing,
            "beam": self.beam,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CaptionAnswer":
        """From the fields."""
        return cls(
            segmenter_from_json(values["segmenter"]),
            int(values["longest"]),
            float(values["smoothing"]),
            int(values["beam"]),
        )

    def build(
        self, encoder: VideoEncoderConfig, options: "Options", rng: np.random.Generator
    ) -> CaptionModel:
        """An encoder and a decoder with attention."""
        return CaptionModel(
            encoder,
            len(self.segmenter),
            embedding_size=options.embedding,
            score=options.attention,
            rng=rng,
        )

    def restore(self, config: Mapping[str, Any], weights: Mapping[str, Array]) -> CaptionModel:
        """The model of a checkpoint."""
        return CaptionModel.from_parameters(config, weights)

    def target(self, shot: Shot, times: Times) -> Integers:
        """The tokens, closed by the token 0."""
        return np.array([*self.segmenter.encode(shot.text), 0], np.int64)

    def together(self, targets: Sequence[Integers]) -> tuple[Integers, Integers]:
        """(S, B) and the lengths (B,)."""
        return pad_sequences(targets)

    def loss_vjp(
        self,
        model: CaptionModel,
        images: Array,
        lengths: Integers,
        targets: tuple[Integers, Integers],
        rng: np.random.Generator,
    ) -> LossPullback:
        """Cross-entropy of each token after those before it, with smoothed labels."""
        loss, pullback = model.loss_vjp(
            images, lengths, *targets, smoothing=self.smoothing, rng=rng
        )
        return (loss, int(targets[1].sum())), pullback

    def loss(
        self,
        model: CaptionModel,
        images: Array,
        lengths: Integers,
        targets: tuple[Integers, Integers],
    ) -> tuple[float, int]:
        """The same without dropout and smoothing."""
        losses, _ = model.losses(images, lengths, *targets)
        count = int(targets[1].sum())
        return float(losses.sum(dtype=np.float64)) / max(count, 1), count

    def read(
        self,
        model: CaptionModel,
        images: Array,
        lengths: Integers,
        times: Sequence[Times],
    ) -> list[Reading]:
        """The best captions by beam search, and what each of their tokens looked at."""
        memory, state = model.encode(images, lengths)
        stream = model.packed().start(memory, lengths, state)
        most = np.full(lengths.size, self.longest + self.longest // 2 + 1, np.int64)
        found = beam_search(stream, lengths, most, BeamOptions(self.beam, banned=(UNKNOWN,)))
        written = [np.array([*hypotheses[0].tokens, 0], np.int64) for hypotheses in found]
        targets = self.together(written)
        _, weights = model.losses_of(memory, state, lengths, *targets)
        readings = []
        for row, (hypotheses, tokens) in enumerate(zip(found, written, strict=True)):
            texts = [
                (self.segmenter.decode(each.tokens), float(np.exp(each.log_p)))
                for each in hypotheses
            ]
            names = (*self.segmenter.pieces(tokens[:-1].tolist()), "<end>")
            looked = np.ascontiguousarray(weights[: tokens.size, row, : lengths[row]])
            readings.append(Reading(*texts[0], names, looked, others=tuple(texts[1:])))
        return readings

    def errors(self, shots: Sequence[Shot], readings: Sequence[Reading]) -> Iterator[str]:
        """The share of captions that are exact, and that of wrong words."""
        said = [shot.text.split() for shot in shots]
        written = [reading.text.split() for reading in readings]
        exact = sum(a == b for a, b in zip(said, written, strict=True))
        yield f"exact      {exact / max(len(said), 1):.2%} of {len(said):,} captions"
        yield f"words      {1.0 - error_rate(said, written):.2%} right"
