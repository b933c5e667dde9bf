"""Presets: sets of options that go together, by task and name.

`unrolled train TASK --preset NAME` takes the options of a preset; those given beside it win. A
preset sets no budget: how long to train is for the user to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A named set of options of a task.

    Attributes:
        summary: what it is for, as a few words of `--help`.
        options: values by the names of the task's options.
    """

    summary: str
    options: Mapping[str, Any]


_PRESETS: Mapping[str, Mapping[str, Preset]] = {
    "lm": {
        # Merity, Keskar and Socher, "Regularizing and optimizing LSTM language models", 2018. Their
        # three layers of 1150 units and hundreds of epochs of SGD are for a GPU; sizes, rates of
        # dropout and AdamW here are for a million words and about 15 epochs on a CPU.
        "awd": Preset(
            "AWD-LSTM by words",
            {
                "level": "word",
                "hidden": 400,
                "layers": 2,
                "tied": True,
                "adaptive": True,
                "dropout": 0.4,
                "dropout_hidden": 0.2,
                "dropout_input": 0.2,
                "dropout_embedding": 0.05,
                "weight_dropout": 0.2,
                "variational": True,
                "alpha": 2.0,
                "beta": 1.0,
                "lr": 3e-3,
            },
        ),
        # A small text by characters: a wide layer learns it by heart, dropout keeps it from that.
        # Dropped recurrent weights (0.3) only slowed the learning down where it was tried.
        "char": Preset(
            "a small text by characters",
            {"level": "char", "hidden": 512, "dropout": 0.4},
        ),
    },
    "keywords": {
        # One family of models, from the smallest to the most accurate.
        # Without gates it underfits, so that nothing is dropped: 0.155 nats on held-out clips of
        # digits, where dropout of 0.2 and half of this learning rate had 0.191.
        "rnn": Preset("small and quick", {"cell": "rnn", "lr": 2e-3, "dropout": 0.0}),
        "lstm": Preset("LSTMs", {"cell": "lstm"}),
        "gru": Preset("GRUs, the default", {"cell": "gru"}),
        "bidirectional": Preset("GRUs both ways, for whole clips", {"bidirectional": True}),
        # Arik et al., 2017, with two small convolutions in the place of a large one.
        "crnn": Preset("convolutions, then GRUs; can listen", {"conv": 32}),
        "clips": Preset(
            "the best for whole clips: convolutions, GRUs both ways, mixup; cannot listen",
            {"conv": 32, "bidirectional": True, "silence": False, "mixup": 0.3, "warp": 0.12},
        ),
    },
    "translation": {
        # Sub-words keep the output small, which is most of the work; dropout is what 29,000 pairs
        # need most.
        "multi30k": Preset(
            "tens of thousands of short pairs",
            {
                "tokens": "bpe",
                "vocabulary": 6000,
                "hidden": 384,
                "embedding": 256,
                "layers": 1,
                "dropout": 0.4,
                "label_smoothing": 0.1,
                "lr": 2e-3,
                "input_feeding": True,
                "averaging": "ema",
            },
        ),
        # Sub-words are parts of the few words there are, so that new ones can be spelt.
        "demo": Preset(
            "what --demo takes",
            {
                "tokens": "word",
                "target_tokens": "bpe",
                "vocabulary": 160,
                "hidden": 128,
                "embedding": 64,
                "dropout": 0.0,
                "label_smoothing": 0.0,
                "lr": 5e-3,
            },
        ),
        "g2p": Preset(
            "letters to phonemes, from a pronouncing dictionary",
            {
                "data": "dictionary",
                "tokens": "char",
                "target_tokens": "symbol",
                "lower": True,
                "hidden": 256,
                "embedding": 128,
                "layers": 2,
                "dropout": 0.2,
                "batch": 128,
                "lr": 3e-3,
                "averaging": "ema",
            },
        ),
    },
    "video": {
        "demo": Preset(
            "digits that move over a canvas",
            {
                "answer": "caption",
                "height": 40,
                "width": 40,
                "grey": True,
                # Of 25: a digit goes one pixel or three from each to the next.
                "rate": 12.5,
                "margin": 0,
                "channels": "32,64,128",
                "pooled": True,
                "context": 2,
                "features": 128,
                "hidden": 128,
                "layers": 1,
                "dropout": 0.1,
                "label_smoothing": 0.0,
                "lr": 3e-3,
                "averaging": "ema",
            },
        ),
        "lips": Preset(
            "what is said by lips alone: mouths as of the GRID corpus, 160 x 80",
            {
                "answer": "sentence",
                "crop": "0.225,0.2,0.775,0.9",
                "height": 48,
                "width": 80,
                "grey": True,
                "margin": 4,
                "flip": True,
                "warp": 0.2,
                "erase": 0.5,
                "context": 5,
                "dropout": 0.4,
                "averaging": "ema",
            },
        ),
    },
}


def presets(task_name: str) -> Mapping[str, Preset]:
    """Returns the presets of a task by name; none is not an error."""
    return _PRESETS.get(task_name, {})


def preset_options(task_name: str, name: str) -> Mapping[str, Any]:
    """Returns the options of a preset.

    Raises:
        ValueError: the task has no preset of this name.
    """
    known = presets(task_name)
    if name not in known:
        raise ValueError(
            f"[train {task_name}] there is no preset {name!r}, only {', '.join(known) or 'none'}"
        )
    return known[name].options
