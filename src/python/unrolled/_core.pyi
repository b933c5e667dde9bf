"""Types of the compiled extension. Private: `unrolled.functional` is its only importer.

Nothing is cast or copied here: dtypes and layouts must be right. Arrays named `y`, `out`, `dx`,
`final`, `dinitial`, `losses` are written; `dweight*`, `dbias*` are added to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]  # float32 or float64, the same in all arguments of a call

_Steps = tuple[int, int, int, int]  # down, right, top, left

class CellInfo:
    @property
    def name(self) -> str: ...
    @property
    def gates(self) -> tuple[str, ...]: ...
    @property
    def states(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def recurrent(self) -> bool: ...
    @property
    def projects(self) -> bool: ...
    @property
    def normalises(self) -> bool: ...
    @property
    def functions(self) -> tuple[str, ...]: ...
    @property
    def clips(self) -> bool: ...
    @property
    def precisions(self) -> tuple[str, ...]: ...

class Weights:
    @property
    def cell(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def state_count(self) -> int: ...
    @property
    def state_sizes(self) -> tuple[int, ...]: ...
    @property
    def isa(self) -> str: ...
    @property
    def nbytes(self) -> int: ...

class Saved:
    @property
    def nbytes(self) -> int: ...

class Stream:
    def __init__(
        self,
        weights: Sequence[Weights],  # one a layer
        states: Sequence[Sequence[_Array]],  # (B, H) each; every step reads and writes them
        updates: Sequence[float],  # empty, or one a state
        cell_clip: float,  # inf: none
    ) -> None: ...
    def step(
        self,
        x: _Array,  # (B, I)
        y: _Array,  # (B, H)
    ) -> None: ...

class PackedLinear:
    def __init__(
        self,
        weight: _Array,  # (O, I)
        bias: _Array | None,  # (O,)
    ) -> None: ...
    def apply(
        self,
        x: _Array,  # (N, I)
        y: _Array,  # (N, O)
    ) -> None: ...

class PackedConv:
    def __init__(
        self,
        weight: _Array,  # (O, C / groups, h, w)
        bias: _Array | None,  # (O,)
        groups: int,
    ) -> None: ...
    def apply(
        self,
        x: _Array,  # (N, H, W, C)
        residual: _Array | None,  # (N, H', W', O)
        y: _Array,  # (N, H', W', O)
        windows: _Steps,
        activation: str,
    ) -> None: ...

class AttentionMemory:
    def __init__(
        self,
        keys: _Array,  # (S, B, K)
        values: _Array,  # (S, B, M)
        vector: _Array | None,  # (K,), additive scores; None: dot products
        lengths: NDArray[np.int64],  # (B,)
        backward: bool,
    ) -> None: ...
    def attend(
        self,
        queries: _Array,  # (T, N, K)
        sources: NDArray[np.int64],  # (N,)
        lengths: NDArray[np.int64],  # (N,)
        contexts: _Array,  # (T, N, M)
        weights: _Array,  # (T, N, S)
    ) -> None: ...
    def pull(
        self,
        queries: _Array,  # (T, B, K)
        lengths: NDArray[np.int64],  # (B,)
        weights: _Array,  # (T, B, S)
        dcontexts: _Array,  # (T, B, M)
        dscores: _Array,  # (T, B, S), written, or with `scored` read
        scored: bool,
        dqueries: _Array | None,  # (T, B, K)
        dkeys: _Array | None,  # (S, B, K)
        dvalues: _Array | None,  # (S, B, M)
        dvector: _Array | None,  # (K,), added to
    ) -> None: ...

class CtcBeam:
    def __init__(self, symbols: int, blank: int, width: int, candidates: int) -> None: ...
    def step(
        self,
        logits: _Array,  # (T, V)
        extension: NDArray[np.float64] | None,  # (K, V) for K prefixes, with T = 1
    ) -> None: ...
    def prefixes(self) -> list[tuple[int, int, int, float, float]]: ...
    def spell(self, id: int) -> list[int]: ...

STORE_ALL: int
STORE_STATES: int

def cells() -> list[CellInfo]: ...
def load_cell(path: str) -> None: ...
def isa() -> str: ...
def available_isas() -> list[str]: ...
def force_isa(name: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def trim_memory() -> int: ...
def empty_bytes(nbytes: int) -> NDArray[np.uint8]: ...
def apply_math(function: str, x: _Array, y: _Array) -> None: ...
def measure_fma_peak(double_precision: bool) -> float: ...
def measure_bandwidth(nbytes: int) -> float: ...
def pack(
    cell: str,
    weight_ih: _Array,  # (G*H, I)
    weight_hh: _Array | None,  # (G*H, H)
    bias_ih: _Array | None,  # (G*H,)
    bias_hh: _Array | None,  # (G*H,)
    weight_unit: _Array | None,  # (P*H,)
    weight_hr: _Array | None,  # (R, H)
    precision: str,  # "full", "bf16", "int8"
    backward: bool,
    functions: Sequence[tuple[str, float, float]],  # name, alpha, beta; empty: by default
    gate_clip: float,  # inf: none
    coupled: bool,
) -> Weights: ...
def forward(
    weights: Weights,
    x: _Array,  # (T, B, I), or (V, I) with tokens
    tokens: NDArray[np.int64] | None,  # (T, B): rows of x
    y: _Array,  # (T, B, H)
    initial: Sequence[_Array],  # empty (zeros) or one (B, H) a state
    final: Sequence[_Array],  # one (B, H) a state
    others: Sequence[_Array],  # empty or one (T, B, H) a state but the first
    updates: Sequence[_Array],  # empty or one (T, B, H) a state
    lengths: NDArray[np.int64] | None,  # (B,)
    resets: NDArray[np.bool_] | None,  # (T, B)
    reverse: bool,
    cell_clip: float,  # inf: none
    factors: _Array | None,  # (B, H), of h in the recurrent product
    save: bool,
    recompute: int,  # STORE_ALL, STORE_STATES or a number of steps
) -> Saved | None: ...
def memory(
    cell: str,
    input_size: int,
    hidden_size: int,
    output_size: int,
    steps: int,
    batch: int,
    lengths: NDArray[np.int64] | None,  # (B,)
    reverse: bool,
    recompute: int,
    precision: str,
    double_precision: bool,
    factors: bool,  # whether `forward` has them
    clips_norm: bool,  # whether `backward` clips the norm
) -> list[int]: ...  # bytes of packed weights, saved, scratch forward, scratch backward
def backward(
    saved: Saved,
    dy: _Array | None,  # (T, B, H)
    dothers: Sequence[_Array],  # empty (zeros) or one (T, B, H) a state but the first
    dfinal: Sequence[_Array],  # empty (zeros) or one (B, H) a state
    dinitial: Sequence[_Array],  # one (B, H) a state
    dx: _Array | None,  # (T, B, I), or (V, I) with tokens
    accumulate_dx: bool,
    dweight_ih: _Array,
    dweight_hh: _Array | None,
    dbias_ih: _Array | None,
    dbias_hh: _Array | None,
    dweight_unit: _Array | None,
    dweight_hr: _Array | None,
    clip_value: float,  # of the gradient of h from a step to the one before; inf: none
    clip_norm: float,  # of each of its rows
) -> None: ...
def linear(x: _Array, weight: _Array, bias: _Array | None, y: _Array) -> None: ...
def linear_backward(
    x: _Array,  # (N, I)
    weight: _Array,  # (O, I)
    dy: _Array,  # (N, O)
    dx: _Array | None,
    dweight: _Array,
    dbias: _Array | None,
) -> None: ...
def conv2d(
    x: _Array,  # (N, H, W, C)
    weight: _Array,  # (O, C / groups, h, w)
    bias: _Array | None,  # (O,)
    y: _Array,  # (N, H', W', O)
    windows: _Steps,
    groups: int,
    activation: str,  # "none", "relu", "relu6"
) -> None: ...
def conv2d_backward(
    x: _Array,
    weight: _Array,
    y: _Array,  # read: what an activation cut off
    dy: _Array,
    dx: _Array | None,
    dweight: _Array,
    dbias: _Array | None,
    windows: _Steps,
    groups: int,
    activation: str,
) -> None: ...
def max_pool(
    x: _Array,  # (N, H, W, C)
    y: _Array,  # (N, H', W', C)
    kernel: tuple[int, int],
    windows: _Steps,
) -> None: ...
def max_pool_backward(
    x: _Array, y: _Array, dy: _Array, dx: _Array, kernel: tuple[int, int], windows: _Steps
) -> None: ...
def moments(
    x: _Array,  # (N, C)
    mean: _Array,  # (C,), written
    variance: _Array,  # (C,), written
) -> None: ...
def normalise(
    x: _Array,  # (N, C)
    mean: _Array,  # (C,)
    scale: _Array,  # (C,)
    bias: _Array,  # (C,)
    y: _Array,  # (N, C)
    activation: str,
) -> None: ...
def normalise_backward(
    x: _Array,  # (N, C)
    mean: _Array,  # (C,)
    scale: _Array,  # (C,)
    inverse: _Array,  # (C,)
    y: _Array,  # (N, C), read
    dy: _Array,  # (N, C)
    dweight: _Array,  # (C,)
    dbias: _Array,  # (C,)
    dx: _Array | None,  # (N, C)
    activation: str,
    of_batch: bool,
) -> None: ...
def cross_entropy(
    x: _Array,  # (N, H)
    weight: _Array,  # (V, H)
    bias: _Array | None,  # (V,)
    targets: NDArray[np.int64],  # (N,), negative: ignored
    losses: _Array,  # (N,)
    scale: float,
    smoothing: float,
    dx: _Array | None,  # None: losses only
    dweight: _Array | None,
    dbias: _Array | None,
    precision: str,
) -> None: ...
def best_tokens(
    logits: _Array,  # (N, V)
    banned: NDArray[np.int64],  # (P, 2): rows and tokens, sorted by row
    tokens: NDArray[np.int64],  # (N, k)
    scores: NDArray[np.float64],  # (N, k)
) -> None: ...
def ctc(
    logits: _Array,  # (T, B, V)
    labels: NDArray[np.int64],  # (B, S)
    input_lengths: NDArray[np.int64],  # (B,)
    label_lengths: NDArray[np.int64],  # (B,)
    blank: int,
    losses: _Array,  # (B,)
    dlogits: _Array | None,  # (T, B, V)
) -> None: ...
def ctc_align(
    logits: _Array,  # (T, B, V)
    labels: NDArray[np.int64],  # (B, S)
    input_lengths: NDArray[np.int64],  # (B,)
    label_lengths: NDArray[np.int64],  # (B,)
    blank: int,
    path: NDArray[np.int64],  # (T, B)
    scores: NDArray[np.float64],  # (B,)
) -> None: ...
def ctc_align_words(
    logits: _Array,  # (T, 1, V)
    labels: NDArray[np.int64],  # (1, S)
    input_lengths: NDArray[np.int64],  # (1,)
    label_lengths: NDArray[np.int64],  # (1,)
    blank: int,
    lengths: NDArray[np.int64],  # (A,)
    alternatives: NDArray[np.int64],  # (W,)
    path: NDArray[np.int64],  # (T,)
) -> float: ...
def embedding(indices: NDArray[np.int64], weight: _Array, out: _Array) -> None: ...
def embedding_backward(indices: NDArray[np.int64], dy: _Array, dweight: _Array) -> None: ...
def dropout(x: _Array, out: _Array, p: float, seed: int, offset: int) -> None: ...
def sample(
    logits: _Array,  # (B, V)
    u: NDArray[np.float64],  # (B,)
    temperature: float,
    top_k: int,
    top_p: float,
    out: NDArray[np.int64],  # (B,)
) -> None: ...
def adam_step(
    params: _Array,
    grads: _Array,
    m: _Array,
    v: _Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    grad_scale: float,
    clip_value: float,
) -> None: ...
def sgd_step(
    params: _Array,
    grads: _Array,
    velocity: _Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float,
    clip_value: float,
) -> None: ...
def rmsprop_step(
    params: _Array,
    grads: _Array,
    square: _Array,
    mean: _Array | None,
    velocity: _Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
    clip_value: float,
) -> None: ...
def average_step(params: _Array, average: _Array, weight: float) -> None: ...
def zero(flat: _Array) -> None: ...
def global_norm(flat: _Array) -> float: ...
def xla_handlers(major: int, minor: int) -> dict[str, object]: ...
def xla_sizes(
    cell: str,
    input_size: int,
    hidden_size: int,
    output_size: int,
    steps: int,
    batch: int,
    backward: bool,
    double_precision: bool,
) -> list[int]: ...  # bytes packed, bytes saved
