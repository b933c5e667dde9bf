"""unrolled: fast recurrent neural networks on the CPU, for training and for inference.

    import numpy as np, unrolled

    lstm = unrolled.LSTM(16, 32, rng=np.random.default_rng(0))
    y, (h, c) = lstm(x)                      # x (T, B, 16) -> y (T, B, 32)
    (y, _), pullback = lstm.vjp(x)           # and for training
    dx, _ = pullback(dy)                     # adds to lstm.grads

Parts: `layers` and `models` (the names below), `training` and `tasks` on top of them,
`functional` (the kernels on plain arrays), `cuda` (the scan on a CUDA device), `reference` (what
they compute, in float64 NumPy).
"""

from importlib.metadata import version as _version

from . import cells as cells
from . import cuda as cuda
from . import functional as functional
from . import layers as layers
from . import models as models
from . import reference as reference
from .cells import cell as cell
from .functional import get_num_threads as get_num_threads
from .functional import isa as isa
from .functional import set_num_threads as set_num_threads
from .layers import GRU as GRU
from .layers import LSTM as LSTM
from .layers import RNN as RNN
from .layers import Dropout as Dropout
from .layers import Embedding as Embedding
from .layers import Layer as Layer
from .layers import Linear as Linear
from .layers import Recurrent as Recurrent
from .layers import SoftmaxHead as SoftmaxHead
from .layers import Stream as Stream
from .models import LanguageModel as LanguageModel

__version__ = _version("unrolled")
