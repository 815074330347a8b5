"""What is this DATA? Class folders, idx files, built-in sets; keeping images back; and the check of every image."""

import gzip
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data.check import check
from saccade.data.decode import DecodeError
from saccade.data.findings import DataError, Finding
from saccade.data.formats.idx import read_array
from saccade.data.hold_out import held_out, hold_out
from saccade.data.looks import broken_images
from saccade.data.source import Source, Split, read
from saccade.data.targets import truth_of
from saccade.errors import UsageError
from saccade.geometry.masks import runs_of

Make = Callable[..., Path]


@contextmanager
def speaks_of(word: str) -> Iterator[None]:
    """Refusing is as good an answer as the right one, if the error says what is refused."""
    try:
        yield
    except DataError as error:
        if word not in str(error):
            raise


# --- class folders ----------------------------------------------------------------------------------------------------


def test_flat_class_folders(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {"dogs": 2, "cats": 3}))
    assert source.format == "class folders"
    assert source.classes == ("cats", "dogs")
    assert list(source.splits) == ["all"]
    split = source.splits["all"]
    assert list(split.ids) == ["cats/0.png", "cats/1.png", "cats/2.png", "dogs/0.png", "dogs/1.png"]
    assert split.labels.tolist() == [0, 0, 0, 1, 1]
    assert split.labels.dtype == np.int64
    assert source.notes == ()
    pixels = np.asarray(Image.open(tmp_path / "dogs" / "1.png"))
    assert np.array_equal(split.open(4).pixels("RGB")[0], pixels)
    assert split.content(4) == (tmp_path / "dogs" / "1.png").read_bytes()


def test_nested_class_folders(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {"animals/cats": 1, "animals/dogs": 1, "plants": 2}))
    assert source.classes == ("animals/cats", "animals/dogs", "plants")
    assert source.splits["all"].labels.tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("training", "validation", "test"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("Train", "VAL"), {"train", "val"}),
        (("train",), {"train"}),
        (("test",), {"test"}),
        (("Test",), {"test"}),
        (("validation",), {"val"}),
        (("valid", "test"), {"val", "test"}),
    ],
)
def test_folders_of_splits(tmp_path: Path, class_folders: Make, folders: tuple[str, ...], expected: set[str]) -> None:
    counts = {f"{folder}/{name}": 1 + number for number, folder in enumerate(folders) for name in ("cats", "dogs")}
    source = read(class_folders(tmp_path, counts))
    assert set(source.splits) == expected
    assert source.classes == ("cats", "dogs")
    found = {split.ids[0].split("/")[0]: split for split in source.splits.values()}
    assert {folder: len(split) for folder, split in found.items()} == {f: 2 + 2 * n for n, f in enumerate(folders)}
    for folder, split in found.items():
        assert all(id.startswith(f"{folder}/") for id in split.ids)


def test_runs_of_an_image_of_another_size_are_refused() -> None:
    """As after a turn by EXIF that the mask does not know of; an error in words, not a traceback."""
    scenes = read("scenes-64").splits["train"].take([0])
    assert scenes.objects is not None
    things = truth_of(scenes, 0, (64, 64), "objects")
    runs = tuple(runs_of(mask, (64, 64)) for mask in things.masks)
    odd = replace(scenes, objects=[replace(things, masks=runs)])  # pyright: ignore[reportArgumentType]
    assert truth_of(odd, 0, (64, 64), "objects").size == (64, 64)
    with pytest.raises(DataError, match=r"a mask is of 64 x 64 pixels .* but the image has 64 x 80"):
        truth_of(odd, 0, (64, 80), "objects")


def test_a_class_may_be_called_test(tmp_path: Path, class_folders: Make) -> None:
    """Without "train" beside it, and with other folders, it is a class like any other."""
    source = read(class_folders(tmp_path, {"test": 1, "cats": 1, "val": 1}))
    assert list(source.splits) == ["all"]
    assert source.classes == ("cats", "test", "val")


