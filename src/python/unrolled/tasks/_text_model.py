"""A trained language model and the text that its numbers stand for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unrolled.models import LanguageModel

from ._fits import check_fit
from ._text import Vocabulary

if TYPE_CHECKING:
    from .language_model import Options


@dataclass(frozen=True)
class TextModel:
    """What `unrolled train lm` makes.

    Attributes:
        model: the network.
        vocabulary: its tokens.
        options: how it was trained.

    Raises:
        ValueError: the model has another number of outputs than there are tokens.
    """

    model: LanguageModel
    vocabulary: Vocabulary
    options: "Options"

    def __post_init__(self) -> None:
        check_fit("outputs", self.model.head.output_size, "vocabulary", len(self.vocabulary))
