"""Videos of any kind, damaged or not, become frames of one size, or an error that says why not."""

from __future__ import annotations

import json
import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unrolled.video import (
    DamagedVideoWarning,
    FrameSettings,
    VideoError,
    _containers,
    _files,
    read_frames,
    stream_frames,
)
from videos import grey, numbered, numbers_of, write_sound, write_video

av = pytest.importorskip("av", reason='pip install "unrolled[video]"')

SMALL = FrameSettings(32, 48)


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".mkv", "ffv1", "yuv444p"),
        (".mp4", "libx264", "yuv420p"),
        (".mov", "png", "rgb24"),
        (".webm", "libvpx-vp9", "yuv420p"),
        (".gif", "gif", "rgb8"),
    ],
)
def test_kinds(suffix: str, codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a{suffix}", numbered(12), codec=codec, pixels=pixels)
    frames = read_frames(path, SMALL)
    assert frames.images.shape == (12, 32, 48, 3)
    assert frames.images.dtype == np.uint8
    assert numbers_of(frames.images) == list(range(12))
    np.testing.assert_allclose(frames.times, np.arange(12) / 25, rtol=0, atol=1e-9)


def test_black_is_0_and_white_255(tmp_path: Path) -> None:
    """Whatever range the video has; and colours keep their order."""
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[1], frames[2] = 255, (250, 60, 10)
    path = write_video(tmp_path / "a.mkv", frames)
    # Going through 8-bit YUV of the range 16..235 and back rounds twice: a level each.
    colour = read_frames(path, SMALL).images.astype(int)
    assert np.abs(colour - frames).max() <= 3
    one = read_frames(path, FrameSettings(32, 48, colour=False)).images
    assert one.shape == (3, 32, 48, 1)
    assert one[0].max() <= 1
    assert one[1].min() >= 254


def test_sizes_average(tmp_path: Path, rng: np.random.Generator) -> None:
    """A smaller frame is an average, not a selection: noise loses its deviation."""
    noise = rng.integers(0, 256, (1, 64, 64, 3), np.uint8)
    small = read_frames(noise, FrameSettings(16, 16)).images
    # The filter's triangle weighs 8 pixels a side; the sum of its squared weights is 0.17 a side.
    assert small.std() < 0.25 * noise.std()
    assert abs(small.mean() - noise.mean()) < 3


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_portrait(rotation: int, mirror: bool, tmp_path: Path) -> None:
    """A phone stores what it saw on its side, and how to turn and mirror it to see it upright."""
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("needs a PyAV that writes rotations")
    upright = np.zeros((2, 48, 32, 3), np.uint8)
    upright[:, :12, :16] = 240  # a corner
    turned = upright[:, :, ::-1] if mirror else upright
    stored = np.rot90(turned, -rotation // 90, axes=(1, 2))
    path = write_video(
        tmp_path / "a.mp4", stored, codec="libx264", rotation=rotation, mirror=mirror
    )
    seen = read_frames(path, FrameSettings(48, 32)).images.astype(int)
    assert np.abs(seen - upright).max() <= 10  # libx264 loses some
    # A box is of the upright picture.
    corner = FrameSettings(12, 16, crop=(0.0, 0.0, 0.5, 0.25))
    assert read_frames(path, corner).images.min() >= 230


def test_crops(tmp_path: Path) -> None:
    frames = np.zeros((1, 32, 64, 3), np.uint8)
    frames[:, :, 16:48] = 200
    path = write_video(tmp_path / "a.mkv", frames)
    assert read_frames(path, FrameSettings(16, 16, crop="centre")).images.min() > 190
    squeezed = read_frames(path, FrameSettings(16, 16)).images[0, 8, :, 0]
    assert squeezed[2] < 10
    assert squeezed[8] > 190
    padded = read_frames(path, FrameSettings(16, 16, crop="pad")).images[0, :, 8, 0]
    assert padded[:4].max() == 0
    assert padded[4:12].min() > 190
    assert padded[12:].max() == 0
    box = FrameSettings(16, 8, crop=(0.25, 0.0, 0.5, 1.0))
    assert read_frames(path, box).images.min() > 190


@pytest.mark.parametrize(("suffix", "codec"), [(".jpg", ""), (".mp4", "libx264"), (".mov", "png")])
def test_crops_keep_colours(suffix: str, codec: str, tmp_path: Path) -> None:
    """A part is what it is in the whole, whatever range and kind of colours a file has."""
    frames = np.empty((1, 64, 64, 3), np.uint8)
    frames[0, :32], frames[0, 32:] = (255, 30, 0), (0, 200, 90)
    frames[0, :, 32:] = np.linspace(0, 255, 32)[:, None]
    path = tmp_path / f"a{suffix}"
    if codec:
        write_video(path, frames, codec=codec, pixels="rgb24" if codec == "png" else "yuv420p")
    else:
        av.VideoFrame.from_ndarray(frames[0], format="rgb24").save(str(path))
    for colour in (True, False):
        whole = read_frames(path, FrameSettings(64, 64, colour)).images
        box = FrameSettings(32, 48, colour, crop=(0.25, 0.5, 1.0, 1.0))
        np.testing.assert_array_equal(read_frames(path, box).images, whole[:, 32:, 16:])


def test_pixels_that_are_no_squares(tmp_path: Path) -> None:
    """A picture of 32 x 32 pixels twice as wide as high: the square in its middle is half of it."""
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    frames[:, :, 8:24] = 200
    path = write_video(tmp_path / "a.mp4", frames, codec="libx264", aspect=Fraction(2))
    assert read_frames(path, FrameSettings(16, 16, crop="centre")).images.min() > 190


def test_every_frame_keeps_its_time(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.52, 1.0, 2.0]
    path = write_video(tmp_path / "a.mkv", numbered(6), times=times)
    np.testing.assert_allclose(read_frames(path, SMALL).times, times, rtol=0, atol=1e-9)


def test_ticks_take_the_nearest_frame(tmp_path: Path) -> None:
    """Of a video with a varying rate, against the definition."""
    times = np.array([0.0, 0.04, 0.5, 0.52, 1.0, 2.0])
    path = write_video(tmp_path / "a.mkv", numbered(6), times=list(times))
    frames = read_frames(path, FrameSettings(32, 48, rate=10))
    ticks = np.arange(21) / 10
    np.testing.assert_allclose(frames.times[:21], ticks, rtol=0, atol=1e-9)
    nearest = [int(np.abs(times - tick + 1e-9).argmin()) for tick in ticks]
    assert numbers_of(frames.images)[:21] == nearest


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25.0, list(range(10))),
        (12.5, [0, 2, 4, 6, 8]),
        (50.0, [0, 0, *np.repeat(range(1, 10), 2)]),
        (1.0, [0]),
    ],
)
def test_rates(rate: float, expected: list[int], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(10))
    frames = read_frames(path, FrameSettings(32, 48, rate=rate))
    assert numbers_of(frames.images) == expected
    np.testing.assert_allclose(frames.times, np.arange(len(expected)) / rate, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rate", [None, 25.0])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_parts(suffix: str, rate: float | None, tmp_path: Path) -> None:
    codec = "libx264" if suffix == ".mp4" else "ffv1"
    path = write_video(tmp_path / f"a{suffix}", numbered(50), codec=codec, options={"g": "7"})
    settings = FrameSettings(32, 48, rate=rate)
    assert len(read_frames(path, settings, end=float("inf")).times) == 50
    part = read_frames(path, settings, start=0.8, end=1.2)
    assert numbers_of(part.images) == list(range(20, 30))
    np.testing.assert_allclose(part.times, np.arange(20, 30) / 25, rtol=0, atol=1e-9)
    assert numbers_of(read_frames(path, settings, limit=3).images) == [0, 1, 2]
    assert numbers_of(read_frames(path, settings, start=1.8).images) == list(range(45, 50))
    with pytest.raises(VideoError, match="has no frame between 10 s and its end"):
        read_frames(path, settings, start=10)


def test_images_and_arrays(tmp_path: Path) -> None:
    """Folders in natural order, lists of images, and arrays are clips as well."""
    frames = numbered(11)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(frames):
        av.VideoFrame.from_ndarray(image, format="rgb24").save(str(folder / f"frame{number}.png"))
    np.save(tmp_path / "a.npy", frames)
    np.savez(tmp_path / "a.npz", frames=frames, other=np.zeros(3))
    np.savez_compressed(tmp_path / "b.npz", frames[..., 0])
    paths = sorted(folder.iterdir(), key=lambda path: int(path.stem[5:]))
    files = [tmp_path / name for name in ("a.npy", "a.npz", "b.npz")]
    for source in (folder, paths, frames, frames[..., 0], *files):
        read = read_frames(source, FrameSettings(32, 48, image_rate=10.0))
        np.testing.assert_array_equal(read.images, frames)
        np.testing.assert_allclose(read.times, np.arange(11) / 10, rtol=0, atol=1e-9)
    smaller = read_frames(frames, FrameSettings(8, 8, colour=False))
    assert numbers_of(smaller.images) == list(range(11))


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Of frames that Python holds, however many have gone by."""
    path = write_video(tmp_path / "a.mkv", numbered(400, 64, 64))
    np.save(tmp_path / "a.npy", numbered(400, 64, 64))
    for source in (path, tmp_path / "a.npy"):
        stream = stream_frames(source, FrameSettings(64, 64, rate=25.0))
        next(stream)
        tracemalloc.start()
        count = sum(1 for _ in stream)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 399
        assert peak < 20 * 64 * 64 * 3


def test_a_video_cut_off_keeps_its_frames(tmp_path: Path) -> None:
    """With a warning; a video whose table stood in the part that is lost cannot be read."""
    whole = write_video(tmp_path / "a.mkv", numbered(100)).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(
        DamagedVideoWarning, match=r"cut.mkv is damaged or cut off: its pictures end"
    ):
        frames = read_frames(cut, SMALL)
    assert numbers_of(frames.images) == [number % 64 for number in range(len(frames.images))]
    assert 30 < len(frames.images) < 60
    whole = write_video(tmp_path / "a.mp4", numbered(100), codec="libx264").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="copy it again"):
        read_frames(tmp_path / "cut.mp4", SMALL)


def test_damage_within(tmp_path: Path) -> None:
    """What decodes is kept, with a warning at the end."""
    path = write_video(tmp_path / "a.mov", numbered(40), codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    # The tenth picture's signature: PNG refuses it.
    place = -1
    for _ in range(10):
        place = data.index(b"\x89PNG", place + 1)
    data[place] = 0
    path.write_bytes(data)
    with pytest.warns(DamagedVideoWarning, match=r"1 part\(s\) of it could not be decoded"):
        frames = read_frames(path, SMALL)
    assert numbers_of(frames.images) == [number for number in range(40) if number != 9]
    assert frames.times[9] == pytest.approx(10 / 25, abs=1e-9)


def test_what_is_no_video(tmp_path: Path, rng: np.random.Generator) -> None:
    def written(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"
    (tmp_path / "empty").mkdir()
    no_frames = numbered(1)[:0]
    cases = {
        write_sound(
            tmp_path / "sound.mp4"
        ): "holds no video, only audio: give a file with pictures",
        written("text.mp4", b"some words\n" * 100): "is no video that can be read",
        written("text.txt", b"some words\n" * 100): "text or a list of other files",
        written("list.m3u8", playlist): "text or a list of other files",
        written("nothing.mp4", b""): "is no video that can be read",
        written("noise.mp4", rng.bytes(20_000)): "is no video that can be read",
        write_video(tmp_path / "none.avi", no_frames, codec="mpeg4", pixels="yuv420p"): (
            "holds no picture that can be decoded"
        ),
        write_video(tmp_path / "none.mp4", no_frames, codec="libx264"): (
            "nothing in it can be read: copy it again"
        ),
        write_video(tmp_path / "none.mkv", no_frames): "is no video that can be read",
        tmp_path / "empty": "there are no images in the folder",
        written("a.npy", b"\x93NUMPY\x01"): "holds no array of frames",
        written("a.npz", b"PK"): "holds no array of frames",
    }
    np.save(tmp_path / "floats.npy", np.zeros((2, 3, 4), np.float32))
    cases[tmp_path / "floats.npy"] = r"of uint8, .* got \(2, 3, 4\) of float32"
    np.save(tmp_path / "cut.npy", numbered(3))
    data = (tmp_path / "cut.npy").read_bytes()
    cases[written("cut.npy", data[:-5])] = "ends within frame 2 of 3"
    for path, text in cases.items():
        with pytest.raises(VideoError, match=text) as caught:
            read_frames(path, SMALL)
        assert path.name in str(caught.value)
    for missing in (tmp_path / "a.mp4", [tmp_path / "a.png"]):
        with pytest.raises(FileNotFoundError, match="no file"):
            read_frames(missing, SMALL)


def test_covers_of_songs_are_no_video(tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    picture = av.VideoFrame.from_ndarray(numbered(1)[0], format="rgb24")
    picture.save(str(tmp_path / "cover.png"))
    data = (tmp_path / "cover.png").read_bytes()
    sound = write_sound(tmp_path / "a.mp3", "libmp3lame").read_bytes()
    # An ID3 tag with one frame, a picture: ISO 8859-1, its kind 3 (front), no description.
    body = b"\0image/png\0\x03\0" + data
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = len(frame)
    safe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    at = sound.index(b"\xff\xfb") if b"\xff\xfb" in sound else sound.index(b"\xff\xf3")
    song.write_bytes(b"ID3\x03\0\0" + safe + frame + sound[at:])
    with av.open(str(song)) as container:
        assert container.streams.video, "the tag was not understood"
    with pytest.raises(VideoError, match="holds no video, only audio"):
        read_frames(song, SMALL)


def test_pictures_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused before they are decoded: a small file may hold a huge black picture."""
    path = write_video(tmp_path / "a.mkv", numbered(1))
    monkeypatch.setattr(_containers, "MOST_PIXELS", 32 * 48)  # not more than that
    assert len(read_frames(path, SMALL).times) == 1
    monkeypatch.setattr(_containers, "MOST_PIXELS", 32 * 48 - 1)
    with pytest.raises(VideoError, match=r"has pictures of 48 x 32 pixels, more than 1,535: make"):
        read_frames(path, SMALL)


def test_more_frames_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "_MOST_BYTES", 2 * 32 * 48 * 3)
    assert len(read_frames(numbered(2), SMALL).times) == 2
    with pytest.raises(VideoError, match=r"array has more than 2 frames.* stream_frames"):
        read_frames(numbered(3), SMALL)
    assert len(read_frames(numbered(3), SMALL, limit=2).times) == 2


