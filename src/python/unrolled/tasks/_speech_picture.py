"""A sound and what was heard in it, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unrolled import functional
from unrolled.audio import Samples, extract_features
from unrolled.training import import_extra

from ._utterances import Segment

if TYPE_CHECKING:
    from ._recogniser import Recogniser

#: Inches: a second is so wide, within limits.
_WIDTH, _NARROWEST, _WIDEST = 3.5, 8.0, 60.0

#: Seconds of a sound that can be shown.
_LONGEST = 600.0


def draw_speech(
    path: Path,
    recogniser: "Recogniser",
    samples: Samples,
    segments: Sequence[Segment],
) -> None:
    """Writes waveform, log-mel features, probabilities of the symbols and segments, as a PNG.

    Args:
        path: the file.
        recogniser: the model.
        samples: (N,), of a sound of at most ten minutes.
        segments: what was heard, symbols or words.

    Raises:
        ValueError: the sound is longer.
    """
    if len(samples) > _LONGEST * recogniser.settings.rate:
        raise ValueError(f"a picture shows at most {_LONGEST / 60:.0f} minutes of sound")
    logits = recogniser.logits(samples)
    figure_module = import_extra("matplotlib.figure", "train")
    settings = recogniser.settings
    seconds = len(samples) / settings.rate
    width = min(max(_WIDTH * seconds, _NARROWEST), _WIDEST)
    figure = figure_module.Figure(figsize=(width, 7.0), layout="constrained")
    wave, mel, posteriors = figure.subplots(3, 1, sharex=True, height_ratios=(1, 2, 3))

    wave.plot(np.arange(len(samples)) / settings.rate, samples, lw=0.4, color="black")
    wave.set_ylabel("samples")
    for number, segment in enumerate(segments):
        colour = ("tab:blue", "tab:orange")[number % 2]
        wave.axvspan(segment.start, segment.end, color=colour, alpha=0.25, lw=0)
        middle = (segment.start + segment.end) / 2
        wave.text(middle, 1.02, segment.symbol, transform=wave.get_xaxis_transform(), ha="center")

    frames = extract_features(samples, settings)
    end = settings.hop * len(frames)
    mel.imshow(frames.T, origin="lower", aspect="auto", extent=(0, end, 0, settings.size))
    mel.set_ylabel("mel band")

    said = logits[:, : 1 + len(recogniser.symbols)].astype(np.float64)
    probabilities = np.exp(functional.log_softmax(said))[:, 1:]
    heard = sorted({part.symbol for segment in segments for part in segment.parts or (segment,)})
    rows = [recogniser.symbols.index(symbol) for symbol in heard]
    if rows:
        shown = probabilities[:, rows].T
        extent = (
            recogniser.seconds(-0.5),
            recogniser.seconds(len(logits) - 0.5),
            -0.5,
            len(rows) - 0.5,
        )
        posteriors.imshow(
            shown, origin="lower", aspect="auto", extent=extent, cmap="Greys", vmin=0, vmax=1
        )
        posteriors.set_yticks(range(len(heard)), heard, fontsize=8)
    posteriors.set(xlabel="seconds", ylabel="probability", xlim=(0, max(seconds, 1e-3)))
    figure.savefig(path, dpi=110)
