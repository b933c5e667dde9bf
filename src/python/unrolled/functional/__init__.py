"""Functions on plain NumPy arrays: the kernels, with their arguments converted and outputs made.

No other package imports the compiled extension. Letters: T steps, B batch, I input, H hidden,
G gates, N rows, V vocabulary, E embedding size. Everything in one call has one dtype, float32 or
float64; large arrays are never cast or copied silently. A wrong argument raises ValueError (shape,
layout, range) or TypeError (dtype) that names the function, what was expected and what came.

Gradients follow one rule: gradients of inputs are returned, gradients of parameters are ADDED to
the arrays that the caller passes.
"""

from .._core import Weights as Weights
from ._attention import AttentionMemory as AttentionMemory
from ._attention import best_tokens as best_tokens
from ._cells import CellInfo as CellInfo
from ._cells import add_cell as add_cell
from ._cells import cell_info as cell_info
from ._cells import cells as cells
from ._cells import include_folder as include_folder
from ._cells import load_kernels as load_kernels
from ._conv import Activation as Activation
from ._conv import PackedConv2d as PackedConv2d
from ._conv import check_activation as check_activation
from ._conv import conv2d as conv2d
from ._conv import conv2d_backward as conv2d_backward
from ._ctc import ctc_align as ctc_align
from ._ctc import ctc_align_words as ctc_align_words
from ._ctc import ctc_loss as ctc_loss
from ._ctc import ctc_loss_vjp as ctc_loss_vjp
from ._ctc_beam import CtcBeam as CtcBeam
from ._ctc_beam import CtcPrefix as CtcPrefix
from ._embedding import Lookup as Lookup
from ._embedding import embedding as embedding
from ._embedding import embedding_backward as embedding_backward
from ._gates import NO_CHOICE as NO_CHOICE
from ._gates import GateFunction as GateFunction
from ._gates import Gates as Gates
from ._gates import gate_functions as gate_functions
from ._head import PackedLinear as PackedLinear
from ._head import dropout as dropout
from ._head import linear as linear
from ._head import linear_backward as linear_backward
from ._head import linear_cross_entropy as linear_cross_entropy
from ._head import linear_cross_entropy_vjp as linear_cross_entropy_vjp
from ._head import log_softmax as log_softmax
from ._head import sample as sample
from ._memory import Recompute as Recompute
from ._memory import ScanMemory as ScanMemory
from ._memory import recompute_code as recompute_code
from ._memory import scan_memory as scan_memory
from ._norm import moments as moments
from ._norm import normalise as normalise
from ._norm import normalise_backward as normalise_backward
from ._optimizer import adam_step as adam_step
from ._optimizer import average_step as average_step
from ._optimizer import global_norm as global_norm
from ._optimizer import rmsprop_step as rmsprop_step
from ._optimizer import sgd_step as sgd_step
from ._optimizer import zero as zero
from ._pool import max_pool as max_pool
from ._pool import max_pool_backward as max_pool_backward
from ._precision import Precision as Precision
from ._precision import check_precision as check_precision
from ._scan import Saved as Saved
from ._scan import pack as pack
from ._scan import scan as scan
from ._scan import scan_backward as scan_backward
from ._scan import scan_vjp as scan_vjp
from ._scan_arguments import PARAMETERS as PARAMETERS
from ._scan_arguments import GradientClip as GradientClip
from ._scan_arguments import clip_limits as clip_limits
from ._stream import Stream as Stream
from ._system import _force_isa as _force_isa
from ._system import available_isas as available_isas
from ._system import get_num_threads as get_num_threads
from ._system import isa as isa
from ._system import measure_bandwidth as measure_bandwidth
from ._system import measure_fma_peak as measure_fma_peak
from ._system import set_num_threads as set_num_threads
from ._system import trim_memory as trim_memory
from ._types import Array as Array
from ._types import States as States
from ._types import empty as empty
from ._windows import Windows as Windows
from ._xla import XlaSizes as XlaSizes
from ._xla import xla_handlers as xla_handlers
from ._xla import xla_sizes as xla_sizes

isa()  # an UNROLLED_ISA that cannot be had fails the import, not some later call
