"""Layers: named parameters with a forward pass, a `vjp` and, for recurrent ones, a stream.

Every layer is called for inference, `y = layer(x)`, and differentiated without a tape:
`y, pullback = layer.vjp(x)`, then `dx = pullback(dy)`, which adds to `layer.grads`.
"""

from ._adaptive_head import AdaptiveSoftmaxHead as AdaptiveSoftmaxHead
from ._adaptive_head import frequency_cutoffs as frequency_cutoffs
from ._attention import Attention as Attention
from ._attention import Score as Score
from ._attention_steps import AttentionReader as AttentionReader
from ._attention_steps import AttentionSteps as AttentionSteps
from ._attention_steps import Projection as Projection
from ._base import Layer as Layer
from ._batch_norm import BatchNorm2d as BatchNorm2d
from ._conv2d import Conv2d as Conv2d
from ._dropout import Dropout as Dropout
from ._embedding import Embedding as Embedding
from ._flat import FlatBuffer as FlatBuffer
from ._gru import GRU as GRU
from ._initialisers import Initialiser as Initialiser
from ._initialisers import chrono as chrono
from ._initialisers import glorot_uniform as glorot_uniform
from ._initialisers import he_uniform as he_uniform
from ._initialisers import initialisers as initialisers
from ._initialisers import orthogonal as orthogonal
from ._initialisers import register_initialiser as register_initialiser
from ._linear import Linear as Linear
from ._listener import GradientListener as GradientListener
from ._lstm import LSTM as LSTM
from ._memory import LayerMemory as LayerMemory
from ._place import Place as Place
from ._pooling import AvgPool2d as AvgPool2d
from ._pooling import GlobalAvgPool2d as GlobalAvgPool2d
from ._pooling import MaxPool2d as MaxPool2d
from ._recurrent import Recurrent as Recurrent
from ._recurrent_steps import RecurrentSteps as RecurrentSteps
from ._reversed import Reversed as Reversed
from ._rnn import RNN as RNN
from ._sizes import Merge as Merge
from ._softmax_head import SoftmaxHead as SoftmaxHead
from ._specs import ParameterSpec as ParameterSpec
from ._state import as_state as as_state
from ._state import map_state as map_state
from ._state import state_arrays as state_arrays
from ._stream import Stream as Stream
