"""Tasks: pipelines from data to a trained model, one file each; see `_task.py` for the contract."""

from . import adding as adding
from . import classification as classification
from . import copy_memory as copy_memory
from . import digits as digits
from . import forecasting as forecasting
from . import keywords as keywords
from . import language_model as language_model
from . import phonemes as phonemes
from . import translation as translation
from ._compare import Comparison as Comparison
from ._compare import compare as compare
from ._export import export as export
from ._options import TrainOptions as TrainOptions
from ._options import option as option
from ._presets import Preset as Preset
from ._presets import presets as presets
from ._run import free_path as free_path
from ._run import load as load
from ._run import make_options as make_options
from ._run import option_types as option_types
from ._run import train as train
from ._saved import Saved as Saved
from ._task import Task as Task
from ._task import find_task as find_task
from ._task import register as register
from ._task import tasks as tasks
