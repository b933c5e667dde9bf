"""How a layer computes: options that change no parameter and no shape."""

from .. import functional


class PrecisionOption:
    """In which numbers a layer multiplies, for layers that have a choice."""

    _precision: functional.Precision = "full"

    @property
    def precision(self) -> functional.Precision:
        """In which numbers the products multiply; see `functional.Precision`.

        "full" (the default), "bf16", or "int8" for inference. Parameters, states and gradients stay
        in the layer's dtype, so that a layer can train in one and stream in another.
        """
        return self._precision

    @precision.setter
    def precision(self, precision: functional.Precision) -> None:
        functional.check_precision(type(self).__name__, precision)
        self._precision = precision


class LossOptions(PrecisionOption):
    """The option of a head: its losses have no "int8", and its logits are in full precision."""

    @property
    def _loss_precision(self) -> functional.Precision:
        return "bf16" if self._precision == "bf16" else "full"


class ScanOptions(PrecisionOption):
    """The options of a recurrent layer that may be assigned at any time."""

    _recompute: functional.Recompute = "none"
    _clip_gradient: functional.GradientClip = None

    @property
    def recompute(self) -> functional.Recompute:
        """What the pullback of `vjp` recomputes instead of keeping it.

        "none" (the default), "gates" or a number of steps k. The gradients have the same bits; see
        `functional.Recompute`, and `memory` for the bytes.
        """
        return self._recompute

    @recompute.setter
    def recompute(self, recompute: functional.Recompute) -> None:
        functional.recompute_code(type(self).__name__, recompute)
        self._recompute = recompute

    @property
    def clip_gradient(self) -> functional.GradientClip:
        """How the pullback of `vjp` clips the gradient of h that a step hands to the one before.

        None (the default), a limit of each element, or ("norm", limit) of each row of the batch;
        see `functional.GradientClip`. Each layer and direction clips its own.
        """
        return self._clip_gradient

    @clip_gradient.setter
    def clip_gradient(self, clip: functional.GradientClip) -> None:
        functional.clip_limits(type(self).__name__, clip)
        self._clip_gradient = clip
