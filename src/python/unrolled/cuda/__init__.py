"""The recurrent layers of `unrolled.functional` on arrays in the memory of a CUDA device.

    import cupy, unrolled

    weights = unrolled.cuda.pack("lstm", weight_ih, weight_hh, bias_ih, bias_hh)
    y, (h, c), saved = unrolled.cuda.scan_vjp(weights, x)       # CuPy arrays, or torch tensors
    dx, dstates = unrolled.cuda.scan_backward(saved, dy, grads=grads)

`pack`, `scan`, `scan_vjp`, `scan_backward` and `Stream` have the arguments, the results and the
errors of `unrolled.functional`. Arrays are whatever lies on a CUDA device and gives DLPack capsules
or the CUDA array interface, float32; they are neither copied nor cast. Results come from the
library that x comes from, CuPy or torch, and from CuPy for all others. Everything is put on that
library's current stream and nothing waits for it.

Needs a build with `-Ccmake.define.UNROLLED_CUDA=ON`, a driver of CUDA 13, and cuBLAS out of
`pip install "unrolled[cuda]"`. Compiled and emulated, not yet run on a GPU.
"""

from ._arrays import empty as empty
from ._arrays import is_device_array as is_device_array
from ._arrays import to_device as to_device
from ._arrays import to_host as to_host
from ._arrays import zero as zero
from ._library import is_available as is_available
from ._scan import Path as Path
from ._scan import Precision as Precision
from ._scan import Saved as Saved
from ._scan import Weights as Weights
from ._scan import pack as pack
from ._scan import scan as scan
from ._scan import scan_backward as scan_backward
from ._scan import scan_vjp as scan_vjp
from ._stream import Stream as Stream
