"""Models: layers put together, with their pullbacks composed in plain sight."""

from ._acoustic_stream import AcousticStream as AcousticStream
from ._decoder_stream import DecoderStream as DecoderStream
from ._decoder_stream import PackedDecoder as PackedDecoder
from ._distributions import Quantiles as Quantiles
from ._outlook import Outlook as Outlook
from ._search import BeamOptions as BeamOptions
from ._search import Hypothesis as Hypothesis
from ._search import beam_search as beam_search
from ._search import sample_targets as sample_targets
from ._series_front_end import series_strides as series_strides
from ._special import t_quantile as t_quantile
from ._video_encoder import VideoEncoderConfig as VideoEncoderConfig
from ._video_stream import VideoStream as VideoStream
from .acoustic import AcousticModel as AcousticModel
from .efficientnet import EfficientNet as EfficientNet
from .forecaster import ForecastModel as ForecastModel
from .language_model import LanguageModel as LanguageModel
from .language_model import LanguageModelStream as LanguageModelStream
from .seq2seq import Seq2Seq as Seq2Seq
from .sequence_model import SequenceModel as SequenceModel
from .series_classifier import SeriesModel as SeriesModel
from .video import CaptionModel as CaptionModel
from .video import VideoModel as VideoModel
