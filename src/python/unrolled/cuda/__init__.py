"""The functions of `unrolled.functional` that run on a CUDA device.

    import cupy, unrolled

    weights = unrolled.cuda.pack("lstm", weight_ih, weight_hh, bias_ih, bias_hh)
    y, (h, c), saved = unrolled.cuda.scan_vjp(weights, x)       # CuPy arrays, or torch tensors
    dx, dstates = unrolled.cuda.scan_backward(saved, dy, grads=grads)

Functions have the arguments, the results and the errors of those of the same names there. Arrays
are whatever lies on a CUDA device and gives DLPack capsules or the CUDA array interface, float32;
they are neither copied nor cast. Indices and targets are integers on the host. Results come from
the library that x comes from, CuPy or torch, and from CuPy for all others. Everything is put on
that library's current stream and nothing waits for it, unless it says so.

Needs a build with `-Ccmake.define.UNROLLED_CUDA=ON`, a driver of CUDA 13, and cuBLAS out of
`pip install "unrolled[cuda]"`. Compiled and emulated, not yet run on a GPU.
"""

from ._arrays import empty as empty
from ._arrays import is_device_array as is_device_array
from ._arrays import to_device as to_device
from ._arrays import to_host as to_host
from ._arrays import zero as zero
from ._attention import AttentionMemory as AttentionMemory
from ._conv import PackedConv2d as PackedConv2d
from ._conv import conv2d as conv2d
from ._conv import conv2d_backward as conv2d_backward
from ._ctc import ctc_loss as ctc_loss
from ._ctc import ctc_loss_vjp as ctc_loss_vjp
from ._embedding import embedding as embedding
from ._embedding import embedding_backward as embedding_backward
from ._head import dropout as dropout
from ._head import linear as linear
from ._head import linear_backward as linear_backward
from ._head import linear_cross_entropy as linear_cross_entropy
from ._head import linear_cross_entropy_vjp as linear_cross_entropy_vjp
from ._library import is_available as is_available
from ._library import require as require
from ._norm import moments as moments
from ._norm import normalise as normalise
from ._norm import normalise_backward as normalise_backward
from ._optimizer import adam_step as adam_step
from ._optimizer import average_step as average_step
from ._optimizer import global_norm as global_norm
from ._optimizer import rmsprop_step as rmsprop_step
from ._optimizer import sgd_step as sgd_step
from ._pool import max_pool as max_pool
from ._pool import max_pool_backward as max_pool_backward
from ._scan import Path as Path
from ._scan import Precision as Precision
from ._scan import Saved as Saved
from ._scan import Weights as Weights
from ._scan import pack as pack
from ._scan import scan as scan
from ._stream import Stream as Stream
from ._sums import DeviceSums as DeviceSums
from ._sums import use_device as use_device
from ._vjp import WindowedSaved as WindowedSaved
from ._vjp import scan_backward as scan_backward
from ._vjp import scan_vjp as scan_vjp
