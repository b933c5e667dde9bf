"""Models: layers put together, with their pullbacks composed in plain sight."""

from ._acoustic_stream import AcousticStream as AcousticStream
from .acoustic import AcousticModel as AcousticModel
from .language_model import LanguageModel as LanguageModel
from .language_model import LanguageModelStream as LanguageModelStream
from .sequence_model import SequenceModel as SequenceModel