def test_a_class_may_be_called_train(tmp_path: Path, class_folders: Make) -> None:
    """Where it holds images and no folders, beside other classes."""
    source = read(class_folders(tmp_path, {"car": 1, "train": 2, "bus": 1}))
    assert (list(source.splits), source.classes) == (["all"], ("bus", "car", "train"))


def test_folders_beside_train_are_noted(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "originals/x": 1}))
    assert set(source.splits) == {"train", "val"}
    assert source.classes == ("a", "b")
    assert len(source.notes) == 1
    assert "originals" in source.notes[0]


def test_two_folders_for_one_split_are_not_lost_in_silence(tmp_path: Path, class_folders: Make) -> None:
    """val/ and valid/ mean the same; whichever is taken, the other must be spoken of, or both taken."""
    path = class_folders(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "valid/a": 2, "valid/b": 2})
    with speaks_of("val"):
        source = read(path)
        assert len(source.splits["val"]) == 6 or any("val" in note for note in source.notes)


def test_validation_may_lack_a_class(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1}))
    assert source.splits["val"].labels.tolist() == [0]


def test_suffixes_in_any_case(tmp_path: Path, paint: Make) -> None:
    suffixes = [
        ".jpg",
        ".JPG",
        ".jpeg",
        ".JPEG",
        ".Png",
        ".bmp",
        ".GIF",
        ".webp",
        ".TIF",
        ".tiff",
        ".ppm",
        ".PGM",
        ".jfif",
    ]
    for key, suffix in enumerate(suffixes):
        paint(tmp_path / "a" / "x.png", 0)
        source = tmp_path / "a" / "x.png"
        shutil.copy(source, tmp_path / "a" / f"{key}{suffix}")  # the content decides what it is, not the name
    source = read(tmp_path)
    assert len(source.splits["all"]) == len(suffixes) + 1
    assert source.notes == ()


def test_what_is_no_image_is_noted_once(tmp_path: Path, class_folders: Make, paint: Make) -> None:
    class_folders(tmp_path, {"cats": 2, "dogs": 1})
    (tmp_path / "cats" / "notes.txt").write_text("fed at noon")
    (tmp_path / "dogs" / "Thumbs.db").write_bytes(b"x")
    paint(tmp_path / "stray.png", 99)
    source = read(tmp_path)
    assert len(source.splits["all"]) == 3
    assert len(source.notes) == 2
    assert any("1 images directly in" in note for note in source.notes)
    assert any("2 files that are not images" in note and "notes.txt" in note for note in source.notes)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path, class_folders: Make, paint: Make) -> None:
    class_folders(tmp_path, {"cats": 1, "dogs": 1})
    paint(tmp_path / ".cache" / "x.png", 1)
    paint(tmp_path / "cats" / ".trash" / "x.png", 2)
    (tmp_path / "cats" / "._0.png").write_bytes(b"what a Mac leaves on a stick")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    source = read(tmp_path)
    assert source.classes == ("cats", "dogs")
    assert list(source.splits["all"].ids) == ["cats/0.png", "dogs/0.png"]
    assert source.notes == ()


@pytest.mark.parametrize("name", ["grey cat", "Häuser", "猫", "кошки", "a'b\"c", "-x", "100%", "[1]", "{0}", "🐈"])
def test_class_names_in_any_letters(tmp_path: Path, class_folders: Make, name: str) -> None:
    source = read(class_folders(tmp_path, {name: 1, "zz": 1}))
    assert set(source.classes) == {name, "zz"}
    assert f"{name}/0.png" in source.splits["all"].ids


def test_linked_folders_are_followed(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path / "elsewhere", {"cats": 2})
    class_folders(tmp_path / "data", {"dogs": 1})
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "elsewhere" / "cats")
    assert read(tmp_path / "data").splits["all"].labels.tolist() == [0, 0, 1]


