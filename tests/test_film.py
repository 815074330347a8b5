"""Films: frame by frame in bounded memory, upright, whatever is wrong with them; for every task."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.checkpoint import Card
from saccade.data.decode import DecodeError
from saccade.data.film import Film
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model
from saccade.predict import Predictor
from saccade.recipes.predict import find_files
from saccade.recipes.predict_film import Writer, _fitted, check_places, predict_film
from saccade.structures import Preprocessing

av = pytest.importorskip("av", reason="films are read by PyAV, which is not installed")

Size = tuple[int, int]


def shade(number: int) -> int:
    """How bright frame `number` is."""
    return 40 + 16 * (number % 12)


def make(
    path: Path, sizes: Sequence[Size] = ((48, 64),) * 12, rate: int = 10, codec: str = "libx264", **options: Any
) -> Path:
    """A film of plain grey frames, by PyAV alone. Of changing sizes only where the codec takes them."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *sizes[0], "yuv420p" if codec != "rawvideo" else "rgb24"
        for number, size in enumerate(sizes):
            pixels = np.full((*size, 3), shade(number), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def changing(path: Path) -> Path:
    """A film whose frames change size in the middle: two pieces of a transport stream, one behind the other."""
    first, second = (
        make(path.with_name("a.ts"), codec="mpeg2video"),
        make(path.with_name("b.ts"), ((32, 32),) * 8, codec="mpeg2video"),
    )
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def predictor(task: str) -> Predictor:
    names = {"classify": "lenet", "detect": "aligned", "segment": "unet", "image_to_image": "unet_image"}
    options = {
        "detect": {"backbone": "resnet18", "width": 16, "depth": 1},
        "segment": {"width": 4, "padded": True},
        "image_to_image": {"width": 4},
        "classify": {},
    }[task]
    classes = ("red", "green", "blue") if task == "image_to_image" else ("cat", "dog")
    preprocessing = {
        "classify": Preprocessing((28, 28), 28, "L", (0.5,), (0.5,)),
        "detect": Preprocessing.whole(64, 64),
    }.get(task, Preprocessing.windows(64))
    model = create_model(names[task], len(classes), in_channels=preprocessing.channels, **options)
    return Predictor(model, Card(names[task], task, classes, preprocessing, options=options))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_every_frame_comes_in_order_with_its_time(tmp_path: Path, suffix: str) -> None:
    film = Film(make(tmp_path / f"film{suffix}", codec="libx264" if suffix != ".avi" else "mpeg4"))
    assert film.count == 12 and film.rate == 10
    for _ in range(2):  # from the beginning each time
        frames = list(film)
        assert [frame.pixels.shape for frame in frames] == [(48, 64, 3)] * 12
        assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in range(12)], abs=0.002)
        for number, frame in enumerate(frames):
            assert np.abs(frame.pixels.astype(int) - shade(number)).mean() < 4


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    frames = list(Film(make(tmp_path / "one.mp4", ((48, 64),))))
    assert len(frames) == 1 and frames[0].seconds == 0


def test_without_a_duration(tmp_path: Path) -> None:
    """A live stream that was saved: nothing says how long it is."""
    path = make(tmp_path / "live.mkv", format="matroska", options={"live": "1"})
    film = Film(path)
    assert film.count is None
    assert len(list(film)) == 12


def test_sizes_that_change(tmp_path: Path) -> None:
    frames = list(Film(changing(tmp_path / "both.ts")))
    assert [frame.pixels.shape[:2] for frame in frames].count((32, 32)) == 8
    assert frames[0].pixels.shape[:2] == (48, 64)
    seen = predict_film(predictor("detect"), tmp_path / "both.ts", tmp_path / "out")
    assert seen.frames == len(frames) and seen.error is None
    drawn = list(Film(seen.film))
    assert len({frame.pixels.shape for frame in drawn}) == 1, "as large as the first"
    times = [frame.seconds for frame in drawn]
    assert times == sorted(times)


