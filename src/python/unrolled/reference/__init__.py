"""The specification: every cell, its scan over time and the fused head operations in NumPy.

Everything is computed in float64 with plain loops. Nothing here is fast and nothing is clever: the
compiled kernels must agree with this file, and this file must agree with central differences.

Shapes: T steps, B batch, I input, H hidden, G gates, N rows, V vocabulary.
"""

from ._attention import attention_vjp as attention_vjp
from ._cells import Cell as Cell
from ._cells import sigmoid as sigmoid
from ._conv import batch_norm_vjp as batch_norm_vjp
from ._conv import conv2d_vjp as conv2d_vjp
from ._conv import max_pool_vjp as max_pool_vjp
from ._ctc import ctc_loss_vjp as ctc_loss_vjp
from ._function_cells import FUNCTIONS as FUNCTIONS
from ._head import linear_cross_entropy_vjp as linear_cross_entropy_vjp
from ._head import log_softmax as log_softmax
from ._head import sampling_probabilities as sampling_probabilities
from ._operands import OPERANDS as OPERANDS
from ._operands import round_bf16 as round_bf16
from ._operands import round_int8 as round_int8
from ._optimizers import adam_step as adam_step
from ._optimizers import rmsprop_step as rmsprop_step
from ._optimizers import sgd_step as sgd_step
from ._phased import PhasedCell as PhasedCell
from ._scan import CELLS as CELLS
from ._scan import scan as scan
from ._scan import scan_vjp as scan_vjp