def test_a_link_to_a_folder_above_does_not_go_round_for_ever(tmp_path: Path, class_folders: Make) -> None:
    """os.walk stops only when the path has grown too long for the system, with each image counted some forty times."""
    class_folders(tmp_path, {"cats": 1, "dogs": 1})
    (tmp_path / "cats" / "again").symlink_to(tmp_path)
    with speaks_of("again"):
        assert len(read(tmp_path).splits["all"]) == 2


def test_a_class_without_images_is_an_error(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"cats": 2, "dogs": 0})
    with pytest.raises(DataError, match=r"'dogs' has no images in .*dogs"):
        read(tmp_path)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_class_without_images_in_a_split_is_an_error(tmp_path: Path, class_folders: Make, missing: str) -> None:
    counts = {f"{split}/{name}": 1 for split in ("train", "val") for name in ("cats", "dogs")} | {f"{missing}/dogs": 0}
    class_folders(tmp_path, counts)
    with pytest.raises(DataError, match="dogs") as caught:
        read(tmp_path)
    assert str(tmp_path / missing / "dogs") in str(caught.value)


def test_a_class_only_in_val_is_an_error(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/c": 1})
    with pytest.raises(DataError, match="'c' has no images"):
        read(tmp_path)


def test_folders_without_any_image_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "list.txt").write_text("none")
    with pytest.raises(DataError, match=r"no folder of a class.*\.jpg"):
        read(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it holds nothing.*[\s\S]*train/cats"):
        read(tmp_path)


def test_images_without_class_folders_are_an_error(tmp_path: Path, paint: Make) -> None:
    paint(tmp_path / "1.png", 1)
    with pytest.raises(DataError, match=r"it holds 1\.png.*folders named after their classes"):
        read(tmp_path)


@pytest.mark.parametrize(("name", "nearest"), [("digit", "digits"), ("Photos", "photos"), ("photo", "photos")])
def test_a_name_that_is_none_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, nearest: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"did you mean '{nearest}'"):
        read(name)


def test_a_path_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no .*nowhere"):
        read(tmp_path / "nowhere")
    path = tmp_path / "a.zip"
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match="is a file"):
        read(path)


def test_a_folder_wins_over_a_built_in_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, class_folders: Make
) -> None:
    monkeypatch.chdir(class_folders(tmp_path, {"digits/a": 1, "digits/b": 1}))
    assert read("digits").classes == ("a", "b")


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, paint: Make) -> None:
    for key, name in enumerate(["b", "a", "C", "10", "9"]):
        paint(tmp_path / "x" / f"{name}.png", key)
    ids = list(read(tmp_path).splits["all"].ids)
    assert ids == sorted(ids) == ["x/10.png", "x/9.png", "x/C.png", "x/a.png", "x/b.png"]


# --- built in ---------------------------------------------------------------------------------------------------------


def test_digits() -> None:
    from sklearn.datasets import load_digits

    bunch, source = load_digits(), read("digits")
    split = source.splits["all"]
    assert len(split) == 1797
    assert source.classes == tuple("0123456789")
    assert np.bincount(split.labels).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]  # scikit-learn's page
    assert np.array_equal(split.labels, bunch.target)
    assert split.images.shape == (1797, 8, 8)
    assert split.images.dtype == np.uint8
    assert np.array_equal(split.images, np.floor(bunch.images * 255 / 16 + 0.5))
    assert len(set(split.ids)) == 1797
    assert split.open(0).size == (8, 8)
    assert split.content(0) == split.images[0].tobytes()


def test_photos(photographs: list[np.ndarray]) -> None:
    source = read("photos")
    split = source.splits["all"]
    assert source.classes == ("china", "flower")
    assert len(split) == 2
    assert split.labels.tolist() == [0, 1]
    assert split.images.shape == (2, 427, 640, 3)
    for index, photograph in enumerate(photographs):
        assert np.array_equal(split.open(index).pixels("RGB")[0], photograph)


