"""Types of the extension for CUDA. Private: `unrolled.cuda` is its only importer.

There only in a build with UNROLLED_CUDA=ON. A stream is a cudaStream_t as a number; nothing waits
for one unless it says so. Arrays named `y`, `dx`, `final`, `dinitial`, `scratch` are written, in
`forward` also `others`, `states` and `saved`; `dweight*` and `dbias*` are added to.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def load_cublas(candidates: Sequence[str]) -> str: ...
def device_count() -> int: ...
def load_cell(path: str) -> None: ...

class Array:
    def __init__(self, where: str, name: str, array: object, stream: int) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...  # in elements
    @property
    def dtype(self) -> str: ...
    @property
    def address(self) -> int: ...
    @property
    def writable(self) -> bool: ...
    @property
    def device(self) -> int: ...  # -1: only the address would tell

class Weights:
    def __init__(
        self,
        cell: str,
        weight_ih: Array,  # (G*H, I)
        weight_hh: Array | None,  # (G*H, H)
        bias_ih: Array | None,  # (G*H,)
        bias_hh: Array | None,  # (G*H,)
        weight_unit: Array | None,  # (P*H,)
        weight_hr: Array | None,  # (R, H)
        precision: str,
        path: str,
        functions: Sequence[tuple[str, float, float]],
        gate_clip: float,  # inf: none
        coupled: bool,
    ) -> None: ...
    @property
    def cell(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def state_sizes(self) -> tuple[int, ...]: ...

class Plan:
    def __init__(
        self,
        cell: str,
        steps: int,
        batch: int,
        lengths: NDArray[np.int64] | None,  # (B,)
        resets: NDArray[np.bool_] | None,  # (T, B)
        reverse: bool,
    ) -> None: ...
    @property
    def nbytes(self) -> int: ...
    def upload(self, memory: Array, stream: int, wait: bool) -> None: ...

def sizes(
    weights: Weights, plan: Plan, training: bool, factors: bool
) -> tuple[list[int], int, int, int]: ...
def forward(
    weights: Weights,
    plan: Plan,
    x: Array,  # (T, B, I)
    y: Array,  # (T, B, H)
    others: Sequence[Array],  # (T, B, H) each, of the states but the first; may be empty
    updates: Sequence[Array],  # (T, B, H) each; may be empty
    cell_clip: float,  # inf: none
    factors: Array | None,  # (B, H)
    initial: Sequence[Array],  # (B, H) each; empty: zeros
    final: Sequence[Array],  # (B, H) each
    states: Sequence[Array],
    saved: Array | None,
    scratch: Array,
    stream: int,
) -> None: ...
def backward(
    weights: Weights,
    plan: Plan,
    x: Array,  # (T, B, I)
    dy: Array | None,  # (T, B, H)
    dx: Array | None,  # (T, B, I)
    accumulate_dx: bool,
    dothers: Sequence[Array],  # (T, B, H) each, of the states but the first; may be empty
    updates: Sequence[Array],  # (T, B, H) each; may be empty
    cell_clip: float,  # inf: none
    factors: Array | None,  # (B, H)
    clip_value: float,  # inf: none
    clip_norm: float,  # inf: none
    dfinal: Sequence[Array],  # (B, H) each; empty: zeros
    dinitial: Sequence[Array],  # (B, H) each
    states: Sequence[Array],
    saved: Array,
    dweight_ih: Array,  # (G*H, I)
    dweight_hh: Array | None,  # (G*H, H)
    dbias_ih: Array | None,  # (G*H,)
    dbias_hh: Array | None,  # (G*H,)
    dweight_unit: Array | None,  # (P*H,)
    dweight_hr: Array | None,  # (R, H)
    scratch: Array,
    stream: int,
) -> None: ...
def linear(
    x: Array,  # (..., I)
    weight: Array,  # (O, I)
    bias: Array | None,  # (O,)
    y: Array,  # (..., O)
    stream: int,
) -> None: ...
def linear_backward(
    x: Array,  # (..., I)
    weight: Array,  # (O, I)
    dy: Array,  # (..., O)
    dx: Array | None,  # (..., I)
    dweight: Array,  # (O, I)
    dbias: Array | None,  # (O,)
    stream: int,
) -> None: ...
def cross_entropy_scratch(x: Array, weight: Array, gradients: bool, precision: str) -> int: ...
def cross_entropy(
    x: Array,  # (N, H)
    weight: Array,  # (V, H)
    bias: Array | None,  # (V,)
    targets: NDArray[np.int64],  # (N,)
    losses: Array,  # (N,)
    scale: float,
    smoothing: float,
    dx: Array | None,  # (N, H)
    dweight: Array | None,  # (V, H)
    dbias: Array | None,  # (V,)
    memory: Array,  # (N,) int64
    scratch: Array,
    precision: str,
    stream: int,
) -> None: ...
def embedding(
    indices: NDArray[np.int64],  # (N,)
    weight: Array,  # (V, E)
    out: Array,  # (N, E)
    memory: Array,  # (N,) int64
    stream: int,
) -> None: ...
def embedding_backward(
    indices: NDArray[np.int64],  # (N,)
    dy: Array,  # (..., E)
    dweight: Array,  # (V, E)
    memory: Array,  # (3 * N + 1,) int64
    stream: int,
) -> None: ...
def dropout(x: Array, out: Array, p: float, seed: int, offset: int, stream: int) -> None: ...
def adam_step(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
    grad_scale: float,
    clip_value: float,
    stream: int,
) -> None: ...
def sgd_step(
    params: Array,
    grads: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    grad_scale: float,
    clip_value: float,
    stream: int,
) -> None: ...
def rmsprop_step(
    params: Array,
    grads: Array,
    square: Array,
    mean: Array | None,
    velocity: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
    grad_scale: float,
    clip_value: float,
    stream: int,
) -> None: ...
def average_step(params: Array, average: Array, weight: float, stream: int) -> None: ...
def square_sum_count(flat: Array) -> int: ...
def square_sums(flat: Array, sums: Array, stream: int) -> None: ...  # sums: float64
def ctc_scratch(frames: int, batch: int, labels: int, gradients: bool) -> int: ...
def ctc(
    logits: Array,  # (T, B, V)
    labels: NDArray[np.int64],  # (B, S)
    input_lengths: NDArray[np.int64],  # (B,)
    label_lengths: NDArray[np.int64],  # (B,)
    blank: int,
    losses: Array,  # (B,)
    dlogits: Array | None,  # (T, B, V)
    memory: Array,  # (2 * B + 3 * B * S,) int64
    scratch: Array,
    stream: int,
) -> None: ...
def attend(
    keys: Array,  # (S, B, K)
    values: Array,  # (S, B, M)
    vector: Array | None,  # (K,)
    places: NDArray[np.int64],  # (B,)
    queries: Array,  # (T, N, K)
    lengths: NDArray[np.int64],  # (N,)
    sources: NDArray[np.int64],  # (N,)
    contexts: Array,  # (T, N, M)
    weights: Array,  # (T, N, S)
    memory: Array,  # (B + 2 * N,) int64
    stream: int,
) -> None: ...
def attention_scratch(keys: Array, values: Array, vector: Array | None, of_memory: bool) -> int: ...
def attention_backward(
    keys: Array,
    values: Array,
    vector: Array | None,
    places: NDArray[np.int64],
    queries: Array,  # (T, B, K)
    weights: Array,  # (T, B, S)
    dcontexts: Array,  # (T, B, M)
    lengths: NDArray[np.int64],  # (B,)
    dscores: Array,  # (T, B, S), written unless
    scored: bool,
    dqueries: Array | None,  # (T, B, K)
    dkeys: Array | None,  # (S, B, K)
    dvalues: Array | None,  # (S, B, M)
    dvector: Array | None,  # (K,), added to
    memory: Array,  # (2 * B,) int64
    scratch: Array,
    stream: int,
) -> None: ...
def conv2d_scratch(
    x: Array,
    weight: Array,
    steps: tuple[int, int, int, int],
    groups: int,
    activation: str,
    places: tuple[int, int],
    backward: bool,
) -> int: ...
def conv2d(
    x: Array,  # (N, H, W, C)
    weight: Array,  # (O, C / groups, h, w)
    bias: Array | None,  # (O,)
    residual: Array | None,  # (N, H', W', O)
    y: Array,  # (N, H', W', O)
    steps: tuple[int, int, int, int],
    groups: int,
    activation: str,
    scratch: Array,
    stream: int,
) -> None: ...
def conv2d_backward(
    x: Array,
    weight: Array,
    y: Array,
    dy: Array,
    dx: Array | None,
    dweight: Array,  # added to
    dbias: Array | None,  # added to
    steps: tuple[int, int, int, int],
    groups: int,
    activation: str,
    scratch: Array,
    stream: int,
) -> None: ...
def max_pool(
    x: Array, y: Array, kernel: tuple[int, int], steps: tuple[int, int, int, int], stream: int
) -> None: ...
def max_pool_backward(
    x: Array,
    y: Array,
    dy: Array,
    dx: Array,
    kernel: tuple[int, int],
    steps: tuple[int, int, int, int],
    stream: int,
) -> None: ...
def moments(x: Array, mean: Array, variance: Array, stream: int) -> None: ...
def normalise(
    x: Array,  # (..., C)
    mean: Array,  # (C,)
    variance: Array,
    weight: Array,
    bias: Array,
    y: Array,  # (..., C)
    eps: float,
    activation: str,
    stream: int,
) -> None: ...
def normalise_backward(
    x: Array,
    mean: Array,
    variance: Array,
    weight: Array,
    y: Array,
    dy: Array,
    dweight: Array,  # added to
    dbias: Array,  # added to
    dx: Array | None,
    sums: Array,  # (2 * C,)
    eps: float,
    activation: str,
    of_batch: bool,
    stream: int,
) -> None: ...
