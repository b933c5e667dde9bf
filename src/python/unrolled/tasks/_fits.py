"""Whether a model and what its numbers stand for belong together."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled.audio import FeatureSettings, Normalisation
    from unrolled.models import AcousticModel


def check_fit(what: str, has: int, name: str, *expected: int) -> None:
    """Raises ValueError unless a model has as many `what` as there are `name`, or `expected`."""
    if has not in expected:
        counts = " or ".join(f"{count:,}" for count in expected)
        raise ValueError(f"the model has {has:,} {what}, its {name} {counts}")


def check_features(
    model: "AcousticModel", settings: "FeatureSettings", normalisation: "Normalisation"
) -> None:
    """Raises ValueError unless a model reads frames of these settings, normalised so."""
    check_fit("features", model.config["features"], "numbers", settings.size)
    check_fit("features", settings.size, "means", len(normalisation.mean))