def test_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mkv", numbered(2))
    os.rename(path, tmp_path / "http:a.mkv")
    monkeypatch.chdir(tmp_path)
    assert numbers_of(read_frames("http:a.mkv", SMALL).images) == [0, 1]


def test_arguments(tmp_path: Path) -> None:
    frames = numbered(3)
    for limit in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="expected a limit of 1 frame or more"):
            read_frames(frames, SMALL, limit=limit)
    for start, end in ((-1.0, None), (2.0, 1.0), (float("nan"), None)):
        with pytest.raises(ValueError, match="expected 0 <= start < end"):
            read_frames(frames, SMALL, start=start, end=end)
    for values in (
        {"height": 0},
        {"width": 1.5},
        {"width": 10**6},
        {"colour": 1},
        {"rate": 0},
        {"rate": float("nan")},
        {"image_rate": -1},
        {"crop": "middle"},
        {"crop": (0.5, 0, 0.5, 1)},
        {"crop": (0, 0, 1, 2)},
    ):
        with pytest.raises(ValueError, match="expected"):
            FrameSettings(**values)


def test_settings_through_json() -> None:
    for settings in (SMALL, FrameSettings(8, 9, False, 12.5, (0.1, 0, 1, 0.5))):
        assert FrameSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_grey_of_numbers() -> None:
    assert len({grey(number) for number in range(64)}) == 64
