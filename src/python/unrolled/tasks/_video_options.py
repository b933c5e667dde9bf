"""What can be set for models of video."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from unrolled.training import Budget
from unrolled.video import Augmentation, FrameSettings

from ._options import TrainOptions, option
from .footage.eyes import EFFICIENTNET, SMALL, Eyes


@dataclass(frozen=True, kw_only=True)
class Options(TrainOptions):
    """What can be set for models of video."""

    lr: float = option(2e-3, "highest learning rate")
    validation: str | None = option(
        None, "folder or table of clips to hold out; not given: one of ten"
    )
    answer: Literal["auto", "clip", "frame", "sentence", "caption"] = option(
        "auto",
        "one label a clip; one a frame; what is said, word by word (CTC); or a text that is "
        "written with attention. auto: what the data say: labels, texts with times, or texts",
    )
    demo: bool = option(False, "make the clips: digits that move over a canvas, with captions")
    clips: int = option(6000, "how many clips --demo makes")
    network: str = option(
        SMALL, f"what looks at a frame: {SMALL}, {EFFICIENTNET}, or an ONNX file of a CNN"
    )
    finetune: Literal["all", "last", "none"] = option(
        "none", "how much of a pretrained network is trained; a small one always is"
    )
    network_lr: float = option(0.1, "learning rate of a pretrained network, as a part of --lr")
    height: int = option(64, "pixels of a frame from top to bottom")
    width: int = option(64, "pixels of a frame from left to right")
    grey: bool = option(False, "read frames without colours")
    rate: float | None = option(None, "frames a second; not given: every frame")
    crop: str = option(
        "centre",
        "part of the picture: centre (in the proportions of height and width), none (all, "
        "squeezed), pad (all, with bars), or left,top,right,bottom in parts of it",
    )
    margin: int = option(4, "pixels by which the picture moves each way in training")
    flip: bool = option(False, "mirror clips at random in training: where left may be right")
    rotation: float = option(0.0, "degrees by which the picture turns in training")
    scale: float = option(0.0, "part by which it grows or shrinks in training, 0..1")
    warp: float = option(0.0, "part by which time runs faster or slower in training, 0..1")
    erase: float = option(0.0, "probability of covering a part of the picture in training, 0..1")
    light: float = option(0.15, "part by which contrast and brightness change in training, 0..1")
    context: int = option(1, "frames on each other that the small network sees, for motion")
    channels: str = option("32,64,96,128", "of the convolutions of the small network")
    pooled: bool = option(
        False, "let the small network see what there is, wherever it is; not where it is"
    )
    features: int = option(256, "numbers that the recurrent layers read of a frame")
    cell: Literal["gru", "lstm", "rnn"] = option("gru", "kind of recurrent layer")
    hidden: int = option(256, "units per recurrent layer and direction")
    layers: int = option(2, "recurrent layers")
    bidirectional: bool = option(True, "read backwards too: better, but not while frames come")
    dropout: float = option(0.3, "part of features and outputs dropped in training, 0..1")
    tokens: Literal["word", "char"] = option("word", "what texts are cut into")
    vocabulary: int = option(8000, "most different tokens of captions")
    embedding: int = option(128, "numbers per token of captions")
    attention: Literal["dot", "general", "concat", "additive"] = option(
        "general", "how a caption's states and the frames are compared"
    )
    label_smoothing: float = option(0.1, "part of the probability that all tokens share, 0..1")
    grammar: float = option(
        0.5, "what it counts in sentences which symbols followed each other in training; 0: nothing"
    )
    beam: int = option(5, "captions that are kept in searching")
    cache: str | None = option(None, "folder to keep frames in; not given: one of the user's")

    default_minutes: ClassVar[float] = 10.0

    def budget(self) -> Budget:
        """Returns the budget that was asked for; the demo needs little."""
        if self.demo and self.minutes is None and self.epochs is None and self.steps is None:
            return Budget(minutes=3.5)
        return super().budget()

    def eyes(self) -> Eyes:
        """What is read of a video."""
        sides: tuple[str, ...] = tuple(self.crop.split(","))
        crop: Any = self.crop
        if len(sides) > 1:
            try:
                crop = tuple(float(side) for side in sides)
            except ValueError as error:
                raise ValueError(f"--crop {self.crop}: {error}") from error
        raw = self.network == SMALL or self.finetune == "all"
        margin = 2 * self.margin if raw else 0
        settings = FrameSettings(
            height=self.height + margin,
            width=self.width + margin,
            colour=not self.grey,
            rate=self.rate,
            crop=crop,
        )
        return Eyes.open(settings, self.network, self.finetune)

    def augmentation(self) -> Augmentation:
        """How clips are changed in training."""
        return Augmentation(
            crop=(self.height, self.width),
            flip=0.5 if self.flip else 0.0,
            rotation=self.rotation,
            scale=self.scale,
            brightness=128.0 * self.light,
            contrast=self.light,
            erase=self.erase,
            warp=self.warp,
        )
