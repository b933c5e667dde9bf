"""From a file to what the trained part of a network reads: frames, or what a frozen part saw."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unrolled.interop.onnx_backbone import OnnxBackbone
from unrolled.interop.pretrained import Pretrained, efficientnet_lite0
from unrolled.training import Array
from unrolled.video import (
    Augmentation,
    Frame,
    FrameCache,
    Frames,
    FrameSettings,
    Normalisation,
    Source,
    read_frames,
    stream_frames,
)

#: Networks that this package knows; anything else is an ONNX file.
SMALL, EFFICIENTNET = "small", "efficientnet-lite0"

Finetune = Literal["all", "last", "none"]

#: Frames that a frozen network reads at a time.
_PART = 32


@dataclass(frozen=True)
class Eyes:
    """What is read of a video, and which part of the network over frames is frozen.

    Attributes:
        settings: of the frames.
        network: "small", "efficientnet-lite0", or an ONNX file.
        finetune: how much of a pretrained network is trained: all of it, its last stage, nothing.
        identity: hash of the pretrained weights, "" where there are none: features of other weights
            mean something else.

    Raises:
        ValueError: the network does not take such frames, or cannot be trained so.
    """

    settings: FrameSettings
    network: str
    finetune: Finetune
    identity: str = ""

    def __post_init__(self) -> None:
        if self.network == SMALL:
            return
        if not self.settings.colour:
            raise ValueError(f"{self.network} was trained on coloured pictures: leave out --grey")
        if self.network != EFFICIENTNET and self.finetune != "none":
            raise ValueError(
                f"{self.network} is an ONNX network, which is not trained: give --finetune none"
            )

    @classmethod
    def open(cls, settings: FrameSettings, network: str, finetune: Finetune) -> "Eyes":
        """Returns eyes with the identity of the pretrained weights that are there.

        Raises:
            FileNotFoundError, ValueError, ImportError: the network is not there, or will not do.
        """
        eyes = cls(settings, network, finetune)
        return cls(settings, network, finetune, eyes._pretrained_identity())

    def _pretrained_identity(self) -> str:
        if self.network == SMALL:
            return ""
        if self.network == EFFICIENTNET:
            return self._efficientnet.identity
        return self._onnx.identity

    @cached_property
    def _efficientnet(self) -> Pretrained:
        return efficientnet_lite0()

    @cached_property
    def _onnx(self) -> OnnxBackbone:
        if not Path(self.network).is_file():
            raise FileNotFoundError(
                f"there is no network {self.network!r}: expected {SMALL}, {EFFICIENTNET} or the "
                "path of an ONNX file"
            )
        return OnnxBackbone(self.network)

    def check(self) -> None:
        """Raises ValueError if the weights that are there are not those that were trained with."""
        if self.identity != self._pretrained_identity():
            raise ValueError(
                f"the weights of {self.network} are not those that this model was trained with"
            )

    @property
    def _cut(self) -> int:
        """How many blocks of the pretrained network are frozen, where some are trained."""
        return self._efficientnet.model.num_blocks - 1 if self.finetune == "last" else 0

    @property
    def trained(self) -> str:
        """The part of the network that is trained, as models of video name it."""
        if self.network == SMALL:
            return SMALL
        if self.finetune == "none":
            return "none"
        return f"{EFFICIENTNET}@{self._cut}" if self._cut else EFFICIENTNET

    def pretrained_part(self) -> Mapping[str, Array]:
        """Returns the pretrained parameters of the trained part, none of a small network."""
        if self.network == SMALL or self.finetune == "none":
            return {}
        whole = self._efficientnet.model
        return (whole.tail(self._cut) if self._cut else whole).parameters

    @cached_property
    def _frozen(self) -> Callable[[NDArray[np.uint8]], Array] | None:
        """What makes features (N, ...) of frames (N, H, W, 3); None: nothing is frozen."""
        if self.network == SMALL or (self.network == EFFICIENTNET and self.finetune == "all"):
            return None
        if self.network != EFFICIENTNET:
            onnx = self._onnx
            return lambda frames: onnx(onnx.normalisation(frames))
        whole, scale = self._efficientnet.model, self._efficientnet.normalisation
        packed = whole.trunk(self._cut) if self._cut else whole.packed()
        return lambda frames: packed(scale(frames))

    @property
    def raw(self) -> bool:
        """Whether frames come as bytes, which may be changed in training."""
        return self._frozen is None

    def shape(self) -> tuple[int, ...]:
        """Returns the shape of what a frame becomes, before it is normalised."""
        if self._frozen is None:
            return self.settings.shape
        return self._frozen(np.zeros((1, *self.settings.shape), np.uint8)).shape[1:]

    def normalisation(self) -> Normalisation | None:
        """Returns the figures that go with a pretrained network; None: measure what is seen."""
        if self.network != EFFICIENTNET or self.finetune == "none":
            return None
        if self.finetune == "all":
            return self._efficientnet.normalisation
        channels = self.shape()[-1]  # the last stage reads what the others say as it is
        return Normalisation(np.zeros(channels, np.float32), np.ones(channels, np.float32))

    def stream(
        self, source: Source, start: float = 0.0, end: float | None = None
    ) -> Iterator[Frame]:
        """Yields what is seen frame by frame; arguments and errors as of `stream_frames`."""
        frames = stream_frames(source, self.settings, start=start, end=end)
        if self._frozen is None:
            yield from frames
            return
        while part := list(islice(frames, _PART)):
            seen = self._frozen(np.stack([frame.image for frame in part]))
            yield from (Frame(frame.time, row) for frame, row in zip(part, seen, strict=True))

    def read(self, source: Source) -> Frames:
        """Returns all that is seen of a source at once; errors as of `read_frames`."""
        if self._frozen is None:
            return read_frames(source, self.settings)
        frames = list(self.stream(source))
        return Frames(
            np.stack([frame.image for frame in frames]), np.array([frame.time for frame in frames])
        )

    def prepared(
        self, frames: NDArray[Any], image: Sequence[int], normalisation: Normalisation
    ) -> Array:
        """Returns frames as the trained network reads them, (T, H, W, C) or (T, F), normalised.

        Args:
            frames: what was read; of frames with a margin, their middle is taken.
            image: (H, W, C), or (F,).
            normalisation: of the model.
        """
        if self.raw:
            frames = Augmentation(crop=(image[0], image[1])).centre(frames)
        return normalisation(frames)

    def cache(self, folder: str | None) -> FrameCache:
        """Returns the cache of what is seen, which other eyes do not share."""
        key = self.to_json()
        if self._frozen is None:
            key = {"settings": key["settings"]}
        return FrameCache(folder, {"eyes": key}, self.stream)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "settings": self.settings.to_json(),
            "network": self.network,
            "finetune": self.finetune,
            "identity": self.identity,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Eyes":
        """The eyes that `to_json` described."""
        return cls(
            FrameSettings.from_json(values["settings"]),
            str(values["network"]),
            values["finetune"],
            str(values["identity"]),
        )
