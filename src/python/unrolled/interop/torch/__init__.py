"""Drop-ins for torch's recurrent layers and cells, on the kernels of this package.

    from unrolled.interop import torch as fast

    model = Tagger()                                 # any torch.nn.Module
    fast.replace(model)                              # its LSTM, GRU, RNN and cells, in place
    layer = fast.LSTM(16, 32, num_layers=2)          # or one by one; everything as torch.nn.LSTM

The classes are subclasses of torch's: constructors, parameters, `state_dict` keys, error texts and
what they accept are torch's. Activations are not copied: the kernels read and write the tensors'
memory. (The tokens of a `PackedSequence` whose rows differ in length are put into a padded array
and back; the layer's cost is that of the tokens.)

**What runs in the kernels**: dense float32 and float64 tensors on the CPU, padded or packed, with
or without autograd. A model under `torch.compile` runs its layers in them as well, between its
graphs, as it runs torch's. A symbolic trace (`torch.fx`) has a node for each of them. Layers of
float32 under `torch.autocast("cpu", dtype=torch.bfloat16)` multiply in bfloat16, hold states and
sums in float32, and give results of the dtype that torch's have.

**What torch's own implementation runs**, with the same results: other devices and dtypes, a
projection or a cell under autocast, input without elements, tensor subclasses, `torch.func`
transforms, forward-mode differentiation, `torch.jit.trace`, exporting, cells inside of
`torch.compile` (and layers with `torch._dynamo.config.allow_rnn`), and everything that torch
refuses, so that errors are torch's. `torch.jit.script` and torch's quantisation, which look at
classes, want `restore` before. For gradients of gradients (`create_graph=True`) and many gradients
at once (`is_grads_batched=True`, `jacobian` with `vectorize=True`) the backward pass runs a layer
once more in torch. Dropout between layers is torch's, with the same masks for the same seed.

**What is done around modules** works as with torch's, and has a test: `state_dict` hooks, loading
with `strict=False` and `assign=True`, `functional_call`, weight norm and other parametrizations,
pruning, frozen parameters, forward and backward hooks, checkpointing, hooks of saved tensors,
replicas of data parallelism, copies, pickles, casts there and back. Unlike torch's LSTM a layer
allows its output to be overwritten before the backward pass, which does not read it.

**Packed weights** are kept from call to call, which takes the memory of the weights once more
(twice for training), and made anew when a parameter has changed. After writing single elements
through `tensor.data` or NumPy, which torch does not count, call `layer.flatten_parameters()`.

**Threads**: a call takes `torch.get_num_threads()` and passes it on to `unrolled.set_num_threads`.

Needs the extra [torch].
"""

from ._cells import GRUCell as GRUCell
from ._cells import LSTMCell as LSTMCell
from ._cells import RNNCell as RNNCell
from ._layers import GRU as GRU
from ._layers import LSTM as LSTM
from ._layers import RNN as RNN
from ._replace import replace as replace
from ._replace import restore as restore