# --- idx --------------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """LeCun's format, by hand: two zeros, 8 for bytes, the dimensions, their lengths big-endian, the values."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([2, 0, 1, 1, 0], dtype=np.uint8)


def write_idx(folder: Path, split: str = "train", zipped: bool = False, **content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    given = {"images": idx(IMAGES), "labels": idx(LABELS)} | content
    for kind, dimensions in (("images", 3), ("labels", 1)):
        if given[kind] is None:
            continue
        path = folder / f"{split}-{kind}-idx{dimensions}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(given[kind]) if zipped else given[kind])
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path: Path, zipped: bool) -> None:
    write_idx(tmp_path, zipped=zipped)
    write_idx(tmp_path, "t10k", zipped, images=idx(IMAGES[:2]), labels=idx(LABELS[:2]))
    source = read(tmp_path)
    assert source.format == "idx"
    assert source.classes == ("0", "1", "2")
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 5, "test": 2}
    assert np.array_equal(source.splits["train"].images, IMAGES)
    assert source.splits["train"].labels.tolist() == [2, 0, 1, 1, 0]
    assert source.splits["train"].labels.dtype == np.int64
    assert np.array_equal(source.splits["test"].open(1).pixels("L")[0][..., 0], IMAGES[1])


@pytest.mark.parametrize("name", ["train.images.idx3.ubyte", "train-images.idx3-ubyte", "train_images_idx3_ubyte"])
def test_idx_files_as_others_name_them(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / name)
    assert len(read(tmp_path).splits["train"]) == 5


def test_names_of_the_classes(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "classes.txt").write_text("T-shirt\nTrouser\n\n Été \nnever seen\n", encoding="utf-8")
    assert read(tmp_path).classes == ("T-shirt", "Trouser", "Été", "never seen")
    (tmp_path / "classes.txt").write_text("T-shirt\nTrouser\n")
    with pytest.raises(DataError, match=r"names 2 classes, but the labels run to 2"):
        read(tmp_path)


def test_names_of_the_classes_that_are_no_text(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "classes.txt").write_bytes("Été\nb\nc".encode("latin-1"))
    with pytest.raises(DataError, match=r"classes\.txt"):
        read(tmp_path)


IDX_DAMAGE = {
    "cut short": {"images": idx(IMAGES)[:-1]},
    "too long": {"labels": idx(LABELS) + b"x"},
    "no header": {"images": b"\0\0"},
    "empty": {"labels": b""},
    "wrong magic": {"images": b"\1" + idx(IMAGES)[1:]},
    "floats": {"images": bytes((0, 0, 13, 3)) + idx(IMAGES)[4:]},
    "wrong dimensions": {"images": idx(IMAGES[0])},
    "terabytes": {"images": bytes((0, 0, 8, 3)) + struct.pack(">III", 2**31, 1024, 1024)},
    "nearly 4 GiB": {"images": bytes((0, 0, 8, 3)) + struct.pack(">III", 65535, 256, 255)},
    "beyond 64 bits": {"images": bytes((0, 0, 8, 3)) + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1)},
    "none": {"images": idx(IMAGES[:0]), "labels": idx(LABELS[:0])},
    "pixels of no size": {"images": idx(IMAGES[:, :0])},
    "counts": {"labels": idx(LABELS[:4])},
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("damage", list(IDX_DAMAGE))
def test_damaged_idx_files_are_named(tmp_path: Path, damage: str, zipped: bool) -> None:
    write_idx(tmp_path, zipped=zipped, **IDX_DAMAGE[damage])
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    kind = "images" if "images" in IDX_DAMAGE[damage] else "labels"
    assert f"train-{kind}-idx" in str(caught.value)
    if damage == "counts":
        assert "5 images" in str(caught.value)
        assert "4 labels" in str(caught.value)


