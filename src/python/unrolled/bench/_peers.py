"""The contenders of each kind of layer problem: ours first, then the peers.

A peer is imported only when it is measured; nothing of them is needed to use the library.
"""

from __future__ import annotations

from typing import Any

from ._contender import Contender
from ._jax import Jax, JaxStep
from ._onnxruntime import OnnxRuntime, OnnxRuntimeBound, OnnxRuntimeStep
from ._ours import Ours, OursBf16, OursInt8, OursPadded, OursStep
from ._torch import Torch, TorchBf16, TorchPacked, TorchPadded, TorchSorted, TorchStep

Contenders = tuple[type[Contender[Any]], ...]

PEERS: Contenders = (Torch, OnnxRuntime, Jax)
"""The peers on whole sequences."""

ON_SEQUENCES: Contenders = (Ours, *PEERS)
ON_STEPS: Contenders = (OursStep, OnnxRuntimeStep, OnnxRuntimeBound, TorchStep, JaxStep)
ON_RAGGED_BATCHES: Contenders = (Ours, OursPadded, TorchPacked, TorchSorted, TorchPadded)
IN_PRECISIONS: Contenders = (Ours, OursBf16, OursInt8, Torch, TorchBf16)
