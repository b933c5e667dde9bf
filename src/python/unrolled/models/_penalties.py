"""Gradients of the penalties on a recurrent layer's activations.

Source: Merity, McCann and Socher, "Revisiting activation regularization for language RNNs", 2017.
"""

import numpy as np

from ..layers._types import Array


def activation_gradient(h: Array, alpha: float) -> Array:
    """The gradient of alpha * mean(h^2), activation regularisation (AR): h should be small."""
    gradient: Array = h * h.dtype.type(2.0 * alpha / max(h.size, 1))
    return gradient


def temporal_activation_gradient(h: Array, beta: float) -> Array:
    """The gradient of beta * mean((h_t - h_{t-1})^2), temporal AR (TAR): h should change slowly.

    Shapes: h (T, B, H), result the same. The mean is over the T - 1 changes inside h.
    """
    change = h[1:] - h[:-1]
    change *= h.dtype.type(2.0 * beta / max(change.size, 1))
    gradient = np.zeros_like(h)
    gradient[1:] += change
    gradient[:-1] -= change
    return gradient
