"""Types of the specification: everything is float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
States = tuple[Array, ...]
Saved = tuple[Array, ...]
