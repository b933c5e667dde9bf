"""Sound: files of any format become samples, and samples the features that models read.

Needs the extra `[speech]`: soundfile, soxr and kaldi-native-fbank, each imported where it is used.
"""

from ._augment import Augmentation as Augmentation
from ._augment import faint_noise as faint_noise
from ._espeak import Phoneme as Phoneme
from ._espeak import Speech as Speech
from ._espeak import speak as speak
from ._features import Features as Features
from ._features import FeatureSettings as FeatureSettings
from ._features import FeatureStream as FeatureStream
from ._features import extract_features as extract_features
from ._files import AudioError as AudioError
from ._files import Samples as Samples
from ._files import audio_blocks as audio_blocks
from ._files import read_audio as read_audio
from ._files import resample as resample
from ._normalisation import Normalisation as Normalisation
from ._normalisation import Speaker as Speaker
from ._normalisation import read_frames as read_frames
from ._speaker import HeardSpeaker as HeardSpeaker
from ._speaker import SpeakerNormalisation as SpeakerNormalisation
from ._speaker import normalisation_from_json as normalisation_from_json
