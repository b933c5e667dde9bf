"""What a model of translation learns from: pairs, cut into tokens, side by side in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unrolled.training import counter_rng, pad_sequences

from ._parallel import Pair, read_dictionary, read_pairs
from ._segmenters import Segmenter, train_segmenter
from ._translation_demo import make_pairs

if TYPE_CHECKING:
    from .translation import Options

Integers = NDArray[np.int64]

#: One pair of so many is held out where the user splits nothing, and at most so many.
_HELD_OUT_ONE_OF, _MOST_HELD_OUT = 20, 1000

#: Pairs that the demo makes.
_DEMO_PAIRS = 20_000

#: Stream of random numbers of the split.
_SPLIT = 0


@dataclass(frozen=True)
class Batch:
    """Pairs side by side.

    Shapes: S places, T steps, B pairs.

    Attributes:
        sources: (S, B) tokens, 0 behind the end of each.
        source_lengths: (B,).
        targets: (T, B) tokens, each target closed by the token 0.
        target_lengths: (B,) with the closing token.
    """

    sources: Integers
    source_lengths: Integers
    targets: Integers
    target_lengths: Integers


@dataclass(frozen=True)
class Encoded:
    """Pairs as tokens.

    Attributes:
        pairs: as text.
        sources: tokens of each source.
        targets: tokens of each first target, closed by the token 0.
    """

    pairs: Sequence[Pair]
    sources: Sequence[Integers]
    targets: Sequence[Integers]

    @classmethod
    def of(
        cls, pairs: Sequence[Pair], source: Segmenter, target: Segmenter, *, lower: bool
    ) -> "Encoded":
        """Cuts all pairs into tokens."""
        return cls(
            pairs,
            [
                np.array(source.encode(p.source.lower() if lower else p.source), np.int64)
                for p in pairs
            ],
            [np.array([*target.encode(p.target), 0], np.int64) for p in pairs],
        )

    def rows(self, chosen: Sequence[int]) -> "Encoded":
        """Some of them."""
        sides = (self.pairs, self.sources, self.targets)
        return Encoded(*([side[row] for row in chosen] for side in sides))  # type: ignore[arg-type]

    @property
    def lengths(self) -> Integers:
        """(N,) tokens of the longer side of each pair."""
        both = zip(self.sources, self.targets, strict=True)
        return np.array([max(a.size, b.size) for a, b in both], np.int64)

    def batch(self, rows: Sequence[int] | Integers) -> Batch:
        """Puts some of them side by side."""
        sources, source_lengths = pad_sequences([self.sources[row] for row in rows])
        targets, target_lengths = pad_sequences([self.targets[row] for row in rows])
        return Batch(sources, source_lengths, targets, target_lengths)


def files_of(
    sources: Sequence[Path], source: str | None, target: str | None, pairs: str | None
) -> tuple[Path, ...]:
    """Returns the one or two files that are named, in whichever way; none if none is.

    Raises:
        ValueError: they are named in two ways, or one of a pair is missing.
    """
    if (source is None) != (target is None):
        raise ValueError("give both of --source and --target")
    named = [
        tuple(sources),
        () if source is None or target is None else (Path(source), Path(target)),
        () if pairs is None else (Path(pairs),),
    ]
    given = [files for files in named if files]
    if len(given) > 1:
        raise ValueError("name the pairs in one way: as files, with --source --target, or --pairs")
    return given[0] if given else ()


def read_training(options: "Options", sources: Sequence[Path]) -> tuple[list[Pair], list[Pair]]:
    """Returns the pairs to learn from and those to hold out.

    Raises:
        ValueError: no pairs are named, or they will not do.
    """
    validation = files_of(
        (), options.validation_source, options.validation_target, options.validation_pairs
    )
    files = files_of(sources, options.source, options.target, options.pairs)
    if options.demo:
        if files or validation:
            raise ValueError("--demo makes its own pairs: name no files")
        pairs = make_pairs(_DEMO_PAIRS)
    elif not files:
        raise ValueError(
            "give two files of parallel lines (--source a.en --target a.de), one with tabs between "
            "the two (--pairs), or --demo"
        )
    else:
        pairs = read_some(options, files)
    pairs = _useful(pairs)
    if validation:
        return pairs, _useful(read_some(options, validation))
    count = min(-(-len(pairs) // _HELD_OUT_ONE_OF), _MOST_HELD_OUT)
    order = counter_rng(0, _SPLIT, 0).permutation(len(pairs))
    held_out, training = order[:count], np.sort(order[count:])
    return [pairs[row] for row in training], [pairs[row] for row in held_out]


def read_some(options: "Options", files: Sequence[Path]) -> list[Pair]:
    """Returns the pairs of files of the kind that the options name."""
    if options.data == "parallel":
        return read_pairs(files)
    return [pair for file in files for pair in read_dictionary(file)]


def _useful(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.source and pair.target]


def make_segmenters(options: "Options", pairs: Sequence[Pair]) -> tuple[Segmenter, Segmenter]:
    """Returns what cuts sources and targets into tokens, learnt from pairs.

    Raises:
        ValueError: they are to be joint, and not of one kind.
    """
    kinds = options.tokens, options.target_tokens or options.tokens
    sources = [p.source.lower() if options.lower else p.source for p in pairs]
    targets = [target for p in pairs for target in p.targets]
    if not options.joint:
        source, target = (
            train_segmenter(texts, kind, size=options.vocabulary, min_count=options.min_count)
            for texts, kind in zip((sources, targets), kinds, strict=True)
        )
        return source, target
    if kinds[0] != kinds[1]:
        raise ValueError("--joint takes one kind of tokens for both sides: leave out one")
    both = train_segmenter(
        [*sources, *targets], kinds[0], size=options.vocabulary, min_count=options.min_count
    )
    return both, both
