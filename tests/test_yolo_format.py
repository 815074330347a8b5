"""YOLO, read and written: known sets, there and back, and files that are broken in every way."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sets import objects_of

from saccade.data.findings import DataError, Findings
from saccade.data.formats import yolo
from saccade.data.formats.yolo_write import ring_of
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.data.source import Source, Split
from saccade.data.source import read as read_any
from saccade.errors import UsageError
from saccade.geometry.masks import Mask, Polygon, Runs, bitmap, runs_from_bitmap
from saccade.structures import Skeleton

DATA = "path: .\ntrain: images/train\nnames: [cat, dog]\n"
SIZE = (20, 24)  # of the images that are painted here


@pytest.fixture
def make(tmp_path, paint):
    """make({"train/a": LABELS or None}, YAML or None) makes images/, labels/ and data.yaml."""

    def build(labels: dict[str, str | bytes | None], about: str | bytes | None = DATA) -> Path:
        for key, (name, text) in enumerate(labels.items()):
            paint(tmp_path / "images" / f"{name}.png", key)
            file = tmp_path / "labels" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                file.write_bytes(text if isinstance(text, bytes) else text.encode())
        if about is not None:
            (tmp_path / "data.yaml").write_bytes(about if isinstance(about, bytes) else about.encode())
        return tmp_path

    return build


def read(path: Path) -> Source:
    assert yolo.recognises(path)
    return yolo.read(path, Findings())


# Reading


def test_coco128_boxes(shared):
    """128 pictures; the labels of two of them have other names, and two of the labels no picture."""
    source = read(shared / "data" / "coco128" / "object_detection" / "config.yaml")
    split, objects = source.splits["train"], objects_of(source, "train")
    assert len(split) == 128
    assert len(source.classes) == 80
    folder = shared / "data" / "coco128" / "object_detection" / "labels" / "train2017"
    files = [(folder / id).with_suffix(".txt") for id in split.ids]
    assert objects.count == sum(len(file.read_text().splitlines()) for file in files if file.exists())
    first = objects[split.ids.index("000000000009.jpg")]
    class_id, x, y, width, height = map(float, (folder / "000000000009.txt").read_text().splitlines()[0].split())
    with Image.open(shared / "data" / "coco128" / "images" / "train2017" / "000000000009.jpg") as image:
        scale = np.array([*image.size, *image.size])
    expected = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * scale
    np.testing.assert_allclose(first.boxes[0], expected, rtol=1e-12)
    assert source.classes[first.labels[0]] == "bowl"
    assert int(class_id) == 45
    assert any("2 files of labels have no image" in note for note in source.notes)
    assert any("2 of 128 images have no file of labels" in note for note in source.notes)
    assert any(note.startswith("val was left out") for note in source.notes)


def test_coco128_polygons(shared):
    """Its ids are COCO's 1 to 90 with gaps; images without labels are to be skipped, says its YAML file."""
    source = read(shared / "data" / "coco128" / "instance_segmentation")
    objects = objects_of(source, "train")
    assert len(source.splits["train"]) == 100
    assert len(source.classes) == 80
    assert (source.classes[0], source.classes[11], source.classes[79]) == ("person", "stop sign", "toothbrush")
    assert any(note.startswith("28 of 128 images were left out") for note in source.notes)
    assert objects.masks is not None
    assert (np.diff(objects.masks.ring_starts) == 1).all()
    low = np.minimum.reduceat(objects.masks.points, objects.masks.point_starts[:-1])
    np.testing.assert_allclose(objects.boxes[:, :2], low, rtol=1e-5)


def test_boxes_and_polygons_and_nothing(make):
    labels = "0 0.5 0.5 0.25 0.5\n\n1 0.25 0.5 0.75 0.5 0.5 1.25\n"
    source = read(make({"train/a": labels, "train/b": "", "train/c": None, "train/deep/d": "1 0 0 1 1"}))
    split, objects = source.splits["train"], objects_of(source, "train")
    assert split.ids == ["a.png", "b.png", "c.png", "deep/d.png"]
    assert objects.starts.tolist() == [0, 2, 2, 2, 3]
    assert objects.boxes.tolist() == [[9, 5, 15, 15], [6, 10, 18, 25], [-12, -10, 12, 10]]
    assert objects.labels.tolist() == [0, 1, 1]
    assert objects.sizes.tolist() == [list(SIZE)] * 4
    masks = objects[0].masks
    assert masks is not None
    assert masks[0] is None
    assert isinstance(masks[1], Polygon)
    assert masks[1].rings[0].tolist() == [[6, 10], [18, 10], [12, 25]]
    assert objects.where(1).endswith("labels/train/a.txt: line 3")
    assert source.notes[-1].startswith("1 of 4 images have no file of labels")