def test_held_upright(tmp_path: Path) -> None:
    """What a telephone wrote on its side comes upright."""
    import av

    path = tmp_path / "plain.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        pixels = np.zeros((48, 64, 3), dtype=np.uint8)
        pixels[:, :32] = 220
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    # The matrix of the track: as it is, and turned by a quarter clockwise (ISO 14496-12, section 8.3.2).
    plain = b"".join(value.to_bytes(4, "big") for value in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    turned = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    )
    track = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:track] + turned + data[track + len(plain) :])
    frame = next(iter(Film(path))).pixels
    assert frame.shape == (64, 48, 3)
    # The left half of the picture is its upper half when turned clockwise.
    assert frame[:28].mean() > 200 and frame[36:].mean() < 20


def test_a_film_cut_short(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole.mp4", ((48, 64),) * 60, options={"movflags": "faststart"})
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 3 // 4])
    read: list[float] = []
    with pytest.raises(DecodeError, match=r"cut\.mp4: breaks off after \d+"):
        read.extend(frame.seconds for frame in Film(cut))
    count = len(read)
    assert 0 < count < 60
    seen = predict_film(predictor("classify"), cut, tmp_path / "out")
    assert seen.error is not None and seen.frames == count
    assert len(list(Film(seen.film))) == count == len(seen.lines.read_text().splitlines())
    # Without its index, which other films have at their end, nothing can be read.
    tail = make(tmp_path / "tail.mp4", ((48, 64),) * 60)
    tail.write_bytes(tail.read_bytes()[:-200])
    with pytest.raises(DecodeError, match="it may be cut short"):
        Film(tail)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_sound_that_goes_on_is_no_lack_of_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"loud{suffix}"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=10)
        pictures.height, pictures.width, pictures.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac", rate=48_000)
        for number in range(12):
            pixels = np.full((48, 64, 3), shade(number), dtype=np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for number in range(3 * 48):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1000), dtype=np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48_000, 1000 * number
            container.mux(sound.encode(silence))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    film = Film(path)
    assert film.count == 12
    assert len(list(film)) == 12


def test_a_rate_that_cannot_be_is_not_believed(tmp_path: Path) -> None:
    with Writer(tmp_path / "film.mp4", Fraction(90_000)) as writer:
        for number in range(30):
            writer.add(np.full((48, 64, 3), shade(number), dtype=np.uint8), number / 25)
    assert len(list(Film(tmp_path / "film.mp4"))) == 30


def test_several_films_must_not_become_one(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = [make(tmp_path / "clip.mp4"), make(tmp_path / "b" / "clip.mov")]
    with pytest.raises(UsageError, match="would both become"):
        check_places(paths, tmp_path / "out")
    check_places(paths[:1], tmp_path / "out")
    (tmp_path / "clip-predicted.jsonl").touch()
    with pytest.raises(UsageError, match="is there already"):
        check_places(paths[:1], tmp_path)


def test_what_is_no_film(tmp_path: Path) -> None:
    for name, content in (("empty.mp4", b""), ("noise.mp4", np.random.default_rng(0).bytes(5000))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DecodeError, match=f"{name}: cannot be read as a film"):
            Film(tmp_path / name)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="has no pictures"):
        Film(sound)


