"""Measuring this library beside its peers: what `unrolled bench` runs.

    from unrolled import bench

    report = bench.run("quick")
    print(report.text())

Every case runs ours and each installed peer (torch, onnxruntime, jax) in turns in one process with
the same number of threads, checks once that all results agree, and compares the medians with a
roofline that is measured in the same run. See `_timing`, `_roofline` and `_peers` for how, and
`suites` for what.
"""

from __future__ import annotations

from ._case import Case as Case
from ._contender import Contender as Contender
from ._contender import UnavailableError as UnavailableError
from ._layer_problem import LayerProblem as LayerProblem
from ._machine import ForeignLoad as ForeignLoad
from ._machine import Machine as Machine
from ._machine import describe_machine as describe_machine
from ._ours import Ours as Ours
from ._peers import IN_PRECISIONS as IN_PRECISIONS
from ._peers import ON_RAGGED_BATCHES as ON_RAGGED_BATCHES
from ._peers import ON_SEQUENCES as ON_SEQUENCES
from ._peers import ON_STEPS as ON_STEPS
from ._peers import PEERS as PEERS
from ._problem import FORWARD as FORWARD
from ._problem import MODES as MODES
from ._problem import STEP as STEP
from ._problem import TEXT as TEXT
from ._problem import TRAINING as TRAINING
from ._problem import Problem as Problem
from ._problem import check as check
from ._report import Report as Report
from ._report import foreign_load as foreign_load
from ._report import write_section as write_section
from ._roofline import Level as Level
from ._roofline import Read as Read
from ._roofline import Roofline as Roofline
from ._roofline import Work as Work
from ._roofline import layer_work as layer_work
from ._roofline import measure_roofline as measure_roofline
from ._run import Progress as Progress
from ._run import run as run
from ._shapes import CHAR_LM_SHAPE as CHAR_LM_SHAPE
from ._shapes import DEEPBENCH as DEEPBENCH
from ._shapes import PEER_SHAPES as PEER_SHAPES
from ._shapes import QUICK_SHAPES as QUICK_SHAPES
from ._shapes import TINY_SHAPES as TINY_SHAPES
from ._shapes import DeepBenchRow as DeepBenchRow
from ._shapes import Shape as Shape
from ._suite import Condition as Condition
from ._suite import Suite as Suite
from ._suite import Trial as Trial
from ._table import geometric_mean as geometric_mean
from ._text import OursText as OursText
from ._text import TextProblem as TextProblem
from ._text import TorchText as TorchText
from ._timing import Timing as Timing
from ._timing import measure as measure
from ._timing import wait_until_quiet as wait_until_quiet
from .suites import SUITES as SUITES
