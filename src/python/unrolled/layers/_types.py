"""Names for the types that every layer speaks of."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]
ArrayPullback: TypeAlias = Callable[[Array], Array]
