"""What every layer and model is: named parameters, their gradients, and sub-layers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np

from .. import functional
from ._flat import FlatBuffer
from ._listener import GradientListener
from ._options import PrecisionOption
from ._place import Place, assign, functions_of, move, on_device
from ._types import Array, DType

LayerT = TypeVar("LayerT", bound="Layer")


class Layer:
    """Named parameters and gradients, with sub-layers under dotted names.

    A layer gives its own parameters and its sub-layers to this constructor. All of them move into
    one `FlatBuffer`; `parameters` and `grads` are views into it::

        class Tagger(Layer):
            def __init__(self, rng):
                self.rnn = LSTM(16, 32, rng=rng)
                self.head = SoftmaxHead(32, 5, rng=rng)
                super().__init__(children={"rnn": self.rnn, "head": self.head})

        Tagger(rng).parameters["rnn.weight_ih_l0"]

    Becoming part of a parent moves a layer's parameters into the parent's buffer: take arrays from
    `layer.parameters` when they are needed rather than keep them from before. Edit arrays in place
    (`layer.parameters["bias"][:] = 0`); the mapping itself is read-only, since an array put there
    would be no part of the buffer.

    Copies and pickles of a layer have a buffer of their own on the host, their gradients zero.

    One layer may be called from several threads at once; pullbacks may not, since they all add to
    the same gradients.

    Args:
        own: the layer's own parameters by name, all of one dtype. They are copied.
        children: sub-layers by name. A layer has one parent at most.
    """

    _runs_on_cuda: ClassVar[bool] = False  # it computes where its arrays lie, see `to`
    _listener: GradientListener | None = None
    _prefix = ""  # of this layer's names, as the listener knows them

    def __init__(
        self,
        own: Mapping[str, Array] | None = None,
        children: Mapping[str, "Layer"] | None = None,
    ) -> None:
        self._children = dict(children or {})
        self._build(dict(own or {}))

    def _build(self, own: dict[str, Array]) -> None:
        self._own_names = tuple(own)
        self._owner: str | None = None
        arrays = dict(own)
        for name, child in self._children.items():
            if child._owner is not None:
                raise ValueError(
                    f"[{type(self).__name__}] {name} is already part of a {child._owner}; "
                    "a layer has one parent (use copy.deepcopy for a second, separate layer)"
                )
            child._owner = type(self).__name__
            arrays.update({f"{name}.{key}": value for key, value in child._parameters.items()})
        flat = FlatBuffer.gather(arrays)
        self._flat: FlatBuffer | None = flat
        self._bind(flat.views(flat.values), flat.views(flat.grads))
        for child in self._children.values():
            child._flat = None

    def _bind(self, parameters: dict[str, Array], grads: dict[str, Array]) -> None:
        """Makes these views the arrays of this layer and, by name, of its sub-layers."""
        self._parameters = parameters
        self._grads = grads
        for name, child in self._children.items():
            child._bind(_below(name, parameters), _below(name, grads))

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Every parameter by its dotted name; writable views, a read-only mapping."""
        return MappingProxyType(self._parameters)

    @property
    def grads(self) -> Mapping[str, Array]:
        """The gradient of every parameter; pullbacks add to it, `zero_grads` clears it."""
        return MappingProxyType(self._grads)

    @property
    def flat(self) -> FlatBuffer:
        """The buffer behind `parameters` and `grads`; only the outermost layer has one."""
        if self._flat is None:
            raise RuntimeError(
                f"[{type(self).__name__}] this layer is part of a {self._owner}, "
                "whose .flat holds its parameters"
            )
        return self._flat

    @property
    def dtype(self) -> DType:
        """The dtype of all parameters (float32 for a layer that has none)."""
        return next((a.dtype for a in self._parameters.values()), np.dtype(np.float32))

    @property
    def place(self) -> Place:
        """Where the parameters lie: "cpu" or "cuda"; see `to`."""
        own = next(iter(self._parameters.values()), None)
        return "cpu" if own is None or not on_device(own) else "cuda"

    @property
    def num_parameters(self) -> int:
        """How many numbers the parameters hold."""
        return sum(array.size for array in self._parameters.values())

    def zero_grads(self) -> None:
        """Sets every gradient to zero."""
        if self._flat is not None:
            functions_of(self._flat.grads).zero(self._flat.grads)
            return
        for grad in self._grads.values():
            grad.fill(0)

    def to(self: LayerT, place: Place) -> LayerT:
        """Moves all parameters and gradients to a CUDA device, "cuda", or back to the host, "cpu".

        ::

            lstm = unrolled.LSTM(16, 32).to("cuda")
            y, (h, c) = lstm(cupy.asarray(x))      # CuPy arrays in and out

        Parameters are then arrays of CuPy on its current device; see `unrolled.cuda`. All layers
        and models run there, in float32; a layer of one's own says so by `_runs_on_cuda = True`.
        Layers take arrays of the device. Tokens, targets, lengths and masks stay on the host, and
        what models for sound, video, series and forecasts read does so too. Their streams, but for
        those of `Recurrent` and `LanguageModel`, are of the host. An optimizer is made for a model
        where it lies then.

        Returns:
            the layer itself.

        Raises:
            ValueError: another place; TypeError: a layer that runs on the host alone.
        """
        where = type(self).__name__
        if place not in get_args(Place):
            raise ValueError(f"[{where}] expected one of cpu, cuda, got {place!r}")
        for layer in self._walk():
            if place == "cuda" and not (layer._runs_on_cuda and layer.dtype == np.float32):
                raise TypeError(
                    f"[{where}] expected layers of float32 that run on a CUDA device, "
                    f"got {type(layer).__name__} of {layer.dtype}"
                )
        flat = self._flat = self.flat.moved(lambda array: move(array, place))
        self._bind(flat.views(flat.values), flat.views(flat.grads))
        return self

    def _new(self, shape: tuple[int, ...]) -> Array:
        """An uninitialised array where the parameters lie, of their dtype."""
        array: Array = functions_of(next(iter(self._parameters.values()))).empty(shape, self.dtype)
        return array

    def check_on_host(self) -> None:
        """Raises ValueError if the layer is elsewhere."""
        if self.place != "cpu":
            raise ValueError(
                f"[{type(self).__name__}] expected a layer on the host, got one on a CUDA device; "
                'call layer.to("cpu")'
            )

    def set_precision(self, precision: functional.Precision) -> None:
        """Makes recurrent layers and losses of heads multiply in another one from now on."""
        for layer in self._walk():
            if isinstance(layer, PrecisionOption):
                layer.precision = precision

    @contextmanager
    def in_precision(self, precision: functional.Precision) -> Iterator[None]:
        """Makes recurrent layers and losses of heads multiply in another precision for a while.

        What is begun meanwhile keeps it: a pullback, or a stream for as long as it lives::

            with model.in_precision("int8"):
                stream = model.stream()
        """
        layers = [layer for layer in self._walk() if isinstance(layer, PrecisionOption)]
        before = [layer.precision for layer in layers]
        try:
            self.set_precision(precision)
            yield
        finally:
            for layer, own in zip(layers, before, strict=True):
                layer.precision = own

    def _walk(self) -> "Iterator[Layer]":
        yield self
        for child in self._children.values():
            yield from child._walk()

    def listen(self, listener: GradientListener | None) -> None:
        """Tells `listener` of the gradients of this layer and its sub-layers; None ends that.

        A layer's `vjp` calls `_expect` with the names of its own parameters that the pullback will
        add to, and the pullback calls `_added` after its last addition. A layer that does neither
        is correct too: its gradients count as complete when the outermost pullback has returned.
        """
        self._listen(listener, "")

    def _listen(self, listener: GradientListener | None, prefix: str) -> None:
        self._listener, self._prefix = listener, prefix
        for name, child in self._children.items():
            child._listen(listener, f"{prefix}{name}.")

    def _expect(self, names: Sequence[str]) -> None:
        if self._listener is not None:
            self._listener.expected([self._prefix + name for name in names])

    def _added(self, names: Sequence[str]) -> None:
        if self._listener is not None:
            self._listener.added([self._prefix + name for name in names])

    def load_parameters(self, values: Mapping[str, Any]) -> None:
        """Copies values into the parameters: every one of them, or none.

        Args:
            values: name -> array, with exactly the names, shapes and dtype of `parameters`. A torch
                state dict is such a mapping.

        Raises:
            ValueError: names are missing or unexpected, or a shape differs.
            TypeError: a dtype differs; convert with `.astype` first if that is meant.
        """
        where = type(self).__name__
        missing = [name for name in self._parameters if name not in values]
        unexpected = [name for name in values if name not in self._parameters]
        if missing or unexpected:
            raise ValueError(
                f"[{where}] parameter names do not match: "
                f"missing {', '.join(missing) or 'none'}; "
                f"unexpected {', '.join(unexpected) or 'none'}"
            )
        arrays = {name: np.asarray(values[name]) for name in self._parameters}
        for name, parameter in self._parameters.items():
            array = arrays[name]
            if array.shape != parameter.shape:
                raise ValueError(
                    f"[{where}] expected {name} of shape {parameter.shape}, got {array.shape}"
                )
            if array.dtype != parameter.dtype:
                raise TypeError(
                    f"[{where}] expected {name} of dtype {parameter.dtype}, got {array.dtype}"
                )
        for name, parameter in self._parameters.items():
            assign(parameter, arrays[name])

    def __getstate__(self) -> dict[str, Any]:
        # NumPy copies and pickles a view as an array of its own, which would cut parameters off
        # from the flat buffer; so only this layer's own arrays go out and `_build` runs again.
        hidden = ("_parameters", "_grads", "_flat", "_owner", "_own_names", "_listener", "_prefix")
        state = {key: value for key, value in self.__dict__.items() if key not in hidden}
        state["_own"] = {name: move(self._parameters[name], "cpu") for name in self._own_names}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        own = state.pop("_own")
        self.__dict__.update(state)
        self._build(own)


def _below(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the arrays of sub-layer `name`, by the names that it uses itself."""
    prefix = name + "."
    return {
        key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)
    }
