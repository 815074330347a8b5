"""Folders of images and masks, read and written: known sets, there and back, and what is broken about such folders."""

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from saccade.data.findings import DataError, Findings
from saccade.data.formats import masks, voc
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.structures import VOID

SIZE = (20, 24)  # of the images that are painted here


@pytest.fixture
def make(tmp_path, paint):
    """make({"a": VALUES}, CLASSES) makes images/a.jpg and masks/a.png, [20, 24] or what can be laid on it, a stem."""

    def build(values: dict[str, object], classes: str | bytes | None = None) -> Path:
        (tmp_path / "masks").mkdir(exist_ok=True)
        for key, (stem, value) in enumerate(values.items()):
            paint(tmp_path / "images" / f"{stem}.jpg", key)
            if value is not None:
                save(tmp_path / "masks" / f"{stem}.png", value)
        if classes is not None:
            (tmp_path / "classes.txt").write_bytes(classes if isinstance(classes, bytes) else classes.encode())
        return tmp_path

    return build


def save(file: Path, value: object) -> None:
    """A mask: grey values [20] one a row, or colours [20, 3] one a row, or anything of an image's shape."""
    values = np.asarray(value, dtype=np.uint8)
    if (values.shape[0] == SIZE[0] and values.ndim == 1) or values.shape == (SIZE[0], 3):
        values = np.repeat(values[:, None], SIZE[1], axis=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


def rows(*values: object) -> list:
    """As many rows as an image has of these values, in turn."""
    return [values[row % len(values)] for row in range(SIZE[0])]


def read(path: Path) -> Source:
    assert masks.recognises(path)
    return masks.read(path, Findings())


def maps_of(source: Source, split: str = "all") -> LabelMaps:
    maps = source.splits[split].label_maps
    assert maps is not None
    return maps


# Reading


def test_camvid(shared, tmp_path):
    """The published sizes of its splits; with classes.txt, the twelfth value is void."""
    folder = shared / "data" / "camvid"
    source = read(folder)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 367, "val": 101, "test": 233}
    assert source.classes == tuple(str(k) for k in range(12))
    names = [
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
        "void",
    ]
    for entry in folder.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "classes.txt").write_text("".join(f"{value} {name}\n" for value, name in enumerate(names)))
    named = read(tmp_path)
    assert named.classes == tuple(names[:11])
    before, after = maps_of(source, "val")[0].labels, maps_of(named, "val")[0].labels
    assert (before == 11).any()
    np.testing.assert_array_equal(after, np.where(before == 11, VOID, before))


def test_isbi(shared):
    """Membrane 0 and cell 255: two classes, and nothing is void."""
    for path, split in ((shared / "data" / "isbi2012", "train"), (shared / "data" / "isbi2012" / "train", "all")):
        source = read(path)
        assert source.classes == ("0", "255")
        assert {name: len(own) for name, own in source.splits.items()} == {split: 30}
    with Image.open(shared / "data" / "isbi2012" / "train" / "label" / "0.png") as image:
        expected = np.asarray(image) == 255
    np.testing.assert_array_equal(maps_of(source)[0].labels, expected.astype(np.uint8))


def test_coco128(shared):
    """A YAML file names the folders and the classes; 0 is unlabeled. 28 of its pictures have no mask."""
    path = shared / "data" / "coco128" / "semantic_segmentation"
    with pytest.raises(DataError, match="has no mask"):
        read(path)
    findings = Findings(strict=False)
    source = masks.read(path, findings)
    assert [finding.kind for finding in findings.kept] == ["missing mask"] * 28
    split, maps = source.splits["train"], maps_of(source, "train")
    assert len(split) == 100
    assert source.classes[0] == "person"
    with Image.open(path / "masks" / "train2017" / "000000000009.png") as image:
        values = np.asarray(image)
    labels = maps[split.ids.index("000000000009.jpg")].labels
    np.testing.assert_array_equal(labels == VOID, values == 0)
    assert source.classes[labels[values == 51][0]] == "bowl"


