"""A softmax over many classes of which most are rare, at a part of the cost."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import functional
from ._base import Layer
from ._checks import checked_dtype, checked_size
from ._initialisers import Initialiser, initialise
from ._linear import packed_linear
from ._options import LossOptions
from ._place import functions_of, move, place_of, take_rows
from ._softmax_head import check_targets, scaled
from ._specs import ParameterSpec, linear_specs
from ._types import Array


class AdaptiveSoftmaxHead(Layer, LossOptions):
    """A softmax in two steps: frequent classes at once, rare ones in clusters.

    Classes come in descending order of frequency. The cut-offs c_0 < ... < c_{C-1} split them into
    the frequent ones below c_0 and C clusters, cluster i being c_i .. c_{i+1} - 1, with c_C = V:

        (z, u)     = x (W[:c_0]; W_cluster)^T + (b[:c_0]; b_cluster)
        p(v)       = softmax(z, u)_v                                              v < c_0
        p(v)       = softmax(z, u)_cluster(v) softmax(x W[cluster]^T + b[cluster])_v    otherwise
        loss       = -log p(target)                                               in nats

    A position multiplies by the c_0 + C rows of the first step and, if its target is rare, by those
    of one cluster: for 18,000 words split at a tenth and a third that is a fifth of all rows. Every
    class keeps its row of weight (V, H), so that an embedding can be tied to it as to a
    `SoftmaxHead`; the projections of the paper's clusters to fewer numbers are left out for that.

    Shapes: H inputs, V classes, C clusters. weight (V, H), bias (V,), cluster_weight (C, H),
    cluster_bias (C,); x (..., H), targets (...) int64 in 0 .. V-1, or -1 for a position that does
    not count.

    Args:
        input_size: H.
        output_size: V.
        cutoffs: c_0 .. c_{C-1}, ascending, in 1 .. V-1; see `frequency_cutoffs`.
        dtype, rng, init: as of `Linear`.

    Source: Grave, Joulin, Cisse, Grangier and Jegou, "Efficient softmax approximation for GPUs",
    2017; torch.nn.AdaptiveLogSoftmaxWithLoss.
    """

    _runs_on_cuda = True

    def __init__(
        self,
        input_size: int,
        output_size: int,
        cutoffs: Sequence[int],
        *,
        dtype: DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
        init: str | Initialiser = "orthogonal",
    ) -> None:
        where = "AdaptiveSoftmaxHead"
        self.input_size = checked_size(where, "input_size", input_size)
        self.output_size = checked_size(where, "output_size", output_size)
        self.cutoffs = tuple(checked_size(where, "a cut-off", cutoff) for cutoff in cutoffs)
        bounds = (*self.cutoffs, self.output_size)
        if not self.cutoffs or any(low >= high for low, high in pairwise(bounds)):
            raise ValueError(
                f"[{where}] expected ascending cutoffs in 1 .. {self.output_size - 1}, "
                f"got {list(cutoffs)}"
            )
        self._clusters = tuple(slice(low, high) for low, high in pairwise(bounds))
        count, inputs = len(self._clusters), self.input_size
        specs = (
            *linear_specs(inputs, self.output_size, bias=True),
            ParameterSpec("cluster_weight", "input", (count, inputs), ("y",), inputs),
            ParameterSpec("cluster_bias", "input_bias", (count,), ("y",), inputs),
        )
        kind = checked_dtype(where, dtype)
        rng = np.random.default_rng() if rng is None else rng
        super().__init__({spec.name: initialise(init, spec, rng, kind) for spec in specs})

    def __repr__(self) -> str:
        sizes = f"{self.input_size}, {self.output_size}, cutoffs={list(self.cutoffs)}"
        return f"AdaptiveSoftmaxHead({sizes}, dtype={self.dtype})"

    def logits(self, x: Array) -> Array:
        """Returns log p (..., V) of x (..., H): logits whose softmax is p."""
        return self.packed()(x.reshape(-1, self.input_size)).reshape(*x.shape[:-1], -1)

    def packed(self) -> "PackedAdaptiveSoftmax":
        """Returns `logits` for many calls with few rows, (N, H) -> (N, V), with copied weights."""
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        return PackedAdaptiveSoftmax(
            packed_linear(*self._first()),
            [packed_linear(weight[part], bias[part]) for part in self._clusters],
        )

    def losses(self, x: Array, targets: Array) -> Array:
        """Returns the loss of every position, (...) in nats; 0 where the target is -1."""
        check_targets(self, x, targets)
        rows, classes = x.reshape(-1, self.input_size), targets.reshape(-1)
        functions, precision = functions_of(x), self._loss_precision
        first = functions.linear_cross_entropy(
            rows, *self._first(), self._first_targets(classes), precision=precision
        )
        losses = move(first, "cpu")
        for places, weight, bias, members in self._tails(classes):
            tail = functions.linear_cross_entropy(
                take_rows(rows, places), weight, bias, members, precision=precision
            )
            losses[places] += move(tail, "cpu")
        return move(losses.reshape(targets.shape), place_of(x))

    def loss_vjp(self, x: Array, targets: Array) -> tuple[float, Callable[..., Array]]:
        """Returns the mean loss of the positions that count, and its pullback.

        Returns:
            loss, pullback. `dx = pullback(dloss=1.0)` adds to `grads`. Where no position counts,
            loss and gradients are 0.
        """
        check_targets(self, x, targets)
        self._expect(self._own_names)
        rows, classes = x.reshape(-1, self.input_size), targets.reshape(-1)
        counted = max(int(np.count_nonzero(classes >= 0)), 1)
        functions = functions_of(x)
        losses, dx, *first = functions.linear_cross_entropy_vjp(
            rows, *self._first(), self._first_targets(classes), precision=self._loss_precision
        )
        total, tails = float(losses.sum(dtype=np.float64)), []
        for places, weight, bias, members in self._tails(classes):
            tail_losses, tail_dx, *tail = functions.linear_cross_entropy_vjp(
                take_rows(rows, places), weight, bias, members, precision=self._loss_precision
            )
            total += float(tail_losses.sum(dtype=np.float64))
            functions.embedding_backward(places, tail_dx, dweight=dx)
            tails.append(tail)

        def pullback(dloss: float = 1.0) -> Array:
            factor = dloss / counted
            frequent = self.cutoffs[0]
            for kind, dfirst, *dtails in zip(("weight", "bias"), first, *tails, strict=True):
                grad = self._grads[kind]
                grad[:frequent] += scaled(dfirst[:frequent], factor)
                self._grads[f"cluster_{kind}"] += scaled(dfirst[frequent:], factor)
                for cluster, dtail in zip(self._clusters, dtails, strict=True):
                    grad[cluster] += scaled(dtail, factor)
            self._added(self._own_names)
            return scaled(dx, factor).reshape(x.shape)

        return total / counted, pullback

    def _first(self) -> tuple[Array, Array]:
        """The matrix and bias of the first step, c_0 + C rows."""
        own, frequent = self._parameters, self.cutoffs[0]
        return (
            np.concatenate((own["weight"][:frequent], own["cluster_weight"])),
            np.concatenate((own["bias"][:frequent], own["cluster_bias"])),
        )

    def _first_targets(self, classes: Array) -> NDArray[np.int64]:
        """What the first step should say of each class: itself, or c_0 + its cluster."""
        if classes.size and classes.max() >= self.output_size:
            raise ValueError(
                f"[AdaptiveSoftmaxHead] expected targets in 0 .. {self.output_size - 1} "
                f"(negative: ignored), got {classes.max()}"
            )
        cluster = np.searchsorted(self.cutoffs, classes, side="right") - 1
        return np.where(cluster < 0, classes, self.cutoffs[0] + cluster)

    def _tails(self, classes: Array) -> Iterator[tuple[NDArray[np.intp], Array, Array, Array]]:
        """Of each cluster: places of its classes, its matrix and bias, the classes within it."""
        weight, bias = self._parameters["weight"], self._parameters["bias"]
        for cluster in self._clusters:
            places = np.flatnonzero((classes >= cluster.start) & (classes < cluster.stop))
            yield places, weight[cluster], bias[cluster], classes[places] - cluster.start


class PackedAdaptiveSoftmax:
    """`AdaptiveSoftmaxHead.logits` with packed copies of the weights, as for a stream."""

    def __init__(
        self,
        first: Callable[[Array], Array],
        tails: Sequence[Callable[[Array], Array]],
    ) -> None:
        self._first = first
        self._tails = tails

    def __call__(self, x: Array) -> Array:
        """Returns log p (N, V) of x (N, H)."""
        first = functional.log_softmax(self._first(x))
        frequent = first.shape[1] - len(self._tails)
        parts = [first[:, :frequent]]
        for cluster, tail in enumerate(self._tails, frequent):
            parts.append(first[:, cluster, None] + functional.log_softmax(tail(x)))
        return np.concatenate(parts, axis=1)


def frequency_cutoffs(classes: int) -> tuple[int, ...]:
    """Cut-offs for words, whose frequency falls as 1 / rank (Zipf's law): a tenth and a third.

    A position then multiplies by about a fifth of the rows; the optimum is flat.

    Raises:
        ValueError: too few classes to split.
    """
    if classes < 10:
        raise ValueError(f"[frequency_cutoffs] expected 10 classes or more, got {classes}")
    return classes // 10, classes // 3
