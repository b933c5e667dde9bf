"""Cells of your own, compiled like the built-in ones: see `cell`.

The functions below are those that equations may use, beside + - * / and numbers. SymPy is needed
where a cell is defined (`pip install "unrolled[cells]"`), a C++ compiler where it first runs.
"""

from ._cell import Cell as Cell
from ._cell import cell as cell
from ._functions import absolute as absolute
from ._functions import exp as exp
from ._functions import maximum as maximum
from ._functions import minimum as minimum
from ._functions import relu as relu
from ._functions import sigmoid as sigmoid
from ._functions import softplus as softplus
from ._functions import sqrt as sqrt
from ._functions import tanh as tanh
from ._functions import where_positive as where_positive