@pytest.mark.parametrize(
    ("images", "labels", "split"),
    [
        ("images", "masks", "all"),
        ("image", "label", "all"),
        ("Images", "annotations", "all"),
        ("images/train", "masks/train", "train"),
        ("train/images", "train/masks", "train"),
        ("val", "valannot", "val"),
        ("test", "test_labels", "test"),
        ("validation/imgs", "validation/labels", "val"),
    ],
)
@pytest.mark.parametrize("end", ["", "_mask", "_label", "_L"])
def test_layouts(tmp_path, paint, images, labels, split, end):
    paint(tmp_path / images / "a.jpg", 1)
    save(tmp_path / labels / f"a{end}.png", rows(0, 1))
    source = read(tmp_path)
    assert list(source.splits) == [split]
    assert source.splits[split].ids == ["a.jpg"]
    np.testing.assert_array_equal(maps_of(source, split)[0].labels[:, 0], rows(0, 1))


def test_what_a_system_leaves_beside_the_splits_does_not_mix_them(tmp_path, paint):
    for name in ("train", "val"):
        paint(tmp_path / "images" / name / "a.jpg", len(name))
        save(tmp_path / "masks" / name / "a.png", rows(0, 1))
    (tmp_path / "images" / "README.txt").write_text("x")
    assert set(read(tmp_path).splits) == {"train", "val"}


def test_folders_in_folders(make):
    source = read(make({"x/a": rows(0), "y/a": rows(1)}))
    assert source.splits["all"].ids == ["x/a.jpg", "y/a.jpg"]


@pytest.mark.parametrize(
    ("values", "classes", "void"),
    [
        ((0, 1, 5), ("0", "1", "5"), None),
        ((0, 1, 255), ("0", "1"), 255),
        ((0, 255), ("0", "255"), None),
        ((255,), ("255",), None),
        ((3,), ("3",), None),
    ],
)
def test_values_become_classes(make, values, classes, void):
    source = read(make({"a": rows(*values)}))
    expected = [VOID if value == void else classes.index(str(value)) for value in rows(*values)]
    assert source.classes == classes
    assert maps_of(source)[0].labels[:, 0].tolist() == expected


@pytest.mark.parametrize(
    ("table", "values", "classes", "labels"),
    [
        ("road\ncar\nsky\n", (0, 2, 255), ("road", "car", "sky"), (0, 2, VOID)),
        ("road\n\nignore\nsky\n", (0, 1, 2), ("road", "sky"), (0, VOID, 1)),
        ("7 road\n3 big car\n", (7, 3, 255), ("road", "big car"), (0, 1, VOID)),
        ("0 sky\n255 cell\n", (0, 255), ("sky", "cell"), (0, 1)),
        ("0 Void\n1 car\n", (0, 1), ("car",), (VOID, 0)),
        ("0 unlabeled\n1 car\n", (0, 1), ("car",), (VOID, 0)),
    ],
)
def test_tables_of_values(make, table, values, classes, labels):
    source = read(make({"a": rows(*values)}, table))
    assert source.classes == classes
    assert maps_of(source)[0].labels[:, 0].tolist() == rows(*labels)


@pytest.mark.parametrize(
    "table",
    [
        "128 64 128 road\n0 0 255 a car\n0 0 0 void\n",
        "#804080 road\n#0000fF a car\n#000000 void",
        "128,64,128 road\n0, 0, 255 a car\n0 0 0 void",
    ],
)
def test_tables_of_colours(make, table):
    source = read(make({"a": rows((128, 64, 128), (0, 0, 255), (0, 0, 0))}, table))
    maps = maps_of(source)
    assert source.classes == ("road", "a car")
    assert maps.colours is not None
    assert maps.colours.tolist() == [[128, 64, 128], [0, 0, 255]]
    assert maps[0].labels[:, 0].tolist() == rows(0, 1, VOID)


def test_the_table_may_be_above(make, tmp_path):
    make({"a": rows(0)}, "road\n")
    (tmp_path / "deep").mkdir()
    for name in ("images", "masks"):
        (tmp_path / name).rename(tmp_path / "deep" / name)
    assert read(tmp_path / "deep").classes == ("road",)


