"""Videos and what is said of them are found in folders and tables as users have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from unrolled.tasks._utterances import Segment, find_utterances
from unrolled.tasks._video_clips import VideoClip, find_videos, split_videos


def touch(folder: Path, *names: str) -> None:
    """Files of nothing: finding reads no pictures."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_folder_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.mp4", "cat/b.AVI", "dog/deep/c.npy", "dog/notes.doc", "README.md")
    touch(tmp_path, "dog/images/1.png", "dog/images/2.png", "cat/poster.jpg")
    found = find_videos([tmp_path])
    assert found == [
        VideoClip(tmp_path / "cat/a.mp4", "cat"),
        VideoClip(tmp_path / "cat/b.AVI", "cat"),
        VideoClip(tmp_path / "dog/deep/c.npy", "dog"),
        VideoClip(tmp_path / "dog/images", "dog"),
    ]
    touch(tmp_path, "loose.mp4")
    with pytest.raises(ValueError, match=r"beside them loose.mp4, of no class"):
        find_videos([tmp_path])


def test_clips_of_which_nothing_is_known(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.webm", "images/1.jpg")
    assert find_videos([tmp_path / "a.mp4"]) == [VideoClip(tmp_path / "a.mp4")]
    assert find_videos([tmp_path / "images"]) == [VideoClip(tmp_path / "images")]
    (tmp_path / "images" / "1.jpg").unlink()
    assert [clip.label for clip in find_videos([tmp_path])] == ["", ""]


def test_transcripts(tmp_path: Path) -> None:
    """Beside the clips, or in a folder of their own; the nearest, where names come twice."""
    for speaker, word in (("s1", "red"), ("s2", "blue")):
        touch(tmp_path, f"{speaker}/mouth/a.mp4")
        place = tmp_path / speaker / "align"
        place.mkdir()
        rows = f"0 25000 sil\n25000 37500 bin\n37500 38000 sp\n38000 50000 {word}\n50000 74500 sil"
        (place / "a.align").write_text(rows + "\n")
    touch(tmp_path, "s1/mouth/b.mp4")
    (tmp_path / "s1/mouth/b.txt").write_text(" A man's hat,\n it fell # off. \n")
    touch(tmp_path, "s1/mouth/untold.mp4")
    first, second, third = find_videos([tmp_path])
    assert (first.text, second.text, third.text) == (
        "bin red",
        "A man's hat, it fell # off.",
        "bin blue",
    )
    assert first.segments == (Segment("bin", 1.0, 1.5), Segment("red", 1.52, 2.0))
    assert second.segments == ()
    (tmp_path / "s1/mouth/b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"b.txt is no text in UTF-8"):
        find_videos([tmp_path])
    (tmp_path / "s2/align/a.align").write_text("0 sil\n")
    with pytest.raises(ValueError, match=r"a.align cannot be understood"):
        find_videos([tmp_path / "s2"])


def test_sounds_of_one_name_have_their_own_transcripts(tmp_path: Path) -> None:
    for speaker in ("s1", "s2"):
        touch(tmp_path, f"{speaker}/a.wav")
        (tmp_path / speaker / "a.txt").write_text(f"I am {speaker}")
    assert [u.symbols[-1] for u in find_utterances([tmp_path])] == ["s1", "s2"]


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables(name: str, comma: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b/images/1.png")
    table = tmp_path / name

    def written(*lines: str) -> list[VideoClip]:
        table.write_text("\n".join(lines).replace("|", comma) + "\n")
        return find_videos([table])

    a, b = tmp_path / "a.mp4", tmp_path / "b/images"
    assert written("path|label", "a.mp4|run", "b/images|walk") == [
        VideoClip(a, "run"),
        VideoClip(b, "walk"),
    ]
    assert written("file|text|class|start|end", "a.mp4|a b|run|1.5|2", "a.mp4|c|run||") == [
        VideoClip(a, "run", "a b", (), 1.5, 2.0),
        VideoClip(a, "run", "c"),
    ]
    assert written("file|start|end|symbol", "a.mp4|0|1|run", "a.mp4|1|2.5|walk") == [
        VideoClip(a, "", "run walk", (Segment("run", 0, 1), Segment("walk", 1, 2.5)))
    ]
    for lines, kind, text in (
        (("path|name", "a.mp4|x"), ValueError, "no column label or text"),
        (("label", "x"), ValueError, "has no columns file,label"),
        (("path|label", "none.mp4|x"), FileNotFoundError, "line 2: no file"),
        (("path|label", "|x"), FileNotFoundError, "line 2: no file"),
        (("path|label|start|end", "a.mp4|x|2|1"), ValueError, "line 2: expected 0 <= start < end"),
        (("path|label|start", "a.mp4|x|soon"), ValueError, "line 2: could not convert"),
        (("path|label",), ValueError, "there are no videos in"),
    ):
        with pytest.raises(kind, match=text):
            written(*lines)


def test_nothing_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a folder with one folder of videos for each class"):
        find_videos([tmp_path])
    with pytest.raises(FileNotFoundError, match="no folder or table"):
        find_videos([tmp_path / "none"])


def test_names(tmp_path: Path) -> None:
    assert VideoClip(Path("a.mp4")).name == "a.mp4"
    assert VideoClip(Path("a.mp4"), start=1.0, end=2.5).name == "a.mp4, 1 to 2.5 s"


def test_splits_keep_files_together_wherever_they_lie() -> None:
    def clips(root: str) -> list[VideoClip]:
        return [
            VideoClip(Path(root) / f"class{n % 3}" / f"{n}.mp4", start=part, end=part + 1)
            for n in range(1000)
            for part in (0.0, 1.0)
        ]

    training, held_out = split_videos(clips("/data"))
    assert {clip.path for clip in training}.isdisjoint(clip.path for clip in held_out)
    # Within four standard deviations of a tenth of 1,000 files.
    assert abs(len(held_out) / 2 - 100) < 4 * np.sqrt(1000 * 0.1 * 0.9)
    elsewhere = split_videos(clips("/home/me"))[1]
    assert [c.path.name for c in elsewhere] == [c.path.name for c in held_out]


def test_grid() -> None:
    """The real corpus, as it lies: mouth/*.mp4 and align/*.align."""
    folder = Path(os.environ.get("UNROLLED_DATA", "nowhere")) / "video" / "grid_s1"
    if not folder.is_dir():
        pytest.skip("needs UNROLLED_DATA with video/grid_s1")
    pytest.importorskip("av", reason='pip install "unrolled[video]"')
    from unrolled.video import FrameSettings, read_frames

    clips = find_videos([folder])
    assert len(clips) == 900
    assert all(len(clip.text.split()) == 6 and len(clip.segments) == 6 for clip in clips)
    frames = read_frames(clips[0].path, FrameSettings(80, 160))
    assert frames.images.shape == (75, 80, 160, 3)
    assert clips[0].segments[-1].end <= frames.times[-1]
