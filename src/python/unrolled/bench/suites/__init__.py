"""The named suites. A new one is an entry here, or a file beside this one and an entry here.

Sizes are fields, so that a suite with others is `dataclasses.replace(SUITES["ragged"], ...)`.
"""

from __future__ import annotations

from .._shapes import PEER_SHAPES, QUICK_SHAPES, TINY_SHAPES
from .._suite import Suite as Suite
from ._deepbench import DeepBench as DeepBench
from ._precision import InPrecisions as InPrecisions
from ._ragged import Ragged as Ragged
from ._scaling import Scaling as Scaling
from ._sequences import Sequences as Sequences
from ._streaming import Streaming as Streaming

_ALL: tuple[Suite, ...] = (
    Sequences(
        name="tiny",
        help="one tiny shape, to try the machinery out",
        cells=("lstm", "gru"),
        shapes=TINY_SHAPES,
        seconds=0.02,
    ),
    Sequences(
        name="quick",
        help="three shapes, under a minute",
        cells=("lstm", "gru"),
        shapes=QUICK_SHAPES,
        seconds=1.0,
    ),
    Sequences(
        name="peers",
        help="twelve shapes, several minutes",
        cells=("lstm", "gru", "rnn_tanh"),
        shapes=PEER_SHAPES,
        seconds=4.0,
    ),
    DeepBench(),
    Streaming(),
    Ragged(),
    InPrecisions(),
    Scaling(),
)

SUITES = {suite.name: suite for suite in _ALL}
