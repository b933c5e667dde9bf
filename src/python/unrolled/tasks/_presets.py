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
        # Rates of dropout, AR and TAR: Merity, Keskar and Socher, "Regularizing and optimizing LSTM
        # language models", 2018. Their three layers of 1150 units are for a GPU; the sizes here,
        # and AdamW instead of their averaged SGD, are for a million words on a CPU.
        "awd": Preset(
            "AWD-LSTM by words",
            {
                "level": "word",
                "hidden": 400,
                "layers": 3,
                "tied": True,
                "dropout": 0.4,
                "dropout_hidden": 0.25,
                "dropout_input": 0.4,
                "dropout_embedding": 0.1,
                "weight_dropout": 0.5,
                "variational": True,
                "alpha": 2.0,
                "beta": 1.0,
                "lr": 3e-3,
                "weight_decay": 0.03,
                "batch": 32,
                "steps_per_update": 70,
            },
        ),
        # A small text by characters: what is memorised first is what needs the dropout.
        "char": Preset(
            "a small text by characters",
            {
                "level": "char",
                "hidden": 384,
                "layers": 2,
                "embedding": 64,
                "dropout": 0.3,
                "dropout_hidden": 0.2,
                "weight_dropout": 0.2,
                "variational": True,
                "lr": 4e-3,
                "batch": 32,
                "steps_per_update": 128,
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
