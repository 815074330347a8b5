"""Tables: what may be in them, what may be wrong with them, and the way there and back."""

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sets import everything, objects_of

from saccade.data.findings import DataError, Findings
from saccade.data.formats import folder, table
from saccade.data.objects import Objects, starts_of
from saccade.data.source import Source, Split, labels_of
from saccade.errors import UsageError


@pytest.fixture
def put(tmp_path: Path, paint: Callable[..., Path]) -> Callable[..., Path]:
    """put(text) writes a table beside the images a.png and b.png of 20 x 24."""
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "b.png", 2)

    def write(text: str | bytes, name: str = "boxes.csv") -> Path:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


CORNERS = "image,xmin,ymin,xmax,ymax,label\na.png,1,2,11.5,7,cat\nb.png,,,,,\na.png,0,0,3,4,ant\n"
SPELLINGS = {
    "corners": CORNERS,
    "sides": "filename,x,y,width,height,class\na.png,1,2,10.5,5,cat\nb.png,,,,,\na.png,0,0,3,4,ant\n",
    "short": "file_name,x1,y1,x2,y2,name\na.png,1,2,11.5,7,cat\nb.png,,,,,\na.png,0,0,3,4,ant\n",
    "letters": "Image Path,Left,Top,W,H,Category\na.png,1,2,10.5,5,cat\nb.png,,,,,\na.png,0,0,3,4,ant\n",
    "image size too": "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,24,20,cat,1,2,11.5,7\n"
    "b.png,24,20,,,,,\na.png,24,20,ant,0,0,3,4\n",
    "semicolons": CORNERS.replace(",", ";"),
    "tabs": CORNERS.replace(",", "\t"),
    "byte order mark": "\ufeff" + CORNERS.replace("\n", "\r\n"),
    "blanks": CORNERS.replace(",", ", ").replace("\nb", "\n\nb"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_common_spellings_of_a_table_say_the_same(spelling: str, put: Callable[..., Path]) -> None:
    file = put(SPELLINGS[spelling])
    assert table.recognises(file) and table.recognises(file.parent)
    source = table.read(file.parent, Findings())
    assert source.classes == ("ant", "cat")
    assert source.splits["all"].ids == ["a.png", "b.png"]
    objects = objects_of(source, "all")
    assert objects.starts.tolist() == [0, 2, 2]
    assert objects.boxes.tolist() == [[1, 2, 11.5, 7], [0, 0, 3, 4]]
    assert objects.labels.tolist() == [1, 0]
    assert objects.sizes.tolist() == [[20, 24], [20, 24]]
    assert objects.where(0) == f"{file}: line 2"
    assert objects.where(1) == f"{file}: line {5 if spelling == 'blanks' else 4}"


def test_two_columns_are_images_and_their_classes(put: Callable[..., Path]) -> None:
    source = table.read(put("image,label\nb.png,10\na.png,9\n"), Findings())
    assert source.classes == ("9", "10"), "numbers in the order of numbers"
    assert source.splits["all"].ids == ["b.png", "a.png"]
    assert source.splits["all"].labels is not None and source.splits["all"].labels.tolist() == [1, 0]
    assert source.splits["all"].objects is None


def test_splits_come_from_a_column_or_from_files(put: Callable[..., Path]) -> None:
    head = "image,xmin,ymin,xmax,ymax,label,split,width,note\n"
    file = put(head + "a.png,1,2,3,4,cat,Validation,9,x\nb.png,1,2,3,4,ant,train,9,y\n")
    source = table.read(file, Findings())
    assert {name: split.ids for name, split in source.splits.items()} == {"train": ["b.png"], "val": ["a.png"]}
    assert list(source.splits) == ["train", "val"]
    assert source.notes == ("columns of boxes.csv that were left out: 'width', 'note'",)
    file.unlink()
    put("image,label\na.png,cat\n", "train.csv")
    put("image,label\nb.png,dog\n", "test.csv")
    source = table.read(file.parent, Findings())
    assert {name: split.ids for name, split in source.splits.items()} == {"train": ["a.png"], "test": ["b.png"]}
    assert source.classes == ("cat", "dog")
    put("image,label\nb.png,dog\n", "valid.csv")
    put("image,label\nb.png,dog\n", "val.csv")
    with pytest.raises(DataError, match=r"two tables of 'val', val\.csv and valid\.csv"):
        table.read(file.parent, Findings())


def test_what_is_no_table_of_images_is_not_recognised(put: Callable[..., Path], tmp_path: Path) -> None:
    for content in ("time,value\n1,2\n", b"\x00\xff\n", b"", "a.png,cat\n"):
        put(content, "one.csv")
        assert not table.recognises(tmp_path)
    assert not table.recognises(tmp_path / "a.png")
    assert not table.recognises(tmp_path / "nothing")
    put("image,label\na.png,x\n", "one.csv")
    put("image,label\nb.png,x\n", "two.csv")
    assert not table.recognises(tmp_path), "of two tables nobody knows which"


BROKEN = {
    "a word": ("a.png,1,2,x,4,cat", "'x' for xmax"),
    "nan": ("a.png,nan,2,3,4,cat", "'nan' for xmin"),
    "infinity": ("a.png,1,-inf,3,4,cat", "'-inf' for ymin"),
    "huge": ("a.png,1,2,3,1e300,cat", "'1e300' for ymax"),
    "underscore": ("a.png,1_0,2,30,4,cat", "'1_0' for xmin"),
    "half a box": ("a.png,1,2,,,cat", "'' for xmax"),
    "no label": ("a.png,1,2,3,4,", "no label"),
    "no box": ("a.png,,,,,cat", "the label 'cat' and no box"),
    "no image": (",1,2,3,4,cat", "names no image"),
    "outside": ("../..,1,2,3,4,cat", "names no image"),
    "short": ("a.png,1,2,3", "has 4 cells; expected 6"),
    "long": ("a.png,1,2,3,4,cat,dog", "has 7 cells; expected 6"),
    "decimal comma": ('a.png,"1,5",2,3,4,cat', "'1,5' for xmin; expected pixels with a decimal point"),
    "two lines": ('a.png,1,2,3,4,"cat\ndog"', "has a line break in 'cat\\ndog'; expected a quote"),
    "missing": ("c.png,1,2,3,4,cat", "'c.png' is not in"),
    "of the system": ("/etc/passwd,1,2,3,4,cat", "'etc/passwd' is not in"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_line_is_named_and_left_out(case: str, put: Callable[..., Path]) -> None:
    line, reason = BROKEN[case]
    file = put(f"image,xmin,ymin,xmax,ymax,label\nb.png,5,6,7,8,dog\n{line}\nb.png,6,6,7,8,dog\n")
    with pytest.raises(DataError, match="line 3") as caught:
        table.read(file, Findings())
    assert str(caught.value).startswith(str(file))
    findings = Findings(strict=False)
    source = table.read(file, findings)
    (found,) = findings.kept
    assert found.where == f"{file}: line 3"
    assert reason in found.reason
    assert objects_of(source, "all").boxes.tolist() == [[5, 6, 7, 8], [6, 6, 7, 8]]
    assert source.splits["all"].ids == ["b.png"]


def test_an_image_has_one_class_and_a_known_split(put: Callable[..., Path]) -> None:
    findings = Findings(strict=False)
    table.read(put("image,label,split\na.png,x,train\na.png,y,train\nb.png,x,often\n"), findings)
    assert "as line 2 does" in findings.kept[0].reason
    assert "the split 'often'" in findings.kept[1].reason


MALFORMED = {
    "a column is missing": (b"image,xmin,ymin,xmax,label\na.png,1,2,3,x\n", "line 1: a box needs the columns"),
    "no line": (b"image,label\n", "lists no image"),
    "not UTF-8": (b"image,label\na.png,caf\xe9\n", "or soon after: is no text in UTF-8"),
    "UTF-16": ("image,label\na.png,x\n".encode("utf-16"), "is in UTF-16; save it as UTF-8"),
    "a cell without end": (b'image,label\na.png,"' + b"x" * 200_000, "line 2: is no row of a table"),
    "a quote without end": (b'image,label\nb.png,x\na.png,"x\nb.png,y\n', "line 3: is no row of a table"),
    "a spreadsheet's": (b"sep=;\r\nimage;label\r\na.png;x\r\n", "line 1: is 'sep=;'"),
    "no names": (b"a.png,1,2,3,4,cat\n", "line 1: names an image, not the columns"),
    "other columns": (b"time,value\n1,2\n", "line 1: is 'time,value'; expected the names of columns"),
    "empty": (b"", "line 1: is ''; expected"),
    "no image is there": (b"image,label\nc.png,x\nd.png,x\n", "none of its 2 images is there, 'c.png' the first"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_table_that_is_none_is_refused_by_name(case: str, put: Callable[..., Path]) -> None:
    content, reason = MALFORMED[case]
    file = put(content)
    assert table.recognises(file)
    with pytest.raises(DataError) as caught:
        table.read(file, Findings(strict=False))
    assert str(caught.value).startswith(str(file))
    assert reason in str(caught.value)


def test_a_table_of_boxes_and_one_of_classes_do_not_go_together(put: Callable[..., Path], tmp_path: Path) -> None:
    put("image,label\na.png,x\n", "train.csv")
    put("image,xmin,ymin,xmax,ymax,label\nb.png,1,2,3,4,x\n", "val.csv")
    with pytest.raises(DataError, match="a table of boxes and a table without"):
        table.read(tmp_path, Findings())


def test_what_a_table_cannot_carry_is_said(tmp_path: Path) -> None:
    source = everything(tmp_path / "origin")
    lost = table.write(source, tmp_path / "copy")
    assert lost == [
        "the masks of 18 objects were left out",
        "the keypoints of 6 objects were left out",
        "the marks of 6 objects as difficult were left out",
        "the label maps of 8 images were left out",
    ]
    with (tmp_path / "copy/annotations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20, "18 objects, and two images without"
    assert list(rows[0]) == ["image", "xmin", "ymin", "xmax", "ymax", "label", "split"]
    assert all((tmp_path / "copy" / row["image"]).is_file() for row in rows)
    assert [row["label"] for row in rows if not row["xmin"]] == ["", ""]


def test_classes_of_images_go_there_and_back(tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    source = folder.read(
        class_folders(tmp_path / "photos", {"train/dogs": 2, "train/ants": 1, "val/dogs": 1}), Findings()
    )
    assert table.write(source, tmp_path / "copy") == []
    again = table.read(tmp_path / "copy", Findings())
    assert again.classes == source.classes == ("ants", "dogs")
    for name, split in source.splits.items():
        assert labels_of(again.splits[name]).tolist() == labels_of(split).tolist()
        assert [again.splits[name].content(i) for i in range(len(split))] == [
            split.content(i) for i in range(len(split))
        ]


def test_classes_out_of_order_or_unused_are_said(tmp_path: Path) -> None:
    images = np.zeros((2, 5, 5), dtype=np.uint8)
    source = Source("x", "made up", ("b", "a", "c"), {"all": Split(images, ["0", "1"], np.array([0, 1]))})
    assert table.write(source, tmp_path / "copy") == [
        "1 classes are no longer known, because nothing is of them",
        "classes are numbered anew, in the order of their names",
    ]
    assert table.read(tmp_path / "copy", Findings()).classes == ("a", "b")
    bare = Source("x", "made up", ("a",), {"all": Split(images, ["0", "1"])})
    with pytest.raises(UsageError, match="has nothing, and a table holds things"):
        table.write(bare, tmp_path / "bare")


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)
numbers = st.floats(-1e7, 1e7)


@given(st.lists(st.lists(st.tuples(names, numbers, numbers, numbers, numbers), max_size=3), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_names_and_numbers_come_back(found: list[list[tuple]]) -> None:
    """Names come back but for what no line of text can hold, numbers to the last bit."""
    classes = tuple(sorted({thing[0] for own in found for thing in own}))
    things = [thing for own in found for thing in own]
    count = len(things)
    objects = Objects(
        starts=starts_of([len(own) for own in found]),
        sizes=np.full((len(found), 2), 4, dtype=np.int32),
        boxes=np.array([thing[1:] for thing in things], dtype=np.float64).reshape(-1, 4),
        labels=np.array([classes.index(thing[0]) for thing in things], dtype=np.int64),
        crowd=np.zeros(count, dtype=bool),
        difficult=np.zeros(count, dtype=bool),
        areas=np.full(count, np.nan),
        masks=None,
        keypoints=None,
        skeleton=None,
        ids=np.arange(count),
        noun="line",
        files=["x"],
    )
    with tempfile.TemporaryDirectory() as here:
        paths = [Path(here) / f"{n}.png" for n in range(len(found))]
        for path in paths:
            Image.new("L", (4, 4)).save(path)
        source = Source("x", "made up", classes, {"all": Split(paths, [path.name for path in paths], objects=objects)})
        table.write(source, Path(here) / "copy")
        again = objects_of(read := table.read(Path(here) / "copy", Findings()), "all")
    assert np.array_equal(again.boxes, objects.boxes)
    assert np.array_equal(again.starts, objects.starts)
    plain = all(name.isascii() and name.isprintable() and name.strip() == name for name in classes)
    if plain:
        assert [read.classes[k] for k in again.labels] == [classes[k] for k in objects.labels]
    same = objects.labels[:, None] == objects.labels
    assert np.array_equal(again.labels[:, None] == again.labels, same), "what differed differs, what was one is one"
