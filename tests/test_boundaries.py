"""Where the data say when symbols begin and end, a recogniser finds that too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.audio import FeatureSettings, Normalisation, faint_noise
from unrolled.models import AcousticModel
from unrolled.tasks import phonemes
from unrolled.tasks._edit_distance import matches
from unrolled.tasks._recogniser import Recogniser
from unrolled.tasks._speech_loss import SpeechLoss, speech_loss_vjp
from unrolled.tasks._speech_score import boundary_errors
from unrolled.tasks._spoken import Batch, Spoken
from unrolled.tasks._utterances import Segment, find_utterances
from utterances import SMALL, utter, write_utterances

soundfile = pytest.importorskip("soundfile", reason='pip install "unrolled[speech]"')

SETTINGS = FeatureSettings(bands=4, coefficients=4)
PLAIN = Normalisation(np.zeros(4, np.float32), np.ones(4, np.float32))


def recogniser(outputs: int) -> Recogniser:
    model = AcousticModel(4, outputs, hidden_size=2, rng=np.random.default_rng(0))
    return Recogniser(model, ("a", "b"), SETTINGS, PLAIN, phonemes.Options())


def test_frames_get_the_label_of_the_segment_around_their_middle() -> None:
    """Frames of 25 ms every 10 ms: the middles are 12.5, 22.5, 32.5 ms, ..."""
    segments = [Segment("a", 0.02, 0.04), Segment("?", 0.04, 0.05), Segment("b", 0.05, 9.0)]
    spoken = Spoken(
        [np.zeros((7, 4), np.float32), np.zeros((9, 4), np.float32)],
        [["a", "?", "b"], ["b"]],
        [segments, []],
        [[], []],
        [[], []],
        [None, None],
        [None, None],
    )
    batch = Batch.of(spoken, ("a", "b"), SETTINGS, PLAIN)
    assert batch.places[:, 0].tolist() == [0, 1, 1, -1, 2, 2, 2, -1, -1]
    assert batch.places[:, 1].tolist() == [-1] * 9
    assert batch.labels.tolist() == [[1, 2], [2, 0]]
    steps = np.array([3, 4])  # of 3 frames each, every 2 frames: middles 1, 3, 5, 7
    places = batch.step_places(steps, stack=3, stride=2)
    assert places.T.tolist() == [[1, -1, 2, -1], [-1] * 4]


def test_chains_are_utterances_in_a_row() -> None:
    frames = [np.full((n, 4), n, np.float32) for n in (10, 20, 30)]
    segments = [[Segment("a", 0.05, 0.1)], [Segment("b", 0.0, 0.2)], []]
    ways = [[(("a",),)], [(("b",), ("a", "a"))], [(("a", "b"),)]]
    nobody = [None] * 3
    spoken = Spoken(
        frames,
        [["a"], ["b"], ["a", "b"]],
        segments,
        [["u"], ["v"], ["w"]],
        ways,
        ["x", "y", None],
        nobody,
    )
    first, second = (spoken.chained(2, hop=0.01).rows([row]) for row in (0, 1))
    np.testing.assert_array_equal(first.frames[0], np.concatenate(frames[:2]))
    assert (first.symbols[0], first.words[0]) == (["a", "b"], ["u", "v"])
    assert (first.speakers, second.speakers) == (["x"], [None])
    assert first.alternatives[0] == [(("a",),), (("b",), ("a", "a"))]
    assert first.segments[0] == [Segment("a", 0.05, 0.1), Segment("b", 0.1, 0.2 + 0.1)]
    assert (second.symbols[0], second.segments[0]) == (["a", "b"], [])
    unknown = spoken.chained(3, hop=0.01)
    assert (unknown.symbols[0], unknown.segments[0]) == (["a", "b", "a", "b"], [])


def test_the_gradient_is_that_of_the_loss(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((6, 2, 6))
    steps, labels, counts = np.array([6, 4]), np.array([[1, 2], [2, 0]]), np.array([2, 1])
    places = rng.integers(-1, 3, (6, 2))

    def loss(values: np.ndarray) -> SpeechLoss:
        return speech_loss_vjp(values, steps, labels, counts, places, 3)[0]

    whole, pullback = speech_loss_vjp(logits, steps, labels, counts, places, 3)
    assert (whole.symbols, whole.steps) == (3, np.count_nonzero(places >= 0))
    gradient, direction = pullback(1.0), rng.standard_normal(logits.shape)
    change = loss(logits + 1e-5 * direction).mean - loss(logits - 1e-5 * direction).mean
    np.testing.assert_allclose((gradient * direction).sum(), change / 2e-5, rtol=1e-6)
    ctc, ctc_pullback = speech_loss_vjp(logits[..., :3], steps, labels, counts, places, 3)
    assert (ctc.ctc, ctc.placing) == (whole.ctc, 0.0)
    np.testing.assert_array_equal(ctc_pullback(1.0), gradient[..., :3])


def test_a_symbol_lasts_as_long_as_its_steps() -> None:
    """CTC says "a" and "b" in one step each; the other outputs say how long they last."""
    logits = np.full((8, 6), -9.0, np.float32)
    logits[np.arange(8), [0, 0, 1, 0, 2, 0, 0, 0]] = 0.0
    logits[np.arange(8), 3 + np.array([0, 1, 1, 1, 2, 2, 0, 0])] = 0.0
    hear = recogniser(6)
    a, b = hear.segments(logits)
    # The middle of step n is 12.5 + 10 + 20 n ms.
    assert (a.symbol, b.symbol) == ("a", "b")
    np.testing.assert_allclose([a.start, a.end, b.end], [0.0325, 0.0925, 0.1325], atol=1e-9)
    assert b.start == a.end
    assert a.probability > 0.99
    spikes = recogniser(3).segments(logits[:, :3])
    assert [s.symbol for s in spikes] == ["a", "b"]


def test_boundaries_of_what_was_recognised() -> None:
    assert matches("abcd", "xbd") == [(1, 1), (3, 2)]
    assert matches("", "ab") == matches("ab", "") == []
    said = [[Segment("a", 0.0, 1.0), Segment("b", 1.0, 2.0)], []]
    heard = [[Segment("b", 1.25, 1.5)], [Segment("b", 0.0, 9.0)]]
    np.testing.assert_allclose(boundary_errors(said, heard), [0.25, 0.5])


def test_tables_of_segments(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000)
    table = tmp_path / "table.csv"
    table.write_text("file,start,end,symbol\na.wav,0.5,1,b\na.wav,1,2,sil\na.wav,2,3,c\n")
    (found,) = find_utterances([table])
    assert found.segments == (Segment("b", 0.5, 1.0), Segment("c", 2.0, 3.0))
    for row in ("a.wav,2,1,d", "a.wav,nan,9,d", "a.wav,1,inf,d"):
        table.write_text(f"file,start,end,symbol\na.wav,0.5,1,b\n{row}\n")
        (found,) = find_utterances([table])
        assert (found.symbols, found.segments) == (("b", "d"), ())
    table.write_text("file,start,end,symbol\na.wav,soon,1,b\n")
    with pytest.raises(ValueError, match=r"table\.csv, line 2: could not convert"):
        find_utterances([table])


def test_recordings_without_times_train_as_before(tmp_path: Path) -> None:
    folder = write_utterances(tmp_path / "data", 12)
    for path in sorted((folder / "align").iterdir()):
        said = [line.split()[2] for line in path.read_text().splitlines()[1:]]
        path.with_suffix(".txt").write_text(" ".join(said))
        path.unlink()
    hear = phonemes.train(folder, steps=3, **SMALL)
    assert hear.model.config["outputs"] == 1 + len(hear.symbols)


def test_some_recordings_with_times_will_do(tmp_path: Path) -> None:
    """One half has times, the other has none; both are learned from."""
    folder = write_utterances(tmp_path / "data", 60)
    for path in sorted((folder / "align").iterdir())[::2]:
        said = [line.split()[2] for line in path.read_text().splitlines()[1:]]
        path.with_suffix(".txt").write_text(" ".join(said))
        path.unlink()
    hear = phonemes.train(folder, epochs=30, lr=1e-2, augment=False, **SMALL)
    rng, said, heard = np.random.default_rng(5), [], []
    for _ in range(10):
        samples, segments = utter(rng, 4)
        said.append(segments)
        heard.append(hear(np.concatenate([samples, faint_noise(4000, rng)])))
    misses = boundary_errors(said, heard)
    assert len(misses) >= 72
    assert np.median(misses) <= 0.02