@pytest.mark.parametrize("keep", [5, 20, -4])
def test_a_gzip_that_is_cut_or_damaged(tmp_path: Path, keep: int) -> None:
    write_idx(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[:keep])
    with pytest.raises(DataError, match="train-images"):
        read(tmp_path)
    path.write_bytes(content[:20] + b"\xff\xfe\xfd" + content[23:])
    with pytest.raises(DataError, match="train-images"):
        read(tmp_path)
    path.write_bytes(idx(IMAGES))  # not zipped at all
    with pytest.raises(DataError, match="train-images"):
        read(tmp_path)


def test_a_gzip_bomb_does_not_unpack(tmp_path: Path) -> None:
    """Behind what the header promises lie 50 million zeros: they are refused, and not unpacked first."""
    write_idx(tmp_path, zipped=True, images=idx(IMAGES) + bytes(50_000_000))
    with pytest.raises(DataError, match="too long"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_a_missing_companion(tmp_path: Path, kind: str) -> None:
    write_idx(tmp_path)
    (tmp_path / f"train-{kind}-ubyte").unlink()
    with pytest.raises(DataError, match=f"no train-{kind.split('-')[0]}-idx"):
        read(tmp_path)


@pytest.mark.parametrize("names", [("t10k", "test"), ("val", "valid")])
def test_two_sets_of_idx_files_for_one_split_are_not_lost_in_silence(tmp_path: Path, names: tuple[str, str]) -> None:
    write_idx(tmp_path)
    for name in names:
        write_idx(tmp_path, name)
    with speaks_of(names[0]):
        source = read(tmp_path)
        assert sum(map(len, source.splits.values())) == 15 or any(names[0] in note for note in source.notes)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 3), st.data())
def test_any_bytes_give_an_array_or_a_data_error(length: int, dimensions: int, data: st.DataObject) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"saccade-idx-{os.getpid()}"
    start = data.draw(st.sampled_from([b"", bytes((0, 0, 8, dimensions)), bytes((0, 0, 8, 1, 0, 0, 0))]))
    path.write_bytes(start + data.draw(st.binary(min_size=length, max_size=length)))
    try:
        with speaks_of(str(path)):
            assert read_array(path, dimensions).ndim == dimensions
    finally:
        path.unlink()


# --- the values -------------------------------------------------------------------------------------------------------


def test_a_split_needs_as_many_of_everything() -> None:
    with pytest.raises(ValueError, match="2 ids needs as many labels but got 3"):
        Split(np.zeros((2, 4, 4), np.uint8), ["a", "b"], np.zeros(3, np.int64))


@pytest.mark.parametrize("labels", [[0, 2], [-1, 1]])
def test_labels_outside_the_classes_are_refused(labels: list[int]) -> None:
    split = Split(np.zeros((2, 4, 4), np.uint8), ["a", "b"], np.array(labels))
    with pytest.raises(DataError, match="but there are 2 classes"):
        Source("s", "f", ("a", "b"), {"all": split})


@pytest.mark.parametrize("indices", [[3, 1, 1], np.array([3, 1, 1]), []])
def test_take(tmp_path: Path, class_folders: Make, indices: list[int]) -> None:
    on_disk = read(class_folders(tmp_path, {"a": 3, "b": 2})).splits["all"]
    in_memory = Split(np.arange(5, dtype=np.uint8).reshape(5, 1, 1), on_disk.ids, on_disk.labels)
    for split in (on_disk, in_memory):
        taken = split.take(indices)
        assert list(taken.ids) == [split.ids[i] for i in indices]
        assert taken.labels.tolist() == [split.labels[i] for i in indices]
        assert [taken.content(i) for i in range(len(taken))] == [split.content(i) for i in indices]