def test_sizes_are_upright(make, tmp_path):
    path = make({"train/a": "0 0.5 0.5 1 1"})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(path / "images" / "train" / "a.png", exif=exif)
    assert objects_of(read(path), "train").boxes.tolist() == [[0, 0, 10, 30]]


def test_keypoints(make):
    about = (
        "train: images/train\nnames: {0: person}\nkpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names: {0: [left, right]}\n"
    )
    source = read(make({"train/a": "0 0.5 0.5 1 1 0.25 0.5 2 0 0 0"}, about))
    objects = objects_of(source, "train")
    assert objects.keypoints is not None
    assert objects.keypoints.tolist() == [[[6, 10, 2], [0, 0, 0]]]
    assert objects.skeleton == Skeleton(("left", "right"), (), (1, 0), (0.05, 0.05))
    assert objects.masks is None


def test_keypoints_without_visibility(make):
    source = read(make({"train/a": "0 0.5 0.5 1 1 0.25 0.5 0 0"}, DATA + "kpt_shape: [2, 2]\n"))
    objects = objects_of(source, "train")
    assert objects.keypoints is not None
    assert objects.keypoints.tolist() == [[[6, 10, 2], [0, 0, 0]]]
    assert objects.skeleton is not None
    assert objects.skeleton.mirror == (0, 1)


def test_seventeen_keypoints_are_those_of_coco(make):
    """As in the descriptions of COCO's persons that are in use: 17, no names, left and right in turn."""
    mirror = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    about = DATA + f"kpt_shape: [17, 3]\nflip_idx: {mirror}\n"
    skeleton = objects_of(read(make({"train/a": ""}, about)), "train").skeleton
    assert skeleton is not None
    assert skeleton.names[9] == "left_wrist"
    assert skeleton.sigmas[:3] == (0.026, 0.025, 0.025)
    other = objects_of(read(make({"train/a": ""}, DATA + "kpt_shape: [17, 3]\n")), "train").skeleton
    assert other is not None
    assert other.names[9] == "9"


def test_names_stay_words(make):
    """YAML 1.1 takes no for false, 3 for a number and null for nothing; here they are names."""
    source = read(make({"train/a": "9 0 0 1 1"}, "train: images/train\nnames:\n  2: no\n  9: 3\n  4: null\n"))
    assert source.classes == ("no", "null", "3")
    assert objects_of(source, "train").labels.tolist() == [2]


@pytest.mark.parametrize("layout", ["images/train", "train/images"])
def test_without_a_description(tmp_path, paint, layout):
    for split in ("train", "valid"):
        folder = tmp_path / layout.replace("train", split)
        paint(folder / "a.png", 1)
        labels = tmp_path / layout.replace("train", split).replace("images", "labels")
        labels.mkdir(parents=True)
        (labels / "a.txt").write_text("7 0.5 0.5 1 1\n3 0.5 0.5 1 1\n")
    source = read(tmp_path)
    assert set(source.splits) == {"train", "val"}
    assert source.classes == ("3", "7")
    assert objects_of(source, "val").labels.tolist() == [1, 0]
    (tmp_path / "classes.txt").write_text("\n".join("abcdefgh"))
    assert objects_of(read(tmp_path), "train").labels.tolist() == [7, 3]


