"""The named shapes; they live in the package, where `unrolled bench` needs them too."""

from unrolled.bench import CHAR_LM_SHAPE as CHAR_LM_SHAPE
from unrolled.bench import DEEPBENCH as DEEPBENCH
from unrolled.bench import PEER_SHAPES as PEER_SHAPES
from unrolled.bench import QUICK_SHAPES as QUICK_SHAPES
from unrolled.bench import DeepBenchRow as DeepBenchRow
from unrolled.bench import Shape as Shape