@pytest.mark.parametrize("table", [None, "0 road\n2 car\n"])
def test_palettes_give_colours(make, tmp_path, table):
    path = make({"a": None}, table)
    values = np.zeros(SIZE, dtype=np.uint8)
    values[3:], values[7:] = 2, 255
    image = Image.fromarray(values)
    image.putpalette([9, 8, 7, 1, 1, 1, 30, 20, 10] + [0] * 759)
    image.save(path / "masks" / "a.png")
    maps = maps_of(read(path))
    assert maps.colours is not None
    assert maps.colours.tolist() == [[9, 8, 7], [30, 20, 10]]
    np.testing.assert_array_equal(maps[0].labels, np.select([values == 2, values == 255], [1, VOID], 0))


def test_masks_of_one_bit_and_of_sixteen(make):
    path = make({"a": None, "b": None})
    Image.fromarray(np.arange(480).reshape(SIZE) % 2 == 1).save(path / "masks" / "a.png")
    Image.fromarray((np.arange(480).reshape(SIZE) % 2).astype(np.uint16)).save(path / "masks" / "b.png")
    maps = maps_of(read(path))
    assert maps.classes == ("0", "1")
    np.testing.assert_array_equal(maps[0].labels, maps[1].labels)
    path = make({"c": None})
    Image.fromarray(np.where(np.arange(480).reshape(SIZE) % 2, 1000, 0).astype(np.uint16)).save(
        path / "masks" / "c.png"
    )
    maps = maps_of(read(path))
    assert maps.classes == ("0", "1", "1000")
    assert (maps[0].labels == 1).sum() == 240


# What is broken, and must be named