def test_labels_beside_images_that_are_not_called_so(tmp_path, paint):
    paint(tmp_path / "pictures" / "a.png", 1)
    (tmp_path / "pictures" / "a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "set.yml").write_text("val: pictures\nnames: [cat]\n")
    assert objects_of(read(tmp_path), "val").count == 1


def test_labels_beside_the_description(make, tmp_path):
    """Several sets of labels of the same images: these are one folder up, without labels of their own."""
    path = make({"train/a": "0 0.5 0.5 1 1", "train/b": None})
    (path / "boxes").mkdir()
    for name in ("labels", "data.yaml"):
        (path / name).rename(path / "boxes" / name)
    (path / "boxes" / "labels" / "train" / "ghost.txt").write_text("0 0.5 0.5 1 1")
    source = read(path / "boxes")
    assert objects_of(source, "train").starts.tolist() == [0, 1, 1]
    assert source.notes[0].startswith("1 files of labels have no image")
    assert "ghost.txt" in source.notes[0]


def test_lists_of_images(make):
    path = make(
        {"train/a": "0 0.5 0.5 1 1", "train/b": "1 0.5 0.5 1 1", "val/c": ""},
        "train: [lists/train.txt]\nval: [images/val]\nnames: [cat, dog]\n",
    )
    (path / "lists").mkdir()
    (path / "lists" / "train.txt").write_text("./images/train/b.png\n\n../images/train/a.png\n")
    source = read(path)
    assert source.splits["train"].ids == ["b.png", "a.png"]
    assert objects_of(source, "train").labels.tolist() == [1, 0]
    assert source.splits["val"].ids == ["c.png"]


def test_paths_as_roboflow_writes_them(tmp_path, paint):
    paint(tmp_path / "train" / "images" / "a.png", 1)
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n")
    assert objects_of(read(tmp_path), "train").count == 1


def test_a_path_from_another_machine(make):
    path = make({"train/a": "0 0.5 0.5 1 1"}, DATA.replace("path: .", "path: /home/somebody/data"))
    assert objects_of(read(path), "train").count == 1


def test_relative_paths(make, monkeypatch):
    path = make({"train/a": "0 0.5 0.5 1 1"})
    monkeypatch.chdir(path)
    assert objects_of(read(Path("data.yaml")), "train").count == 1
    (path / "sub").mkdir()
    (path / "data.yaml").rename(path / "sub" / "data.yaml")
    monkeypatch.chdir(path / "sub")
    assert objects_of(read(Path("data.yaml")), "train").count == 1


# Broken files: what must be named

BAD_LINES: dict[str, tuple[str, str]] = {
    "words": ("0 left 0.5 0.5 0.5", "a.txt: line 2: 'left' is no coordinate"),
    "nan": ("0 nan 0.5 0.5 0.5", "a.txt: line 2: 'nan' is no coordinate"),
    "infinite": ("0 0.5 0.5 inf 0.5", "a.txt: line 2: 'inf' is no coordinate"),
    "minus infinite": ("0 0.5 0.5 0.5 -Infinity", "a.txt: line 2: '-Infinity' is no coordinate"),
    "huge": ("0 0.5 0.5 0.5 1e300", "a.txt: line 2: '1e300' is no coordinate"),
    "many digits": ("0 0.5 0.5 0.5 " + "9" * 5000, "a.txt: line 2: '9999"),
    "underscore": ("0 0.5 0.5 0.5 1_0", "a.txt: line 2: '1_0' is no coordinate"),
    "commas": ("0, 0.5, 0.5, 0.5, 0.5", "a.txt: line 2: '0,' is no coordinate"),
    "decimal commas": ("0 0,5 0,5 0,5 0,5", "a.txt: line 2: '0,5' is no coordinate"),
    "hexadecimal": ("0 0x1 0.5 0.5 0.5", "a.txt: line 2: '0x1' is no coordinate"),
    "id alone": ("0", "a.txt: line 2: has 1 numbers; expected 5 for a box"),
    "no height": ("0 0.5 0.5 0.5", "a.txt: line 2: has 4 numbers"),
    "a confidence": ("0 0.5 0.5 0.5 0.5 0.9", "a.txt: line 2: has 6 numbers"),
    "half a point": ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.5", "a.txt: line 2: has 8 numbers"),
    "a name for an id": ("cat 0.5 0.5 0.5 0.5", "a.txt: line 2: 'cat' is no coordinate"),
    "negative id": ("-1 0.5 0.5 0.5 0.5", "a.txt: line 2: begins with '-1'; expected a class id"),
    "fractional id": ("0.5 0.5 0.5 0.5 0.5", "a.txt: line 2: begins with '0.5'; expected a class id"),
    "huge id": ("1e18 0.5 0.5 0.5 0.5", "a.txt: line 2: begins with '1e18'"),
    "nan id": ("nan 0.5 0.5 0.5 0.5", "a.txt: line 2: "),
    "infinite id": ("inf 0.5 0.5 0.5 0.5", "a.txt: line 2: "),
    "unknown id": ("2 0.5 0.5 0.5 0.5", "a.txt: line 2: the class id 2 has no name; known are 0 to 1"),
    "a zero byte": ("0 0.5\x000.5 0.5 0.5", "a.txt: line 2: "),
    "XML": ("<annotation>", "a.txt: line 2: '<annotation>' is no coordinate"),
    "JSON": ('{"a": 1}', "a.txt: line 2: "),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_broken_lines(make, case):
    line, words = BAD_LINES[case]
    path = make({"train/a": f"0 0.5 0.5 1 1\n{line}\n1 0.5 0.5 1 1\n"})
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    objects = objects_of(yolo.read(path, findings), "train")
    assert [finding.kind for finding in findings.kept] == ["broken annotation"]
    assert objects.ids.tolist() == [1, 3]
    assert objects.labels.tolist() == [0, 1]


def test_a_file_of_faults_is_not_read_to_its_end(make):
    """A finding a line of a large file that is something else would take all memory."""
    path = make({"train/a": "0 0.5 0.5 1 1\n" + "x\n" * 5000 + "0 0.5 0.5 1 1\n"})
    findings = Findings(strict=False)
    assert objects_of(yolo.read(path, findings), "train").count == 1
    assert len(findings.kept) == 101
    assert "line 101: has 100 broken lines before it" in str(findings.kept[-1])


BAD_KEYPOINTS: dict[str, tuple[str, str]] = {
    "none": ("0 0.5 0.5 1 1", "line 1: has 5 numbers; expected 11"),
    "too few": ("0 0.5 0.5 1 1 0.5 0.5 2", "line 1: has 8 numbers; expected 11"),
    "too many": ("0 0.5 0.5 1 1" + " 0.5 0.5 2" * 3, "line 1: has 14 numbers; expected 11"),
    "visibility": ("0 0.5 0.5 1 1 0.5 0.5 3 0.5 0.5 1", "line 1: a keypoint has the visibility 3"),
    "half visible": ("0 0.5 0.5 1 1 0.5 0.5 0.5 0.5 0.5 1", "line 1: a keypoint has the visibility 0.5"),
    "nan": ("0 0.5 0.5 1 1 0.5 nan 2 0.5 0.5 1", "line 1: 'nan' is no coordinate"),
}


@pytest.mark.parametrize("case", BAD_KEYPOINTS)
def test_broken_keypoints(make, case):
    line, words = BAD_KEYPOINTS[case]
    path = make({"train/a": line}, DATA + "kpt_shape: [2, 3]\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    assert objects_of(yolo.read(path, Findings(strict=False)), "train").count == 0


LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\ntrain: images/train\nnames: [cat]\n"
BAD_DATA: dict[str, tuple[str | bytes, str]] = {
    "binary": (b"names: \x00\xff\ntrain: images/train\n" + DATA.encode(), "data.yaml"),
    "an alias": (LAUGHS, "data.yaml: line 2: is no YAML that can be read here (has an alias"),
    "a loop": ("train: &a [*a]\nnames: [cat]\n", "data.yaml: line 1"),
    "code": ("train: !!python/object/apply:os.system [ls]\nnames: [cat]\n", "train: there is no"),
    "unclosed": (DATA + "x: [1, 2", "data.yaml: line 4: is no YAML"),
    "bad indentation": (DATA + "  x: 1\n y: 2\n", "data.yaml: line"),
    "tabs": ("names:\n\t- cat\ntrain: images/train\n", "data.yaml: line 2"),
    "a key twice": (
        DATA + "train: images/val\n",
        "data.yaml: line 4: is no YAML that can be read here (has 'tr",
    ),
    "a list as a key": (DATA + "? [a, b]\n: c\n", "data.yaml: line 4"),
    "nested too deep": (DATA + "x: " + "[" * 20_000, "data.yaml: is no YAML that can be read here (nested too deep"),
    "two documents": (DATA + "---\n" + DATA, "data.yaml: line 4"),
    "too large": (DATA + "#" * (1 << 17), "data.yaml has more than 131,072 bytes"),
    "no names in it": ("train: images/train\nnames: []\n", "data.yaml: names: expected a list of classes"),
    "a word for names": ("train: images/train\nnames: cat\n", "data.yaml: names: expected a list of classes"),
    "an empty name": ("train: images/train\nnames: ['']\n", "data.yaml: names: '0': '' is no class"),
    "a nested name": ("train: images/train\nnames: [[cat]]\n", "data.yaml: names: '0': \"['cat']\" is no class"),
    "a word for an id": ("train: images/train\nnames: {cat: 0}\n", "data.yaml: names: 'cat': '0' is no class"),
    "a negative id": ("train: images/train\nnames: {-1: cat}\n", "data.yaml: names: '-1': 'cat' is no class"),
    "a huge id": ("train: images/train\nnames: {9999999999: cat}\n", "data.yaml: names: '9999999999'"),
    "one id twice": ("train: images/train\nnames: {1: cat, 01: dog}\n", "names: has the class id 1 twice"),
    "nc": (DATA + "nc: 3\n", "data.yaml: nc is '3', but names has 2"),
    "no such folder": ("train: pictures\nnames: [cat]\n", "pictures; correct the path, or remove the line"),
    "a mapping for train": ("train: {a: b}\nnames: [cat]\n", "train is \"{'a': 'b'}\"; expected a folder"),
    "a zero byte": ('train: "a\\0b"\nnames: [cat]\n', "expected a folder or a list of folders"),
    "a long name": ("train: " + "a" * 5000 + "\nnames: [cat]\n", "train: there is no"),
    "empty": ("", "data.yaml: expected 'name: value' lines"),
    "no names": ("train: images/train\n", "data.yaml: names: expected a list of classes"),
    "keypoints of a word": (DATA + "kpt_shape: many\n", "data.yaml: kpt_shape is 'many'; expected a list of whole"),
    "keypoints of 4 numbers": (DATA + "kpt_shape: [2, 4]\n", "data.yaml: kpt_shape is [2, 4]; expected [17, 3]"),
    "no keypoints": (DATA + "kpt_shape: [0, 3]\n", "data.yaml: kpt_shape is [0, 3]"),
    "a billion keypoints": (DATA + "kpt_shape: [999999999, 3]\n", "data.yaml: kpt_shape is [999999999, 3]"),
    "a mirror of another": (DATA + "kpt_shape: [2, 3]\nflip_idx: [0]\n", "data.yaml: flip_idx: "),
    "a mirror one way": (DATA + "kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n", "data.yaml: flip_idx: "),
    "a mirror of words": (DATA + "kpt_shape: [2, 3]\nflip_idx: [a, b]\n", "data.yaml: flip_idx is \"['a', 'b']\""),
    "names of keypoints": (
        DATA + "kpt_shape: [2, 3]\nkpt_names: [a]\n",
        "data.yaml: kpt_names is \"['a']\"; expect",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_broken_descriptions(make, case):
    content, words = BAD_DATA[case]
    path = make({"train/a": "0 0.5 0.5 1 1"}, content)
    for findings in (Findings(), Findings(strict=False)):
        with pytest.raises(DataError) as caught:
            read_any(path / "data.yaml", findings)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)


def test_what_a_description_names_and_nobody_finds(make, tmp_path):
    path = make({"train/a": "0 0.5 0.5 1 1"}, "train: images/train\nval: images/val\ntest: ghosts\nnames: [cat]\n")
    (path / "images" / "val").mkdir()
    assert read(path).notes == (
        f"val was left out, for there is no image in {path / 'images' / 'val'}",
        f"test was left out, for there is no {path / 'ghosts'}",
    )


def test_labels_that_nobody_finds(make, tmp_path):
    path = make({"train/a": None, "train/b": None})
    with pytest.raises(DataError, match=r"no image has a file of labels; expected .*labels/train/a\.txt"):
        read(path)


def test_folders_that_are_no_splits_are_said(tmp_path, paint):
    for name in ("train", "holdout"):
        paint(tmp_path / "images" / name / "a.png", len(name))
        (tmp_path / "labels" / name).mkdir(parents=True)
        (tmp_path / "labels" / name / "a.txt").write_text("0 .5 .5 1 1\n")
    source = read(tmp_path)
    assert list(source.splits) == ["all"]
    assert source.notes[0].startswith(f"holdout in {tmp_path / 'images'} are no splits that are known")


def test_what_a_system_leaves_beside_the_splits_does_not_mix_them(tmp_path, paint):
    for name in ("train", "val"):
        paint(tmp_path / "images" / name / "a.png", len(name))
        (tmp_path / "labels" / name).mkdir(parents=True)
        (tmp_path / "labels" / name / "a.txt").write_text("0 .5 .5 1 1\n")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    assert set(read(tmp_path).splits) == {"train", "val"}
    paint(tmp_path / "images" / "b.png", 7)
    assert list(read(tmp_path).splits) == ["all"], "an image there is of no split"


def test_the_notes_of_label_studio_are_no_coco_file(make, tmp_path):
    path = make({"train/a": "0 .5 .5 1 1\n"})
    (path / "notes.json").write_text('{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}}')
    assert read_any(path).format == yolo.NAME


def test_labels_among_the_images(make, tmp_path, paint):
    """As labelImg leaves them."""
    paint(tmp_path / "set" / "a.png", 1)
    paint(tmp_path / "set" / "b.png", 2)
    (tmp_path / "set" / "a.txt").write_text("1 0.5 0.5 1 1\n")
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\n")
    source = read(tmp_path / "set")
    assert source.format == yolo.NAME
    assert source.classes == ("cat", "dog")
    assert source.splits["all"].ids == ["a.png", "b.png"]
    assert objects_of(source, "all").labels.tolist() == [1]
    assert np.diff(objects_of(source, "all").starts).tolist() == [1, 0]


def test_a_file_that_is_no_text_takes_its_image_out(make):
    path = make({"train/a": b"0 0.5 0.5 1 1\n\xff\xfe\x00", "train/b": ""})
    with pytest.raises(DataError, match=r"a\.txt: is no text .*UTF-8"):
        read(path)
    findings = Findings(strict=False)
    assert yolo.read(path, findings).splits["train"].ids == ["b.png"]
    assert findings.kept[0].kind == "broken annotation file"


def test_an_image_that_cannot_be_read(make):
    path = make({"train/a": "0 0.5 0.5 1 1", "train/b": ""})
    for name in "ab":
        (path / "images" / "train" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image, .*a\.txt have no measure"):
        read(path)
    findings = Findings(strict=False)
    source = yolo.read(path, findings)
    assert [finding.kind for finding in findings.kept] == ["broken image"]
    assert source.splits["train"].ids == ["a.png", "b.png"]
    assert objects_of(source, "train").count == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"images/train/ghost.png\n", "train.txt: line 1: lists 'images/train/ghost.png', but there is no such file"),
        (b"images/train/a.png\nimages/train/a.png\n", "train.txt: line 2: lists 'images/train/a.png' again"),
        (b"images/train/a.png\n" + b"x" * 100_000, "train.txt: line 2: lists 'xxx"),
        (b"images/\x00\n", "train.txt: line 1"),
        (b"\xff\xfe", "train.txt is no text"),
        (b"", "no images were found"),
        (b"images/train\n", "train.txt: line 1"),
    ],
)
def test_broken_lists(make, content, words):
    path = make({"train/a": "0 0.5 0.5 1 1"}, "train: train.txt\nnames: [cat]\n")
    (path / "train.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)


def test_several_descriptions(make):
    path = make({"train/a": ""}, None)
    for name in ("one", "two"):
        (path / f"{name}.yaml").write_text(DATA)
    with pytest.raises(DataError, match=r"several descriptions; name one of one\.yaml, two\.yaml"):
        read(path)
    (path / "data.yaml").write_text(DATA)
    assert len(read(path).splits["train"]) == 1


def test_what_it_does_not_recognise(tmp_path, paint, class_folders):
    class_folders(tmp_path / "classes", {"cat": 1, "train/dog": 1})
    paint(tmp_path / "pixels" / "images" / "a.png", 1)
    paint(tmp_path / "pixels" / "labels" / "a.png", 1)
    (tmp_path / "settings.yaml").write_text("names: [a]\n")
    (tmp_path / "data.txt").write_text(DATA)
    places = (tmp_path, tmp_path / "classes", tmp_path / "pixels", tmp_path / "settings.yaml", tmp_path / "data.txt")
    assert not any(yolo.recognises(path) for path in (*places, tmp_path / "nowhere"))


def test_a_thousand_damaged_files_give_words(make):
    """Whatever bytes are changed, cut out or doubled: an error in words that names the place, or a set."""
    path = make({"train/a": "0 0.5 0.5 1 1\n1 0.1 0.1 0.2 0.1 0.2 0.2\n", "train/b": ""}, DATA + "nc: 2\n")
    files = (path / "labels" / "train" / "a.txt", path / "data.yaml")
    whole = {file: file.read_bytes() for file in files}
    rng = random.Random(4)
    messages = []
    for number in range(1000):
        file = files[number % 2]
        content = bytearray(whole[file])
        for _ in range(rng.randint(1, 4)):
            place, count = rng.randrange(len(content) + 1), rng.randint(0, 8)
            again = content[place : place + 20]
            choices = [b"", b"[", b"-1", b"nan", b"1e999", b"&a ", b"*a", b"\xff", b"\n", b": ", b"!!int ", again]
            content[place : place + count] = rng.choice(choices)
        file.write_bytes(content)
        try:
            yolo.read(path / "data.yaml", Findings(strict=number % 3 > 0))
        except DataError as error:
            messages.append(str(error))
        file.write_bytes(whole[file])
    assert len(messages) > 300
    assert all(str(path) in message for message in messages)


# There and back

NUMBERS = st.one_of(st.integers(-50, 400).map(float), st.floats(-50, 400, allow_nan=False))
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
POINTS = st.lists(st.tuples(st.floats(-5, 15, width=32), st.floats(-5, 15, width=32)), min_size=3, max_size=6)


class Made:
    """Images of different sizes in memory."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index] if isinstance(index, int) else Made([self.images[i] for i in index])


def packed(sizes, boxes, labels, counts, masks=None, keypoints=None, skeleton=None) -> Objects:
    total = sum(counts)
    return Objects(
        starts=starts_of(counts),
        sizes=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        crowd=np.zeros(total, dtype=bool),
        difficult=np.zeros(total, dtype=bool),
        areas=np.full(total, np.nan),
        masks=None if masks is None else PackedMasks.pack(masks),
        keypoints=keypoints,
        skeleton=skeleton,
        ids=np.arange(total),
        noun="object",
        files=[""],
    )


@st.composite
def splits(draw, classes: int, kind: str, skeleton: Skeleton | None) -> Split:
    images, boxes, counts, masks = [], [], [], []
    for _ in range(draw(st.integers(1, 3))):
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        images.append(np.full((height, width, 3), len(images), dtype=np.uint8))
        counts.append(draw(st.integers(0, 3)))
        for _ in range(counts[-1]):
            boxes.append([draw(NUMBERS) for _ in range(4)])
            masks.append(None)
            if kind == "polygons" and draw(st.booleans()):
                masks[-1] = Polygon((np.array(draw(POINTS), dtype=np.float32),))
            elif kind == "runs":
                flags = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
                masks[-1] = runs_from_bitmap(np.array(draw(flags)).reshape(height, width))
    total = sum(counts)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=total, max_size=total))
    keypoints = None
    if skeleton is not None:
        points = st.tuples(st.floats(-5, 15, width=32), st.floats(-5, 15, width=32), st.integers(0, 2))
        count = total * len(skeleton.names)
        drawn = draw(st.lists(points, min_size=count, max_size=count))
        keypoints = np.array(drawn, dtype=np.float32).reshape(total, len(skeleton.names), 3)
    sizes = [image.shape[:2] for image in images]
    objects = packed(sizes, boxes, labels, counts, None if kind == "boxes" else masks, keypoints, skeleton)
    return Split(Made(images), [f"im {i}" for i in range(len(images))], objects=objects)


def same_mask(ours: Mask | None, theirs: Mask | None, size: tuple[int, int]) -> bool:
    """Whether a mask came back; an empty one comes back as none."""
    if ours is None or theirs is None:
        return theirs is None and (ours is None or not bitmap(ours, size).any())
    if isinstance(ours, Polygon) and isinstance(theirs, Polygon):
        return len(ours.rings) == len(theirs.rings) == 1 and np.allclose(ours.rings[0], theirs.rings[0], atol=2e-5)
    return np.array_equal(bitmap(ours, size), bitmap(theirs, size))


@settings(max_examples=80, deadline=None)
@given(
    data=st.data(),
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    kind=st.sampled_from(["boxes", "polygons", "runs", "keypoints"]),
)
def test_there_and_back(data, names, kind):
    """Boxes to 1e-9 pixels, polygons to float32, runs to the pixel, keypoints, classes, images without objects."""
    skeleton = Skeleton(("a", "b", "no"), (), (1, 0, 2), (0.05,) * 3) if kind == "keypoints" else None
    drawn = splits(len(names), "boxes" if skeleton else kind, skeleton)
    parts = {name: data.draw(drawn) for name in (["train", "test"] if data.draw(st.booleans()) else ["all"])}
    source = Source("made", "made", tuple(names), parts)
    with tempfile.TemporaryDirectory() as folder:
        yolo.write(source, Path(folder, "out"))
        back = read(Path(folder, "out"))
        assert set(back.splits) == set(parts)
        assert len(back.classes) == len(names)
        for name, split in parts.items():
            ours, theirs = split.objects, back.splits[name].objects
            assert (ours.sizes == theirs.sizes).all()
            assert (ours.starts == theirs.starts).all()
            assert (ours.labels == theirs.labels).all()
            assert theirs.skeleton == skeleton
            if skeleton is not None:
                np.testing.assert_allclose(ours.keypoints, theirs.keypoints, rtol=1e-6, atol=1e-6)
            for index in range(len(split)):
                mine, yours = ours[index], theirs[index]
                none = (None,) * len(mine)
                for n, (a, b) in enumerate(zip(mine.masks or none, yours.masks or none, strict=True)):
                    assert same_mask(a, b, mine.size)
                    if b is None:
                        np.testing.assert_allclose(mine.boxes[n], yours.boxes[n], rtol=1e-9, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(flags=st.lists(st.booleans(), min_size=48, max_size=48))
def test_one_ring_carries_any_mask(flags):
    """Parts, holes, and parts that touch at a corner: joined by cuts, the same pixels."""
    covered = np.array(flags).reshape(6, 8)
    ring = ring_of(runs_from_bitmap(covered), (6, 8))
    if ring is None:
        assert not covered.any()
    else:
        np.testing.assert_array_equal(bitmap(Polygon((ring,)), (6, 8)), covered)


@settings(max_examples=100, deadline=None)
@given(rings=st.lists(POINTS, min_size=2, max_size=3))
def test_one_ring_carries_polygons_of_several(rings):
    """Also where they overlap, which a cut alone would turn into a hole."""
    polygon = Polygon(tuple(np.array(ring, dtype=np.float32) for ring in rings))
    ring = ring_of(polygon, (12, 12))
    expected = bitmap(polygon, (12, 12))
    if ring is None:
        assert not expected.any()
    else:
        np.testing.assert_array_equal(bitmap(Polygon((ring.astype(np.float32),)), (12, 12)), expected)


def test_overlapping_rings_stay_whole():
    """Two squares that share one pixel row: 9 + 9 - 3 pixels, none of them a hole."""
    squares = [np.array([[x, 1], [x + 3, 1], [x + 3, 4], [x, 4]], dtype=np.float32) for x in (1, 3)]
    ring = ring_of(Polygon(tuple(squares)), (8, 8))
    assert ring is not None
    covered = bitmap(Polygon((ring,)), (8, 8))
    assert covered.sum() == bitmap(Polygon(tuple(squares)), (8, 8)).sum()
    assert covered[1:3, 3].all()


def one_split(objects: Objects, size=(10, 10), name="all") -> Source:
    return Source("made", "made", ("cat",), {name: Split(np.zeros((1, *size, 3), np.uint8), ["a"], objects=objects)})


def test_what_is_lost_is_said(tmp_path):
    square = Polygon((np.array([[2, 2], [6, 2], [6, 6], [2, 6]], dtype=np.float32),))
    empty = Runs((10, 10), np.array([100], dtype=np.uint32))
    far = Polygon((np.array([[0, 0], [1e30, 0], [0, 1e30]]), np.array([[0, 0], [1, 0], [0, 1]])))
    boxes = [[2, 2, 6, 6], [2, 2, 6, 7], [0, 0, 1, 1], [0, 0, 1, 1]]
    objects = packed([(10, 10)], boxes, [0] * 4, [4], [square, square, empty, far])
    objects.crowd[0], objects.difficult[1:3], objects.areas[2] = True, True, 5.0
    assert yolo.write(one_split(objects), tmp_path / "out") == [
        "the marks of 1 object as crowds were left out",
        "the marks of 2 objects as difficult were left out",
        "1 boxes became those around their masks, which differ",
        "2 masks are empty or cannot be drawn; they became boxes",
    ]
    back = objects_of(read(tmp_path / "out"), "all")
    assert back.boxes[1].tolist() == [2, 2, 6, 6]


def test_keypoints_push_masks_out(tmp_path):
    skeleton = Skeleton(("nose", "tail"), ((0, 1),), (0, 1), (0.05, 0.1))
    square = Polygon((np.array([[2, 2], [6, 2], [6, 6]], dtype=np.float32),))
    keypoints = np.ones((1, 2, 3), dtype=np.float32)
    objects = packed([(10, 10)], [[2, 2, 6, 6]], [0], [1], [square], keypoints, skeleton)
    assert yolo.write(one_split(objects), tmp_path / "out") == [
        "the masks of 1 object were left out",
        "1 edges of the skeleton were left out",
        "1 sigmas of keypoints were left out",
    ]


def test_only_what_it_can_hold_is_written(tmp_path):
    images = np.zeros((1, 8, 8), dtype=np.uint8)
    source = Source("digits", "made", ("0",), {"all": Split(images, ["a"], np.zeros(1, dtype=np.int64))})
    with pytest.raises(UsageError, match="YOLO holds things in its images; choose csv"):
        yolo.write(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_that_no_size_is_known_of(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    objects = packed([(0, 0)], [[2, 2, 6, 6]], [0], [1])
    source = Source("made", "made", ("cat",), {"all": Split([tmp_path / "a.jpg"], ["a.jpg"], objects=objects)})
    lost = yolo.write(source, tmp_path / "out")
    assert lost == ["1 objects are in images of unknown size and were left out"]
    assert objects_of(read(tmp_path / "out"), "all").count == 0


def test_the_description_is_as_others_read_it(tmp_path):
    """The keys that Ultralytics documents, and a class named as YAML's false is stays a word."""
    import yaml

    objects = packed([(10, 10)], [[2, 2, 6, 6]], [0], [1])
    source = one_split(objects, name="train")
    yolo.write(Source("made", "made", ("no",), source.splits), tmp_path / "out")
    about = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert about == {"path": ".", "train": "images/train", "names": {0: "no"}}
    line = (tmp_path / "out" / "labels" / "train" / "a.txt").read_text()
    assert line == "0 0.4 0.4 0.4 0.4\n"