# --- keeping images back ----------------------------------------------------------------------------------------------


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Split, tuple[str, ...]]:
    """Images of one pixel, some of them copies, even across classes; every class has two images of its own."""
    classes = draw(st.integers(2, 4))
    values, labels, shared = [], [], []
    for label in range(classes):
        own = draw(st.integers(2, 25))
        shared += [label * 30 + k for k in range(2, own)]
        values += [label * 30 + k for k in range(own)]
        labels += [label] * own
    for _ in range(draw(st.integers(0, 20))):
        if not shared:
            break
        values.append(draw(st.sampled_from(shared)))
        labels.append(draw(st.integers(0, classes - 1)))
    order = draw(st.permutations(range(len(values))))
    images = np.array(values, dtype=np.uint8)[list(order)].reshape(-1, 1, 1)
    names = tuple(f"class {label}" for label in range(classes))
    return Split(images, [f"{i}" for i in range(len(values))], np.array(labels)[list(order)]), names


fractions = st.sampled_from([0.05, 0.1, 0.2, 0.5, 0.9, 0.99])
PROPERTY = settings(deadline=None, derandomize=True, max_examples=80)


@PROPERTY
@given(labelled(), fractions, st.integers(0, 5))
def test_copies_never_stand_on_both_sides(given: tuple[Split, tuple[str, ...]], fraction: float, seed: int) -> None:
    split, classes = given
    kept = held_out(split, classes, fraction, seed)
    sides = {}
    for index, side in enumerate(kept):
        assert sides.setdefault(split.content(index), side) == side


@PROPERTY
@given(st.lists(st.integers(2, 60), min_size=2, max_size=4), fractions, st.integers(0, 5))
def test_each_class_keeps_the_fraction_and_some_on_both_sides(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1)
    split = Split(images, [str(i) for i in range(len(labels))], labels)
    kept = held_out(split, tuple(map(str, range(len(counts)))), fraction, seed)
    for label, count in enumerate(counts):
        back = int(kept[labels == label].sum())
        assert 1 <= back <= count - 1
        assert abs(back - fraction * count) <= 0.5 or back in (1, count - 1)


@PROPERTY
@given(labelled(), fractions, st.integers(0, 5))
def test_some_of_every_class_on_both_sides_even_with_copies(
    given: tuple[Split, tuple[str, ...]], fraction: float, seed: int
) -> None:
    """Whatever stands in two classes: no class may be left without training or without validation images."""
    split, classes = given
    kept = held_out(split, classes, fraction, seed)
    for label in range(len(classes)):
        assert set(kept[split.labels == label]) == {True, False}