PNG = b"\x89PNG\r\n\x1a\n"
BAD_TABLES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("\n\n", "classes.txt is empty; expected a class a line"),
    "binary": (b"\xff\xfe\x00", "classes.txt is no text"),
    "a colour among names": ("road\n1 2 3 car\n", "line 1: is 'road'; expected '128 64 128 road'"),
    "a name among colours": ("1 2 3 car\nroad\n", "line 2: is 'road'; expected '128 64 128 road'"),
    "a colour without a name": ("1 2 3 car\n4 5 6\n", "line 2: is '4 5 6'"),
    "a name among values": ("1 car\nroad\n", "line 2: is 'road'; expected '7 road'"),
    "a value among names": ("road\n7 car\n", "line 1: is 'road'; expected '7 road'"),
    "a value twice": ("1 car\n1 road\n", "has the value 1 twice"),
    "a colour twice": ("#010203 car\n1 2 3 road\n", "has the value #010203 twice"),
    "a class twice": ("car\nroad\ncar\n", "has the class 'car' twice"),
    "a colour of 256": ("0 256 0 car\n", "line 1: has the colour 0 256 0; expected values of 0 to 255"),
    "a short colour": ("#12345 car\n#123456 road\n", "line 1: is '#12345 car'"),
    "only void": ("void\n", "has 0 classes; expected 1 to 254"),
    "too many": ("".join(f"class{k}\n" for k in range(300)), "has 300 classes; expected 1 to 254"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_broken_tables(make, case):
    table, words = BAD_TABLES[case]
    path = make({"a": rows(0)}, table)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    assert "classes.txt" in str(caught.value)


BAD_MASKS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "b.png: cannot be read as an image"),
    "text": (b"no image", "b.png: cannot be read as an image"),
    "cut in its header": (PNG, "b.png: cannot be read as an image"),
    "web page": (b"<html></html>", "b.png: cannot be read as an image"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_broken_masks(make, case):
    content, words = BAD_MASKS[case]
    path = make({"a": rows(0, 1), "b": rows(0)})
    (path / "masks" / "b.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    assert masks.read(path, findings).splits["all"].ids == ["a.jpg"]
    assert [finding.kind for finding in findings.kept] == ["broken mask"]


def test_a_mask_that_is_cut_short(make):
    """Its values are needed where no table says what there is; else who decodes it says so."""
    path = make({"a": rows(0, 1), "b": rows(*range(20))})
    whole = (path / "masks" / "b.png").read_bytes()
    (path / "masks" / "b.png").write_bytes(whole[:50])
    with pytest.raises(DataError, match=r"b\.png: cannot be read"):
        read(path)
    findings = Findings(strict=False)
    assert masks.read(path, findings).classes == ("0", "1")
    (path / "classes.txt").write_text("road\ncar\n")
    with pytest.raises(DataError, match=r"b\.png: cannot be read as"):
        maps_of(read(path))[1]


def test_a_mask_of_another_size(make):
    path = make({"a": rows(0), "b": np.zeros((24, 20), dtype=np.uint8)})
    with pytest.raises(DataError, match=r"b\.png: is 20 x 24, but its image is 24 x 20; make it again"):
        read(path)
    assert masks.read(path, Findings(strict=False)).splits["all"].ids == ["a.jpg"]


def test_a_mask_beyond_the_limit(make, monkeypatch):
    path = make({"a": rows(0)})
    monkeypatch.setenv("SACCADE_PIXEL_LIMIT", "0.0001")
    with pytest.raises(DataError, match=r"a\.png: has 20 x 24 pixels; the limit is 100"):
        read(path)


def test_an_image_without_a_mask(make):
    path = make({"a": rows(0), "b": None})
    with pytest.raises(DataError, match=r"images/b\.jpg: has no mask .*masks/b\.png; add the mask"):
        read(path)
    findings = Findings(strict=False)
    assert masks.read(path, findings).splits["all"].ids == ["a.jpg"]
    assert [finding.kind for finding in findings.kept] == ["missing mask"]


def test_a_mask_without_an_image(make):
    path = make({"a": rows(0)})
    save(path / "masks" / "ghost.png", rows(9))
    with pytest.raises(DataError, match=r"masks/ghost\.png: there is no image ghost in .*images"):
        read(path)
    findings = Findings(strict=False)
    assert masks.read(path, findings).classes == ("0",)
    assert [finding.kind for finding in findings.kept] == ["missing image"]


def test_two_masks_and_two_images_of_one_name(make, paint):
    path = make({"a": rows(0)})
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(path / "masks" / "a.bmp")
    with pytest.raises(DataError, match=r"masks/a\.png: a\.bmp has the same name"):
        read(path)
    (path / "masks" / "a.bmp").unlink()
    paint(path / "images" / "a.png", 5)
    with pytest.raises(DataError, match=r"images/a\.png: has the mask .*a\.png, and so has a\.jpg"):
        read(path)


def test_masks_in_jpeg(make):
    path = make({"a": None})
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(path / "masks" / "a.jpg")
    with pytest.raises(DataError, match=r"masks/a\.jpg: is a JPEG file, which blurs labels"):
        read(path)


def test_coloured_masks_without_a_table(make):
    path = make({"a": rows((1, 2, 3), (4, 5, 6))})
    with pytest.raises(
        DataError, match=r"a\.png is coloured, .*\(1 2 3, 4 5 6 \.\.\.\).*write classes\.txt.*'128 64 128 road'"
    ):
        read(path)


def test_coloured_masks_with_a_table_of_values(make):
    with pytest.raises(DataError, match=r"a\.png: is a coloured image"):
        maps_of(read(make({"a": rows((1, 2, 3))}, "road\n")))[0]


def test_blurred_masks(make):
    path = make({"a": np.arange(480).reshape(SIZE) % 256})
    with pytest.raises(DataError, match=r"masks: these masks hold 255 values; expected at most 254 classes"):
        read(path)


def test_values_that_have_no_name(make):
    with pytest.raises(DataError, match=r"a\.png: holds the values 5, which are no class; known are 0, 1, 255"):
        maps_of(read(make({"a": rows(0, 5)}, "road\ncar\n")))[0]


def test_two_folders_of_a_split(tmp_path, paint):
    for name in ("val", "valid"):
        paint(tmp_path / "images" / name / "a.jpg", 1)
        save(tmp_path / "masks" / name / "a.png", rows(0))
    with pytest.raises(DataError, match="two of these are the same split"):
        read(tmp_path)


def test_nothing_that_can_be_used(make):
    path = make({"a": None})
    save(path / "masks" / "b.png", rows(0))
    with pytest.raises(DataError, match="has no image with a mask"):
        masks.read(path, Findings(strict=False))


GOOD = "train:\n  images: images\n  masks: masks\nclasses:\n  0: road\n  1: car\n"
BAD_YAML: dict[str, tuple[str, str]] = {
    "alias": ("a: &a [x]\nb: *a\n" + GOOD, "set.yaml: line 2"),
    "no folder": (GOOD.replace("masks: masks", "masks: labels"), "names no folders of images and masks that are there"),
    "words for folders": (GOOD + "val: [a,\n  masks]\n", "set.yaml: val: expected 'images: FOLDER'"),
    "no masks": (GOOD + "val:\n  images: images\n", "set.yaml: val: expected 'images: FOLDER' and 'masks: FOLDER'"),
    "words for classes": (GOOD.replace("classes:\n  0: road\n  1: car\n", "classes: road"), "has 0 classes"),
    "names for values": (GOOD.replace("0: road", "road: 0"), "set.yaml: classes: 'road': '0' is none"),
    "negative": (GOOD.replace("0: road", "-1: road"), "set.yaml: classes: '-1': 'road' is none"),
    "huge": (GOOD.replace("0: road", "1000000: road"), "set.yaml: classes: '1000000'"),
    "one name twice": (GOOD.replace("1: car", "1: road"), "has the class 'road' twice"),
    "no name": (GOOD.replace("1: car", "1:"), "set.yaml: classes: '1': '' is none"),
    "one value twice": (GOOD.replace("1: car", "0: car"), "set.yaml: line"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_broken_descriptions(make, case):
    content, words = BAD_YAML[case]
    path = make({"a": rows(0, 1)})
    for good in (GOOD, "train: {images: images, masks: masks}\nclasses: {0: road, 1: car}\n"):
        (path / "set.yaml").write_text(good)
        assert masks.recognises(path / "set.yaml")
        assert read(path / "set.yaml").classes == ("road", "car")
    (path / "set.yaml").write_text(content)
    with pytest.raises(DataError) as caught:
        read(path / "set.yaml")
    assert words in str(caught.value)
    assert "set.yaml" in str(caught.value)


def test_what_it_does_not_recognise(tmp_path, paint, class_folders):
    class_folders(tmp_path / "classes", {"train/cat": 1, "val/cat": 1})
    paint(tmp_path / "yolo" / "images" / "a.png", 1)
    (tmp_path / "yolo" / "labels").mkdir()
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")
    (tmp_path / "settings.yaml").write_text("classes: [a]\n")
    places = (tmp_path, tmp_path / "classes", tmp_path / "yolo", tmp_path / "settings.yaml", tmp_path / "nowhere")
    assert not any(masks.recognises(path) for path in places)


def test_a_thousand_damaged_files_give_words(make):
    """Whatever bytes are changed, cut out or doubled: an error in words that names the place, or a set."""
    path = make({"a": rows(0, 1), "b": rows(2)}, "0 road\n1 car\n2 sky\n")
    files = (path / "masks" / "a.png", path / "classes.txt")
    whole = {file: file.read_bytes() for file in files}
    rng = random.Random(4)
    messages = []
    for number in range(1000):
        file = files[number % 2]
        content = bytearray(whole[file])
        for _ in range(rng.randint(1, 4)):
            place, count = rng.randrange(len(content) + 1), rng.randint(0, 8)
            again = content[place : place + 20]
            content[place : place + count] = rng.choice(
                [b"", b"#", b"-1", b"256 ", b"\x00", b"\xff", b"\n", b" 9", again]
            )
        file.write_bytes(content)
        try:
            maps = maps_of(masks.read(path, Findings(strict=number % 3 == 0)))
            [maps[index] for index in range(len(maps))]
        except DataError as error:
            messages.append(str(error))
        file.write_bytes(whole[file])
    assert len(messages) > 300
    assert all(str(path) in message for message in messages)


# There and back

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    names=st.lists(st.one_of(NAMES, st.sampled_from(["void", "3", "1 2 3 x"])), min_size=1, max_size=4, unique=True),
    coloured=st.booleans(),
    divided=st.booleans(),
)
def test_there_and_back(data, names, coloured, divided):
    """Labels to the pixel, void, classes in their order, colours."""
    values = st.sampled_from([*range(len(names)), VOID])
    colours = np.arange(3 * len(names), dtype=np.uint8).reshape(-1, 3) + 7 if coloured else None
    coding = {k: k for k in [*range(len(names)), VOID]}
    splits = {}
    for name in ("train", "val") if divided else ("all",):
        stored = [np.array(data.draw(st.lists(values, min_size=12, max_size=12)), np.uint8).reshape(3, 4)] * 2
        maps = LabelMaps(stored, tuple(names), coding, colours=colours)
        splits[name] = Split(np.zeros((2, 3, 4), dtype=np.uint8), ["a", "b/c.d"], label_maps=maps)
    with tempfile.TemporaryDirectory() as folder:
        lost = masks.write(Source("made", "made", tuple(names), splits), Path(folder, "out"))
        back = read(Path(folder, "out"))
        assert set(back.splits) == set(splits)
        assert len(lost) == sum(old != new for old, new in zip(names, back.classes, strict=True))
        for name, split in splits.items():
            ours, theirs = split.label_maps, back.splits[name].label_maps
            assert (theirs.colours is None) == (colours is None)
            if colours is not None:
                np.testing.assert_array_equal(theirs.colours, colours)
            for index in range(2):
                np.testing.assert_array_equal(ours[index].labels, theirs[index].labels)


@pytest.mark.parametrize(
    ("coding", "colour", "words"),
    [
        ({0: 0, 1: 1, 255: VOID}, False, []),
        ({7: 0, 1: 1, 8: VOID}, False, ["values of label maps are numbered anew: 7 became 0, 8 became 255"]),
        ({0: 0, 0x804080: 1}, True, ["the colours of label maps became the values 0, 1, 2 ... of the classes"]),
    ],
)
def test_values_that_are_numbered_anew_are_said(coding, colour, words, tmp_path):
    stored = np.full((3, 4), next(iter(coding)), dtype=np.int32 if colour else np.uint8)
    split = Split(np.zeros((1, 3, 4), np.uint8), ["a"], label_maps=LabelMaps([stored], ("cat", "dog"), coding, colour))
    for form in (masks, voc):
        said = form.write(Source("made", "made", ("cat", "dog"), {"all": split}), tmp_path / form.NAME)
        assert len(said) == len(words)
        assert all(line.startswith(start) for line, start in zip(said, words, strict=True))


def test_what_is_lost_is_said(tmp_path):
    objects = Objects(
        starts=np.array([0, 2]),
        sizes=np.array([[3, 4]], dtype=np.int32),
        boxes=np.zeros((2, 4)),
        labels=np.zeros(2, dtype=np.int64),
        crowd=np.zeros(2, dtype=bool),
        difficult=np.zeros(2, dtype=bool),
        areas=np.full(2, np.nan),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=np.arange(2),
        noun="line",
        files=[""],
    )
    maps = LabelMaps([np.zeros((3, 4), dtype=np.uint8)], ("void",), {0: 0})
    split = Split(np.zeros((1, 3, 4), dtype=np.uint8), ["a"], np.zeros(1, dtype=np.int64), objects, maps)
    assert masks.write(Source("made", "made", ("cat",), {"all": split}), tmp_path / "out") == [
        "the boxes, masks and keypoints of 2 objects were left out",
        "the classes of 1 image were left out",
        "the class 'void' became 'class void'",
    ]


def test_only_what_it_can_hold_is_written(tmp_path):
    images = np.zeros((1, 8, 8), dtype=np.uint8)
    source = Source("digits", "made", ("0",), {"all": Split(images, ["a"], np.zeros(1, dtype=np.int64))})
    with pytest.raises(UsageError, match="images with masks holds a class for every pixel; choose csv"):
        masks.write(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
