"""Initial values of parameters, by name: the registry behind every layer's `init=` argument."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ._specs import ParameterSpec
from ._types import Array, DType

Initialiser: TypeAlias = Callable[[ParameterSpec, np.random.Generator], Array]
Block: TypeAlias = Callable[[int, int, np.random.Generator], Array]


def glorot_uniform(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """U(-a, a) with a = sqrt(6 / (rows + columns)): keeps variances both ways.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.
    """
    bound = math.sqrt(6.0 / (rows + columns))
    return rng.uniform(-bound, bound, (rows, columns))


def he_uniform(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """U(-a, a) with a = sqrt(6 / columns): keeps variances through a relu.

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    bound = math.sqrt(6.0 / columns)
    return rng.uniform(-bound, bound, (rows, columns))


def orthogonal(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """A matrix with orthonormal rows or columns (the shorter side), uniform among them.

    Norms of states and of their gradients then neither grow nor fade over steps, but for the
    non-linearity. Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics
    of learning in deep linear neural networks", 2014; sign fix: Mezzadri, 2007.
    """
    gaussian = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(gaussian)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return q if rows >= columns else np.ascontiguousarray(q.T)


def identity(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """The identity: with relu, a state that keeps itself.

    Source: Le, Jaitly and Hinton, "A simple way to initialize recurrent networks of rectified
    linear units", 2015.
    """
    return np.eye(rows, columns)


def _scheme(input_block: Block, recurrent_block: Block) -> Initialiser:
    """Fills each gate's block of a matrix by itself; forget-gate bias 1, other biases 0.

    A forget gate that begins open lets gradients through from the first update on. Source: Gers,
    Schmidhuber and Cummins, "Learning to forget", 2000; Jozefowicz, Zaremba and Sutskever, 2015.
    """

    def initialise(spec: ParameterSpec, rng: np.random.Generator) -> Array:
        if spec.role == "embedding":
            return rng.standard_normal(spec.shape)
        rows = spec.shape[0] // len(spec.gates)
        if spec.role == "unit":
            return _of_units(spec, rng)
        if len(spec.shape) == 1:
            # The two biases of a gate are added, so one of them carries the whole 1.
            opened = {"f"} if spec.role == "input_bias" else set()
            return np.repeat([float(gate in opened) for gate in spec.gates], rows)
        block = recurrent_block if spec.role == "recurrent" else input_block
        return np.concatenate([block(rows, spec.shape[1], rng) for _ in spec.gates])

    return initialise


def _of_units(spec: ParameterSpec, rng: np.random.Generator) -> Array:
    """A unit's own recurrent weight u from U(0, 1): from forgetting to keeping all; others small.

    Source: Li et al., "Independently recurrent neural network", 2018; peepholes as torch's rule.
    """
    bound = 1.0 / math.sqrt(spec.fan)
    low, high = (0.0, 1.0) if spec.gates == ("u",) else (-bound, bound)
    return rng.uniform(low, high, spec.shape)


def chrono(span: float) -> Initialiser:
    """The scheme "orthogonal", with gates that begin by remembering for up to `span` steps.

    LSTM: b_f = log u, b_i = -log u; GRU: b_z = log u; u uniform in 1..span-1 for each unit. A unit
    whose gate is sigmoid(log u) = u / (1 + u) forgets over about 1 + u steps. Cells without such
    gates get "orthogonal"::

        unrolled.LSTM(2, 64, init=unrolled.layers.chrono(200))

    Args:
        span: steps over which dependencies are expected, >= 2.

    Raises:
        ValueError: span is below 2.

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", 2018.
    """
    if not span >= 2.0:
        raise ValueError(f"[chrono] expected span >= 2, got {span}")

    def initialise(spec: ParameterSpec, rng: np.random.Generator) -> Array:
        value = _registry["orthogonal"](spec, rng)
        if spec.role == "input_bias" and spec.gates in (("i", "f", "g", "o"), ("r", "z", "n")):
            gates = value.reshape(len(spec.gates), -1)
            gates[1] = np.log(rng.uniform(1.0, span - 1.0, gates.shape[1]))
            if spec.gates[0] == "i":
                gates[0] = -gates[1]
        return value

    return initialise


def _torch(spec: ParameterSpec, rng: np.random.Generator) -> Array:
    """torch's defaults: U(-1/sqrt(fan), 1/sqrt(fan)), and N(0, 1) for embeddings."""
    if spec.role == "embedding":
        return rng.standard_normal(spec.shape)
    bound = 1.0 / math.sqrt(spec.fan)
    return rng.uniform(-bound, bound, spec.shape)


def _zeros(spec: ParameterSpec, rng: np.random.Generator) -> Array:
    """All zero: for layers whose parameters are loaded next."""
    return np.zeros(spec.shape)


_registry: dict[str, Initialiser] = {
    "orthogonal": _scheme(glorot_uniform, orthogonal),
    "xavier": _scheme(glorot_uniform, glorot_uniform),
    "he": _scheme(he_uniform, orthogonal),
    "identity": _scheme(glorot_uniform, identity),
    "torch": _torch,
    "zeros": _zeros,
}


def zeros_within(count: int) -> Initialiser:
    """The scheme "zeros" for an architecture that is not trusted: `count` numbers, and no more.

    Nothing is allocated beyond them, whatever sizes a file gives.

    Raises:
        ValueError: from the initialiser, with the parameter that does not fit any more.
    """
    left = count

    def initialise(spec: ParameterSpec, rng: np.random.Generator) -> Array:
        nonlocal left
        left -= math.prod(spec.shape)
        if left < 0:
            raise ValueError(
                f"expected {count:,} parameters in all, fewer than those up to {spec.name} of "
                f"shape {spec.shape}"
            )
        return np.zeros(spec.shape)

    return initialise


def initialisers() -> tuple[str, ...]:
    """Returns the names that `init=` accepts.

    | name | input weights | recurrent weights | biases |
    |---|---|---|---|
    | "orthogonal" | Glorot uniform | orthogonal | forget gate 1, others 0 |
    | "xavier" | Glorot uniform | Glorot uniform | forget gate 1, others 0 |
    | "he" | He uniform | orthogonal | forget gate 1, others 0 |
    | "identity" | Glorot uniform | identity | forget gate 1, others 0 |
    | "torch" | U(-1/sqrt(fan), 1/sqrt(fan)) | the same | the same |
    | "zeros" | 0 | 0 | 0 |

    Matrices are filled gate by gate; embeddings are N(0, 1) (0 under "zeros"). A unit's own
    recurrent weight (IndRNN) is U(0, 1), other parameters of units are U(-1/sqrt(H), 1/sqrt(H)).
    """
    return tuple(_registry)


def register_initialiser(name: str, initialiser: Initialiser) -> None:
    """Makes `init=name` mean `initialiser`.

    A callable can also be passed as `init=` itself, without a name::

        def small(spec, rng):
            return 0.01 * rng.standard_normal(spec.shape)

        unrolled.GRU(8, 16, init=small)

    Raises:
        ValueError: the name is taken.
    """
    if name in _registry:
        raise ValueError(f"[register_initialiser] {name!r} is taken")
    _registry[name] = initialiser


def initialise(
    init: str | Initialiser, spec: ParameterSpec, rng: np.random.Generator, dtype: DType
) -> Array:
    """Returns the initial value of the parameter `spec`, of shape `spec.shape`.

    Args:
        init: a registered name, or a callable (spec, rng) -> array.
        spec: the parameter.
        rng: where random numbers come from.
        dtype: values are drawn in float64 and rounded to this dtype.

    Raises:
        ValueError: the name is unknown, or the callable returned another shape.
    """
    if isinstance(init, str):
        if init not in _registry:
            known = ", ".join(_registry)
            raise ValueError(f"[initialise] expected init to be one of {known}, got {init!r}")
        init = _registry[init]
    value = np.asarray(init(spec, rng))
    if value.shape != spec.shape:
        raise ValueError(
            f"[initialise] expected {spec.name} of shape {spec.shape}, got {value.shape}"
        )
    return value.astype(dtype)
