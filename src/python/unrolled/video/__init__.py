"""Video: files of any kind become frames of one size, as models read them.

Needs the extra `[video]`: PyAV, which brings FFmpeg along, imported where it is used.
"""

from ..audio import Normalisation as Normalisation
from ._arrays import ARRAY_ENDINGS as ARRAY_ENDINGS
from ._arrays import IMAGE_ENDINGS as IMAGE_ENDINGS
from ._augment import Augmentation as Augmentation
from ._augment import Changed as Changed
from ._cache import FrameCache as FrameCache
from ._cache import default_folder as default_folder
from ._errors import DamagedVideoWarning as DamagedVideoWarning
from ._errors import VideoError as VideoError
from ._files import Frame as Frame
from ._files import Frames as Frames
from ._files import Source as Source
from ._files import read_frames as read_frames
from ._files import stream_frames as stream_frames
from ._normalisation import fixed_normalisation as fixed_normalisation
from ._normalisation import imagenet_normalisation as imagenet_normalisation
from ._normalisation import measured_normalisation as measured_normalisation
from ._scaling import Images as Images
from ._settings import FrameSettings as FrameSettings