@pytest.mark.parametrize("task", ["classify", "detect", "segment", "image_to_image"])
def test_a_film_of_every_task(tmp_path: Path, task: str) -> None:
    """As many frames and lines as came in, each line what the predictor says of the frame alone."""
    path, asked = make(tmp_path / "clip.mp4", ((50, 70),) * 5), predictor(task)
    seen = predict_film(asked, path, tmp_path / "out")
    assert (seen.film.name, seen.lines.name) == ("clip-predicted.mp4", "clip-predicted.jsonl")
    lines = [json.loads(line) for line in seen.lines.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(5)) and lines[3]["seconds"] == pytest.approx(0.3)
    frames = list(Film(seen.film))
    assert len(frames) == 5 and frames[4].seconds == pytest.approx(0.4, abs=0.01)
    said = asked(list(Film(path))[2].pixels)
    if task == "classify":
        assert lines[2]["class"] == said.name
    elif task == "segment":
        assert lines[2]["pixels"] == said.areas()
    with pytest.raises(UsageError, match="is there already"):
        predict_film(asked, path, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["clip-predicted.jsonl", "clip-predicted.mp4"]


def test_films_in_a_folder_are_found(tmp_path: Path) -> None:
    """Beside images or alone; and a folder of neither is an error."""
    for name in ("a.jpg", "more/b.png", "more/c.MP4", "d.mov", "notes.txt", "films/e.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images, films = find_files([tmp_path])
    assert [file.name for file in images] == ["a.jpg", "b.png"]
    assert [file.name for file in films] == ["d.mov", "e.avi", "c.MP4"]
    assert find_files([tmp_path / "films"]) == ([], [tmp_path / "films" / "e.avi"])
    assert find_files([tmp_path / "d.mov", tmp_path / "a.jpg"]) == ([tmp_path / "a.jpg"], [tmp_path / "d.mov"])
    (tmp_path / "empty").mkdir()
    for wrong, words in (("empty", "holds no images"), ("nowhere", "There is no")):
        with pytest.raises(UsageError, match=words):
            find_files([tmp_path / wrong])


def test_nothing_is_left_where_nothing_can_be_read(tmp_path: Path) -> None:
    path = make(tmp_path / "clip.mp4", ((48, 64),) * 4, options={"movflags": "faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start])
    with pytest.raises(DecodeError):
        predict_film(predictor("classify"), path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_times_that_stand_still_are_written_all_the_same(tmp_path: Path) -> None:
    with Writer(tmp_path / "still.mp4", Fraction(30000, 1001)) as writer:
        for seconds in (0.0, 0.0, 0.5, 0.4):
            writer.add(np.zeros((33, 47, 3), dtype=np.uint8), seconds)
    frames = list(Film(tmp_path / "still.mp4"))
    assert len(frames) == 4 and frames[0].pixels.shape == (34, 48, 3)


def test_a_film_that_nothing_here_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saccade.recipes.predict_film.CODECS", ("one", "another"))
    with (
        pytest.raises(SaccadeError, match="this PyAV can write none of one, another; install another"),
        Writer(tmp_path / "film.mp4", Fraction(10)) as writer,
    ):
        writer.add(np.zeros((32, 32, 3), dtype=np.uint8), 0.0)


def test_an_odd_side_is_made_even_without_a_blur() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    even = _fitted(pixels, (6, 8))
    assert (even[:5, :7] == pixels).all()
    assert (even[5, :7] == pixels[4]).all() and (even[:5, 7] == pixels[:, 6]).all()
    assert _fitted(pixels, (5, 7)).tolist() == pixels.tolist()
    assert _fitted(np.full((4, 8, 3), 9, np.uint8), (8, 8))[2:6].tolist() == np.full((4, 8, 3), 9).tolist()


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_thousand_frames(tmp_path: Path) -> None:
    """The most memory of a process that looks at 10,000 frames, beside one that looks at 500."""
    import subprocess
    import sys

    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.test_film import make, predictor
from saccade.recipes.predict_film import predict_film
folder = Path(sys.argv[2])
make(folder / "clip.mp4", ((48, 64),) * int(sys.argv[1]))
asked = predictor("classify")
assert predict_film(asked, folder / "clip.mp4", folder).frames == int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    most = []
    for count in (500, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        command = [sys.executable, "-c", code, str(count), str(folder), str(Path(__file__).parents[1])]
        most.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert most[1] - most[0] < 24 * 1024, f"{most} KiB"