@PROPERTY
@given(labelled(), fractions, st.integers(0, 5), st.randoms(use_true_random=False))
def test_neither_order_nor_names_matter(
    given: tuple[Split, tuple[str, ...]], fraction: float, seed: int, random: object
) -> None:
    split, classes = given
    order = list(range(len(split)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = split.take(order)
    renamed = Split(shuffled.images, [f"x{i}" for i in range(len(split))], shuffled.labels)
    assert np.array_equal(held_out(renamed, classes, fraction, seed), held_out(split, classes, fraction, seed)[order])


def test_another_seed_gives_another_choice() -> None:
    split = read("digits").splits["all"]
    classes = tuple("0123456789")
    choices = [held_out(split, classes, 0.2, seed) for seed in (0, 0, 1, 2)]
    assert np.array_equal(choices[0], choices[1])
    for first, second in ((0, 2), (0, 3), (2, 3)):
        share = (choices[first] & choices[second]).sum() / choices[first].sum()
        assert 0.1 < share < 0.3  # independent choices of a fifth have a fifth in common


def test_an_image_more_moves_hardly_any_other() -> None:
    """The choice hangs on the content, so a data set that grows keeps its division, but for the place of the cut."""
    split = read("digits").splits["all"]
    classes = tuple("0123456789")
    before, after = held_out(split.take(range(1700)), classes, 0.2, 0), held_out(split, classes, 0.2, 0)
    assert (before != after[:1700]).mean() < 0.03


def test_hold_out_of_digits() -> None:
    source = hold_out(read("digits"), 0.2, 0)
    train, val = source.splits["train"], source.splits["val"]
    assert set(source.splits) == {"train", "val"}
    assert len(train) + len(val) == 1797
    assert not set(train.ids) & set(val.ids)
    assert np.abs(np.bincount(val.labels) - 0.2 * np.bincount(read("digits").splits["all"].labels)).max() <= 1


def test_files_are_divided_by_content(tmp_path: Path, class_folders: Make) -> None:
    """The same files under other names, on another path, are divided alike; a copy goes with its original."""
    first = class_folders(tmp_path / "one", {"a": 12, "b": 12})
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for file in (first / name).iterdir():
            shutil.copy(file, tmp_path / "two" / name / f"z{99 - int(file.stem)}.png")
    shutil.copy(first / "a" / "3.png", tmp_path / "two" / "a" / "copy.png")
    sides = []
    for folder in (first, tmp_path / "two"):
        source = hold_out(read(folder), 0.25, 7)
        sides.append({name: {split.content(i) for i in range(len(split))} for name, split in source.splits.items()})
    assert sides[0] == sides[1]
    assert not sides[0]["train"] & sides[0]["val"]
    assert len(sides[0]["val"]) == 6


def test_no_fraction_keeps_nothing_back() -> None:
    source = hold_out(read("digits"), 0, 0)
    assert set(source.splits) == {"train"}
    assert len(source.splits["train"]) == 1797


def test_a_folder_for_validation_is_left_alone(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {f"{split}/{name}": 2 for split in ("train", "val") for name in ("a", "b")}))
    assert hold_out(source, 0.5, 0) is source


def test_the_test_folder_is_never_touched(tmp_path: Path, class_folders: Make) -> None:
    source = read(class_folders(tmp_path, {"train/a": 4, "train/b": 4, "test/a": 2, "test/b": 2}))
    divided = hold_out(source, 0.25, 0)
    assert {name: len(split) for name, split in divided.splits.items()} == {"train": 6, "val": 2, "test": 4}


@pytest.mark.parametrize("folders", [("test",), ("val",), ("val", "test")])
def test_without_a_folder_to_train_on(tmp_path: Path, class_folders: Make, folders: tuple[str, ...]) -> None:
    source = read(class_folders(tmp_path, {f"{split}/{name}": 2 for split in folders for name in ("a", "b")}))
    with pytest.raises(DataError, match="no train folder"):
        hold_out(source, 0.2, 0)


@pytest.mark.parametrize("copies", [1, 5])
def test_a_class_with_one_distinct_image_cannot_be_divided(copies: int) -> None:
    images = np.array([1, 2, 3] + [9] * copies, dtype=np.uint8).reshape(-1, 1, 1)
    split = Split(images, [str(i) for i in range(3 + copies)], np.array([0, 0, 0] + [1] * copies))
    with pytest.raises(DataError, match=r"'rare' has 1 different image.*hold_out=0"):
        held_out(split, ("often", "rare"), 0.2, 0)


# --- the check --------------------------------------------------------------------------------------------------------


def kinds(findings: list[Finding]) -> list[str]:
    return sorted(finding.kind for finding in findings)


def test_the_check_is_silent_on_clean_data(tmp_path: Path, class_folders: Make) -> None:
    counts = {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in ("a", "b")}
    checked = check(read(class_folders(tmp_path, counts)))
    assert checked.findings == []
    assert checked.notes == []
    assert {name: row.tolist() for name, row in checked.counts.items()} == {
        "train": [2, 2],
        "val": [2, 2],
        "test": [2, 2],
    }
    assert checked.sizes.tolist() == [[20, 24]] * 12


def test_the_check_is_silent_on_the_built_in_sets() -> None:
    assert check(read("digits")).findings == []
    checked = check(read("photos"))
    assert checked.findings == []
    assert checked.sizes.tolist() == [[427, 640]] * 2


def test_the_check_counts(tmp_path: Path, class_folders: Make) -> None:
    checked = check(read(class_folders(tmp_path, {"a": 1, "b": 4, "c": 2}, size=(7, 9))))
    assert checked.counts["all"].tolist() == [1, 4, 2]
    assert checked.as_dict()["images"] == {"all": {"a": 1, "b": 4, "c": 2}}
    assert any("unbalanced: 4 images of b, 1 of a" in note for note in checked.notes)


def test_the_check_finds_broken_images(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "1.png").write_bytes(b"")
    whole = (tmp_path / "b" / "2.png").read_bytes()
    (tmp_path / "b" / "2.png").write_bytes(whole[: len(whole) // 2])
    checked = check(read(tmp_path))
    assert kinds(checked.findings) == ["broken image"] * 2
    assert {finding.where for finding in checked.findings} == {"all/a/1.png", "all/b/2.png"}
    assert "0 bytes" in next(finding.reason for finding in checked.findings if "a/1" in finding.where)
    assert len(checked.sizes) == 4
    split = read(tmp_path).splits["all"]
    assert set(broken_images(split, "reading")) == {1, 5}


def test_the_check_finds_a_jpeg_whose_end_is_lost(tmp_path: Path, class_folders: Make) -> None:
    """The check decodes at an eighth of the size; damage in the last bytes must show even so."""
    class_folders(tmp_path, {"a": 2, "b": 1}, size=(300, 400), suffix=".jpg")
    path = tmp_path / "a" / "0.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    assert [finding.where for finding in check(read(tmp_path)).findings] == ["all/a/0.jpg"]


def test_the_check_finds_the_same_image_in_two_splits(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "val" / "a" / "9.png")
    findings = check(read(tmp_path)).findings
    assert kinds(findings) == ["same image in two splits"]
    assert findings[0].where == "train/train/a/0.png = val/val/a/9.png"


def test_the_check_finds_two_labels(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "b" / "9.png")
    findings = check(read(tmp_path)).findings
    assert kinds(findings) == ["two labels"]
    assert "a and b" in findings[0].reason


def test_the_check_says_both_when_an_image_has_two_labels_in_two_splits(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})
    for where in (("train", "b"), ("val", "a")):
        shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path.joinpath(*where) / "9.png")
    findings = check(read(tmp_path)).findings
    assert "two labels" in kinds(findings)
    assert all("val/val/a/9.png" in finding.where for finding in findings)


def test_copies_in_one_class_are_worth_a_note(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    for name in ("8", "9"):
        shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / f"{name}.png")
    checked = check(read(tmp_path))
    assert checked.findings == []
    assert checked.notes == ["2 images are copies of another one of the same class and split"]


def test_the_check_finds_missing_classes(tmp_path: Path, class_folders: Make) -> None:
    checked = check(read(class_folders(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1})))
    assert [(finding.kind, finding.where) for finding in checked.findings] == [("class without images", "val/b")]


def test_turned_images_are_worth_a_note(tmp_path: Path, class_folders: Make) -> None:
    class_folders(tmp_path, {"a": 1, "b": 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "a" / "t.jpg", exif=exif)
    checked = check(read(tmp_path))
    assert checked.findings == []
    assert any(note.startswith("1 images are stored turned") for note in checked.notes)
    assert [20, 10] in checked.sizes.tolist()


def test_an_image_that_vanishes_is_a_decode_error(tmp_path: Path, class_folders: Make) -> None:
    split = read(class_folders(tmp_path, {"a": 2, "b": 2})).splits["all"]
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(DecodeError, match=r"a/1\.png: cannot be read \(No such file"):
        split.open(1)
    with pytest.raises(DecodeError, match=r"a/1\.png"):
        split.content(1)
    assert set(broken_images(split, "")) == {1}
