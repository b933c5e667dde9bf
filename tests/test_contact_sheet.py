"""A contact sheet shows frames of a clip and what a model saw in it, whatever its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.tasks._contact_sheet import draw_contact_sheet

image_module = pytest.importorskip("matplotlib.image", reason='pip install "unrolled[train]"')


def drawn(path: Path, count: int, rows: np.ndarray, title: str = "a clip") -> np.ndarray:
    """The picture (Y, X, 3) of so many frames, each half red, in 1 s."""
    images = np.zeros((count, 20, 30, 3), np.uint8)
    images[:, :, :15, 0] = 255
    names = [f"$word{number}_" for number in range(len(rows))]
    draw_contact_sheet(path, images, np.arange(count) / count, title, names, rows)
    return image_module.imread(path)[..., :3]


def red(picture: np.ndarray) -> int:
    """How many pictures with red halves stand beside each other."""
    is_red = (picture == np.array([1.0, 0.0, 0.0], np.float32)).all(axis=-1).any(axis=0)
    return int(np.count_nonzero(np.diff(is_red.astype(int)) == 1))


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (5, 5), (12, 12), (13, 12), (300, 12)])
def test_frames_are_shown(count: int, shown: int, tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", count, np.full((3, count), 0.5))
    assert red(picture) == shown


def test_the_heat_map_follows_time(tmp_path: Path) -> None:
    """A word that looked at the second half is black there; the first word stands above."""
    rows = np.zeros((2, 20))
    rows[0, 10:] = rows[1, :10] = 1.0
    picture = drawn(tmp_path / "a.png", 20, rows)
    nothing = drawn(tmp_path / "b.png", 20, np.zeros((2, 20)))
    differs = (picture != nothing).any(axis=-1)
    ys, xs = differs.nonzero()
    height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
    box = differs[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    above, below = box[: height // 2], box[height // 2 :]
    assert above[:, width // 2 + 3 :].mean() > 0.9
    assert above[:, : width // 2 - 3].mean() < 0.1
    assert below[:, : width // 2 - 3].mean() > 0.9


def test_sizes(tmp_path: Path) -> None:
    """Without rows frames alone; with very many rows a picture of a size that can be looked at."""
    alone = drawn(tmp_path / "a.png", 4, np.zeros((0, 4)))
    many = drawn(tmp_path / "b.png", 4, np.zeros((500, 4)), "costs $5 or $6, \\alpha_{x")
    assert red(alone) == red(many) == 4
    assert len(alone) < 300
    assert len(many) < 2000


def test_errors(tmp_path: Path) -> None:
    images, times = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4.0)
    with pytest.raises(ValueError, match=r"expected rows \(V, T\) = \(2, 4\), got \(2, 3\)"):
        draw_contact_sheet(tmp_path / "a.png", images, times, "", ["a", "b"], np.zeros((2, 3)))
    for wrong in (images[:0], images[..., 0], np.zeros((4, 8, 8, 2), np.uint8)):
        with pytest.raises(ValueError, match="expected images"):
            draw_contact_sheet(tmp_path / "a.png", wrong, times, "", [], np.zeros((0, 4)))
