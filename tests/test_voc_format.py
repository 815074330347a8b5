"""Pascal VOC, read and written: known sets, there and back, and files that are broken in every way."""

import io
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
from saccade.data.formats import voc
from saccade.data.formats.voc_files import colours_of_voc
from saccade.data.label_maps import LabelMaps
from saccade.data.objects import Objects, PackedMasks, starts_of
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.geometry.masks import Polygon, Runs, bitmap, runs_from_bitmap
from saccade.structures import VOID, Skeleton

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmax>{box[2]}</xmax><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><ymax>{box[3]}</ymax></bndbox></object>"""


def xml(*objects: str, size=(20, 24), database="Unknown", filename="x.png") -> str:
    return f"""<annotation><filename>{filename}</filename><source><database>{database}</database></source>
<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>{"".join(objects)}</annotation>"""


def thing(name="cat", box=(1, 2, 11, 12), difficult=0) -> str:
    return OBJECT.format(name=name, box=box, difficult=difficult)


@pytest.fixture
def kit(tmp_path, paint):
    """kit({"a": XML or None}, {"train": ["a"]}) makes a development kit with an image a stem."""

    def make(annotations: dict[str, str | bytes | None], lists: dict[str, list[str]] | None = None) -> Path:
        for folder in ("Annotations", "JPEGImages"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for key, (stem, text) in enumerate(annotations.items()):
            paint(tmp_path / "JPEGImages" / f"{stem}.png", key)
            if text is not None:
                content = text if isinstance(text, bytes) else text.encode()
                (tmp_path / "Annotations" / f"{stem}.xml").write_bytes(content)
        for name, stems in (lists or {}).items():
            (tmp_path / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        return tmp_path

    return make


def read(path: Path) -> Source:
    assert voc.recognises(path)
    return voc.read(path, Findings())


# Reading


def test_bccd(shared):
    """The counts that the data's README publishes; the two boxes that are degenerate or outside stay."""
    source = read(shared / "data" / "bccd")
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 205, "val": 87, "test": 72}
    assert sum(objects_of(source, name).count for name in source.splits) == 4888
    assert source.classes == ("Platelets", "RBC", "WBC")
    boxes = np.concatenate([objects_of(source, name).boxes for name in source.splits])
    assert ((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])).any()
    first = source.splits["train"]
    assert first.ids[0] == "BloodImage_00001.jpg"
    assert first.objects[0].boxes[0].tolist() == [68, 315, 286, 480]
    assert source.notes == ("1,131 objects are marked as truncated, occluded or by a pose, which was passed over",)


def test_official_coordinates_count_from_one_and_others_do_not(kit):
    box = (48, 240, 195, 371)
    path = kit({"a": xml(thing(box=box), database="The VOC2007 Database"), "b": xml(thing(box=box))})
    objects = objects_of(read(path))
    assert objects.boxes.tolist() == [[47, 239, 195, 371], [48, 240, 195, 371]]


def test_what_an_annotation_says(kit):
    path = kit({"a": xml(thing("dog", (1.5, 2.25, 3e1, 4), 1), thing("cat"), size=(20, 24)), "b": xml(), "c": None})
    source = read(path)
    objects = objects_of(source)
    assert source.classes == ("cat", "dog")
    assert source.splits["all"].ids == ["a.png", "b.png", "c.png"]
    assert objects.starts.tolist() == [0, 2, 2, 2]
    assert objects.labels.tolist() == [1, 0]
    assert objects.difficult.tolist() == [True, False]
    assert objects.boxes[0].tolist() == [1.5, 2.25, 30, 4]
    assert objects.sizes.tolist() == [[20, 24], [20, 24], [0, 0]]
    assert objects.where(1) == f"{path / 'Annotations' / 'a.xml'}: object 2"
    assert source.notes == ("1 images have no XML file: nothing is in them",)


def test_lists_make_the_splits(kit):
    path = kit(
        {name: xml(thing(name)) for name in "abcd"},
        {"train": ["a", "b  1"], "val": ["c"], "trainval": ["a", "b", "c"]},
    )
    source = read(path)
    assert {name: split.ids for name, split in source.splits.items()} == {"train": ["a.png", "b.png"], "val": ["c.png"]}
    assert "1 images are in no list" in source.notes[0]
    assert source.classes == ("a", "b", "c")


def test_trainval_alone_is_the_training_split(kit):
    source = read(kit({"a": xml(), "b": xml()}, {"trainval": ["a"], "test": ["b"]}))
    assert {name: split.ids for name, split in source.splits.items()} == {"train": ["a.png"], "test": ["b.png"]}


def test_the_kit_may_be_deeper(kit, tmp_path):
    kit({"a": xml(thing())})
    deep = tmp_path / "VOCdevkit" / "VOC2012"
    deep.mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).rename(deep / folder)
    for place in (tmp_path, tmp_path / "VOCdevkit", deep):
        assert objects_of(read(place)).count == 1
    (tmp_path / "VOCdevkit" / "VOC2007" / "Annotations").mkdir(parents=True)
    (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages").mkdir()
    with pytest.raises(DataError, match=r"several VOC folders.*VOC2007.*VOC2012"):
        read(tmp_path)


def test_files_beside_the_images(tmp_path, paint):
    for name in ("train/a", "train/b", "valid/c"):
        paint(tmp_path / f"{name}.jpg", len(name))
        (tmp_path / f"{name}.xml").write_text(xml(thing()))
    source = read(tmp_path)
    assert {name: split.ids for name, split in source.splits.items()} == {
        "train": ["train/a.jpg", "train/b.jpg"],
        "val": ["valid/c.jpg"],
    }
    assert objects_of(read(tmp_path / "train")).count == 2


def test_a_filename_that_disagrees(kit, paint, tmp_path):
    """The image of the XML's own name comes first; its <filename> only where there is none."""
    path = kit({"a": xml(thing("own"), filename="b.png"), "b": None, "c": None})
    (path / "Annotations" / "z.xml").write_text(xml(thing("other"), filename="c.png"))
    source = read(path)
    names = {id: source.splits["all"].objects[i].labels.tolist() for i, id in enumerate(source.splits["all"].ids)}
    assert source.classes == ("other", "own")
    assert names == {"a.png": [1], "b.png": [], "c.png": [0]}


def test_polygons_and_parts_are_told(kit):
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    text = thing().replace("<bndbox>", part + "<bndbox>", 1)
    source = read(kit({"a": xml(text)}))
    assert objects_of(source).boxes.tolist() == [[1, 2, 11, 12]]
    assert "parts of 1 objects were left out" in source.notes[0]


def test_pixel_labels_of_the_segmentation_lists(kit):
    path = kit({"a": xml(thing("bird")), "b": xml(thing("person"))}, {"train": ["a", "b"]})
    values = np.zeros((20, 24), dtype=np.uint8)
    values[:5], values[5:9] = 3, 255
    for folder in ("SegmentationClass", "SegmentationObject"):
        (path / folder).mkdir()
        Image.fromarray(values if folder == "SegmentationClass" else (values == 3).astype(np.uint8)).save(
            path / folder / "a.png"
        )
    (path / "ImageSets" / "Segmentation").mkdir()
    (path / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n")
    source = read(path)
    assert source.splits["train"].label_maps is None
    assert objects_of(source, "train").masks is None
    assert sum("only 1 of 2 images have a PNG" in note for note in source.notes) == 2
    source = read(path / "ImageSets" / "Segmentation")
    maps = source.splits["train"].label_maps
    assert maps is not None
    assert maps.classes == ("background", *voc.CLASSES)
    assert len(maps.classes) == 21
    expected = np.where(values == 255, VOID, values)
    np.testing.assert_array_equal(maps[0].labels, expected)
    own = objects_of(source, "train")[0]
    assert own.masks is not None
    assert own.masks[0] is not None
    np.testing.assert_array_equal(bitmap(own.masks[0], (20, 24)), values == 3)


def test_the_palette_is_that_of_the_publication():
    """The colours that the development kit's documentation shows for its first classes and for void."""
    colours = colours_of_voc().tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert colours[15] == [192, 128, 128]
    assert colours[20] == [0, 64, 128]
    assert colours[255] == [224, 224, 192]


# Broken files: what must be named

LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
ELSEWHERE = '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><annotation><filename>&x;</filename></annotation>'
BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "a.xml: is no XML"),
    "no XML": ("cat 1 2 3 4", "a.xml: is no XML"),
    "binary": (bytes(range(256)), "a.xml: is no XML"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.xml: is no XML"),
    "cut short": (xml(thing())[:150], "a.xml: is no XML"),
    "unclosed": ("<annotation><object></annotation>", "mismatched tag"),
    "undefined entity": ("<annotation><filename>&nbsp;</filename></annotation>", "undefined entity"),
    "billion laughs": (LAUGHS, "entities"),
    "external entity": (OUTSIDE, "entities"),
    "external definition": (ELSEWHERE, "a.xml"),
    "unknown encoding": ('<?xml version="1.0" encoding="klingon"?><annotation/>', "encoding"),
    "a lying encoding": ('<?xml version="1.0" encoding="utf-16"?><annotation/>', "a.xml"),
    "another root": ("<annotations></annotations>", "begins with <annotations>; expected <annotation>"),
    "another language": ("<html><body/></html>", "begins with <html>"),
    "nested too deep": ("<a>" * 100_000, "is no XML"),
    "nested and closed": ("<a>" * 50_000 + "</a>" * 50_000, "begins with <a>"),
    "too large": (b" " * (1 << 21) + b"<annotation/>", "more than 2,097,152 bytes"),
    "two roots": ("<annotation/><annotation/>", "junk after document element"),
}
BAD_OBJECTS: dict[str, tuple[str, str]] = {
    "no name": (thing().replace("<name>cat</name>", ""), "object 2: has no <name>"),
    "empty name": (thing(name="  "), "object 2: has no <name>"),
    "no box": ("<object><name>cat</name></object>", "object 2: has no <bndbox>"),
    "rotated box": (thing().replace("bndbox", "robndbox"), "object 2: has no <bndbox>"),
    "no xmin": (thing().replace("<xmin>1</xmin>", ""), "object 2: has no <xmin>"),
    "empty ymax": (thing().replace(">12<", "><"), "object 2: <ymax> is ''"),
    "words": (thing(box=("left", 2, 3, 4)), "object 2: <xmin> is 'left'; expected a number of pixels"),
    "nan": (thing(box=(1, "nan", 3, 4)), "object 2: <ymin> is 'nan'"),
    "infinite": (thing(box=(1, 2, "inf", 4)), "object 2: <xmax> is 'inf'"),
    "minus infinite": (thing(box=(1, 2, 3, "-Infinity")), "object 2: <ymax> is '-Infinity'"),
    "huge": (thing(box=(1, 2, 3, "1e300")), "object 2: <ymax> is '1e300'"),
    "many digits": (thing(box=(1, 2, 3, "9" * 5000)), "object 2: <ymax> is '9999"),
    "hexadecimal": (thing(box=("0x10", 2, 3, 4)), "object 2: <xmin> is '0x10'"),
    "underscores": (thing(box=("1_0", 2, 3, 4)), "object 2: <xmin> is '1_0'"),
    "two numbers": (thing(box=("1 2", 2, 3, 4)), "object 2: <xmin> is '1 2'"),
    "a comma": (thing(box=("1,5", 2, 3, 4)), "object 2: <xmin> is '1,5'"),
    "difficulty": (thing(difficult="very"), "object 2: <difficult> is 'very'; expected 0 or 1"),
    "difficulty 2": (thing(difficult=2), "object 2: <difficult> is '2'"),
}
BAD_SIZES: dict[str, tuple[tuple, str]] = {
    "words": (("high", 24), "a.xml: size: <height> is 'high'"),
    "nan": ((20, "nan"), "a.xml: size: <width> is 'nan'"),
    "negative": ((-20, 24), "a.xml: size: is 24 x -20; expected whole numbers"),
    "fraction": ((20, 24.5), "a.xml: size: is 24.5 x 20; expected whole numbers"),
    "huge": ((20, 10**12), "a.xml: size: <width> is '1000000000000'"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_broken_files(kit, case):
    content, words = BAD_FILES[case]
    path = kit({"a": content, "b": xml(thing())})
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    source = voc.read(path, findings)
    assert [finding.kind for finding in findings.kept] == ["broken annotation file"]
    assert source.splits["all"].ids == ["b.png"]


@pytest.mark.parametrize("case", BAD_OBJECTS)
def test_broken_objects(kit, case):
    content, words = BAD_OBJECTS[case]
    path = kit({"a": xml(thing("dog"), content, thing("cow"))})
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    objects = objects_of(voc.read(path, findings))
    assert [finding.kind for finding in findings.kept] == ["broken annotation"]
    assert objects.ids.tolist() == [1, 3]


@pytest.mark.parametrize("case", BAD_SIZES)
def test_broken_sizes(kit, case):
    size, words = BAD_SIZES[case]
    path = kit({"a": xml(thing(), size=size)})
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    assert objects_of(voc.read(path, findings)).sizes.tolist() == [[0, 0]]


def test_an_annotation_without_an_image(kit):
    path = kit({"a": xml(thing())})
    (path / "Annotations" / "ghost.xml").write_text(xml(thing(), filename="spirit.jpg"))
    with pytest.raises(DataError, match=r"ghost\.xml: there is no image ghost\.jpg, nor 'spirit\.jpg'"):
        read(path)
    findings = Findings(strict=False)
    assert voc.read(path, findings).splits["all"].ids == ["a.png"]
    assert findings.kept[0].kind == "missing image"


def test_two_annotations_of_an_image(kit):
    path = kit({"a": None})
    for name in ("y", "z"):
        (path / "Annotations" / f"{name}.xml").write_text(xml(thing(name), filename="a.png"))
    with pytest.raises(DataError, match=r"z\.xml: is about 'a\.png', and so is .*y\.xml"):
        read(path)


def test_the_annotation_of_the_same_name_comes_first(kit):
    path = kit({"b": xml(thing("own"))})
    (path / "Annotations" / "a.xml").write_text(xml(thing("other"), filename="b.png"))
    with pytest.raises(DataError, match=r"a\.xml: is about 'b\.png', and so is .*b\.xml"):
        read(path)
    assert voc.read(path, Findings(strict=False)).classes == ("own",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nghost\n", "line 2: lists 'ghost', but there is no image and no annotation"),
        (b"a\na\n", "line 2: lists 'a' again"),
        (b"../JPEGImages/a\n", "line 1: lists '../JPEGImages/a'"),
        (b"/etc/passwd\n", "line 1: lists '/etc/passwd'"),
        (b"\xff\xfe\x00", "train.txt is no text"),
        (b"", "has no image that can be used"),
        (b"a\x00\n", "line 1: lists 'a"),
    ],
)
def test_broken_lists(kit, content, words):
    path = kit({"a": xml(thing())}, {"train": []})
    (path / "ImageSets" / "Main" / "train.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    assert "train.txt" in str(caught.value) or "has no image" in words


def test_two_images_of_one_name(kit, paint):
    path = kit({"a": xml(thing())})
    paint(path / "JPEGImages" / "a.jpg", 7)
    with pytest.raises(DataError, match=r"a\.png: a\.jpg has the same name"):
        read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [("dog\n", "does not name the class 'cat'"), ("cat\ncat\n", "names the class 'cat' twice"), (b"\xff", "no text")],
)
def test_broken_class_lists(kit, content, words):
    path = kit({"a": xml(thing())})
    (path / "classes.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        read(path)


def png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a.png: cannot be read"),
        (b"P5 nonsense", "a.png: cannot be read"),
        (png(np.zeros((20, 24), dtype=np.uint8))[:45], "a.png: cannot be read"),
        (png(np.zeros((20, 24, 3), dtype=np.uint8)), "a.png: is an image of mode RGB; expected grey or palette"),
        (png(np.zeros((24, 20), dtype=np.uint8)), "a.png: is 20 x 24, but its image is 24 x 20"),
        (png(np.full((20, 24), 9, dtype=np.uint8)), "a.png: holds the value 9, but"),
    ],
)
def test_broken_masks(kit, content, words):
    path = kit({"a": xml(thing())})
    (path / "SegmentationObject").mkdir()
    (path / "SegmentationObject" / "a.png").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    findings = Findings(strict=False)
    own = objects_of(voc.read(path, findings))[0]
    assert len(findings.kept) == 1
    assert own.masks == (None,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("cat\n", "line 1: is 'cat'; expected 'name:red,green,blue::'"),
        ("cat:1,2,999::\n", "colours of 0 to 255"),
        ("# nothing\n", "expected lines"),
    ],
)
def test_broken_label_maps(kit, content, words):
    path = kit({"a": xml(thing())})
    (path / "SegmentationClass").mkdir()
    (path / "SegmentationClass" / "a.png").write_bytes(png(np.zeros((20, 24), dtype=np.uint8)))
    (path / "labelmap.txt").write_text(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "labelmap.txt" in str(caught.value)
    assert words in str(caught.value)


def test_label_maps_in_the_colours_of_a_table(kit):
    """As CVAT writes them; where the table is there and the maps are grey, its lines count from 0."""
    path = kit({"a": xml(thing())})
    (path / "SegmentationClass").mkdir()
    (path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n")
    pixels = np.zeros((20, 24, 3), dtype=np.uint8)
    pixels[:5], pixels[5] = (250, 50, 83), (224, 224, 192)
    wanted = np.zeros((20, 24), dtype=np.uint8)
    wanted[:5], wanted[5] = 1, VOID
    for content in (pixels, wanted):
        (path / "SegmentationClass" / "a.png").write_bytes(png(content))
        maps = next(iter(read(path).splits.values())).label_maps
        assert maps is not None and maps.classes == ("background", "cat")
        assert np.array_equal(maps[0].labels, wanted)


def test_poses_are_passed_over_and_said(kit):
    odd = thing().replace("</name>", "</name><pose>Left</pose>")
    assert read(kit({"a": xml(thing(), odd)})).notes == (
        "1 object is marked as truncated, occluded or by a pose, which was passed over",
    )


def test_a_kit_without_images(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(DataError, match="has no image that can be used"):
        read(tmp_path)


def test_what_it_does_not_recognise(tmp_path, paint, class_folders):
    assert not voc.recognises(tmp_path)
    assert not voc.recognises(tmp_path / "nowhere")
    class_folders(tmp_path / "classes", {"cat": 1})
    assert not voc.recognises(tmp_path / "classes")
    paint(tmp_path / "other" / "a.jpg", 1)
    (tmp_path / "other" / "a.xml").write_text("<settings/>")
    assert not voc.recognises(tmp_path / "other")
    (tmp_path / "other" / "a.txt").write_text("")
    assert not voc.recognises(tmp_path / "other" / "a.txt")


def test_a_thousand_damaged_files_give_words(kit):
    """Whatever bytes are changed, cut out or doubled: an error in words that names the file, or a set."""
    path = kit({"a": xml(thing(), thing("dog", difficult=1)), "b": xml(thing())})
    whole = (path / "Annotations" / "a.xml").read_bytes()
    rng = random.Random(4)
    messages = []
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            place, count = rng.randrange(len(content)), rng.randint(1, 12)
            again = content[place : place + 40]
            swap = rng.choice([b"", b"<", b"-1", b"nan", b"1e999", b"&a;", b"\xff", b"<object>", again])
            content[place : place + count] = swap
        (path / "Annotations" / "a.xml").write_bytes(content)
        try:
            voc.read(path, Findings())
        except DataError as error:
            messages.append(str(error))
        voc.read(path, Findings(strict=False))
    assert len(messages) > 300
    assert all("a.xml" in message for message in messages)


# There and back

NUMBERS = st.one_of(st.integers(-50, 400).map(float), st.floats(-50, 400, allow_nan=False))
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=0, max_size=8)


@st.composite
def split_with_objects(draw, classes: int, masks: bool) -> Split:
    images, boxes, counts, own_masks = [], [], [], []
    for _ in range(draw(st.integers(0, 3))):
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        images.append(np.full((height, width, 3), len(images), dtype=np.uint8))
        count = draw(st.integers(0, 3))
        counts.append(count)
        boxes += [[draw(NUMBERS) for _ in range(4)] for _ in range(count)]
        owner = np.array(draw(st.lists(st.integers(0, 3), min_size=height * width, max_size=height * width)))
        for number in range(count):
            covered = owner.reshape(height, width) == number + 1
            own_masks.append(runs_from_bitmap(covered) if covered.any() else None)
    total = sum(counts)
    flags = st.lists(st.booleans(), min_size=total, max_size=total)
    objects = Objects(
        starts=starts_of(counts),
        sizes=np.array([image.shape[:2] for image in images], dtype=np.int32).reshape(-1, 2),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.array(draw(st.lists(st.integers(0, classes - 1), min_size=total, max_size=total)), dtype=np.int64),
        crowd=np.zeros(total, dtype=bool),
        difficult=np.array(draw(flags), dtype=bool),
        areas=np.full(total, np.nan),
        masks=PackedMasks.pack(own_masks) if masks else None,
        keypoints=None,
        skeleton=None,
        ids=np.arange(total),
        noun="object",
        files=[""],
    )
    return Split(Made(images), [f"im {i}" for i in range(len(images))], objects=objects)


class Made:
    """Images of different sizes in memory."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index] if isinstance(index, int) else Made([self.images[i] for i in index])


def same_objects(first: Objects, second: Objects) -> None:
    assert len(first) == len(second)
    for index in range(len(first)):
        ours, theirs = first[index], second[index]
        assert ours.size == theirs.size
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.difficult, theirs.difficult)
        for mine, yours in zip(ours.masks or (), theirs.masks or (), strict=True):
            assert (mine is None) == (yours is None)
            if mine is not None and yours is not None:
                np.testing.assert_array_equal(bitmap(mine, ours.size), bitmap(yours, ours.size))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), names=st.lists(NAMES, min_size=1, max_size=4, unique=True), masks=st.booleans())
def test_there_and_back(data, names, masks):
    """Boxes to the last bit, masks to the pixel, `difficult`, classes and their order, images with nothing on them."""
    divided = data.draw(st.booleans())
    kinds = ["train", "val"] if divided else ["all"]
    splits = {kind: data.draw(split_with_objects(len(names), masks)) for kind in kinds}
    splits = {kind: split for kind, split in splits.items() if len(split)}
    if not splits:
        return
    source = Source("made", "made", tuple(names), splits)
    with tempfile.TemporaryDirectory() as folder:
        lost = voc.write(source, Path(folder, "out"))
        back = read(Path(folder, "out"))
        assert set(back.splits) == set(splits)
        assert len(back.classes) == len(names)
        changed = sum(old != new for old, new in zip(names, back.classes, strict=True))
        assert sum(not line.startswith("the names of") for line in lost) == changed
        for kind, split in splits.items():
            same_objects(split.objects, back.splits[kind].objects)
            assert (back.splits[kind].objects.masks is not None) == masks


@settings(max_examples=40, deadline=None)
@given(data=st.data(), coloured=st.booleans())
def test_pixel_labels_there_and_back(data, coloured):
    count = data.draw(st.integers(1, 4))
    names = tuple(f"a:b{k}" for k in range(count))
    colours = np.arange(3 * count, dtype=np.uint8).reshape(-1, 3) if coloured else None
    values = st.sampled_from([*range(count), VOID])
    maps = [np.array(data.draw(st.lists(values, min_size=12, max_size=12)), dtype=np.uint8).reshape(3, 4)] * 2
    images = np.zeros((2, 3, 4), dtype=np.uint8)
    labels = LabelMaps(maps, names, {k: k for k in [*range(count), VOID]}, colours=colours)
    source = Source("made", "made", names, {"train": Split(images, ["a", "b"], label_maps=labels)})
    with tempfile.TemporaryDirectory() as folder:
        assert voc.write(source, Path(folder, "out")) == []
        back = read(Path(folder, "out"))
        again = back.splits["train"].label_maps
        assert back.classes == names
        assert back.splits["train"].objects is None
        assert again is not None
        assert again.classes == names
        if colours is not None:
            np.testing.assert_array_equal(again.colours, colours)
        for index in range(2):
            np.testing.assert_array_equal(again[index].labels, maps[index])


def one_split(masks=None, count=1, **columns) -> Source:
    """One image of 10 x 10 with so many objects."""
    plain = {
        "boxes": np.tile([1.0, 2.0, 5.0, 6.0], (count, 1)),
        "labels": np.zeros(count, dtype=np.int64),
        "crowd": np.zeros(count, dtype=bool),
        "difficult": np.zeros(count, dtype=bool),
        "areas": np.full(count, np.nan),
        "keypoints": None,
        "skeleton": None,
    }
    packed = None if masks is None else PackedMasks.pack(masks)
    objects = Objects(
        starts=np.array([0, count]),
        sizes=np.array([[10, 10]], dtype=np.int32),
        masks=packed,
        ids=np.arange(count),
        noun="line",
        files=[""],
        **(plain | columns),
    )
    return Source("made", "made", ("cat",), {"all": Split(np.zeros((1, 10, 10, 3), np.uint8), ["a"], objects=objects)})


def test_what_is_lost_is_said(tmp_path):
    skeleton = Skeleton(("nose",), (), (0,), (0.1,))
    keypoints = np.array([[[1.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]], dtype=np.float32)
    source = one_split(
        count=2,
        crowd=np.array([True, False]),
        areas=np.array([4.0, np.nan]),
        keypoints=keypoints,
        skeleton=skeleton,
    )
    assert voc.write(source, tmp_path / "out") == [
        "the keypoints of 1 object were left out",
        "the marks of 1 object as crowds were left out",
        "the areas of 1 object were left out",
    ]


def test_masks_that_overlap_lose_pixels_and_it_is_said(tmp_path):
    """Two squares of 36 and 16 pixels that share 4: the small one lies on top."""
    large, small = np.zeros((10, 10), dtype=bool), np.zeros((10, 10), dtype=bool)
    large[:6, :6], small[4:8, 4:8] = True, True
    lost = voc.write(one_split([runs_from_bitmap(small), runs_from_bitmap(large)], 2), tmp_path / "out")
    assert lost == ["4 pixels of masks are hidden by masks that overlap them"]
    own = objects_of(read(tmp_path / "out"))[0]
    np.testing.assert_array_equal(bitmap(own.masks[0], (10, 10)), small)
    np.testing.assert_array_equal(bitmap(own.masks[1], (10, 10)), large & ~small)


def test_masks_that_cannot_be_carried(tmp_path):
    """Polygons become pixels; an empty mask, one of absurd coordinates, and all beyond the 254th are left out."""
    dot = np.zeros((10, 10), dtype=bool)
    dot[3, 3] = True
    empty = Runs((10, 10), np.array([100], dtype=np.uint32))
    far = Polygon((np.array([[0, 0], [1e30, 0], [0, 1e30]]),))
    square = Polygon((np.array([[6.0, 6.0], [9.0, 6.0], [9.0, 9.0], [6.0, 9.0]]),))
    lost = voc.write(one_split([empty, far, square] + [runs_from_bitmap(dot)] * 253, 256), tmp_path / "out")
    assert lost[0] == "2 polygons became pixels"
    assert lost[2].startswith("4 masks are empty, cannot be drawn or are beyond the 254th of an image")
    masks = objects_of(read(tmp_path / "out"))[0].masks
    np.testing.assert_array_equal(bitmap(masks[2], (10, 10)), bitmap(square, (10, 10)))
    assert masks[0] is None
    assert masks[255] is None


def test_only_what_it_can_hold_is_written(tmp_path):
    images = np.zeros((1, 8, 8), dtype=np.uint8)
    source = Source("digits", "made", ("0",), {"all": Split(images, ["a"], np.zeros(1, dtype=np.int64))})
    with pytest.raises(
        UsageError, match="Pascal VOC holds things in its images or a class for every pixel; choose csv"
    ):
        voc.write(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_are_written_whole_where_they_are(tmp_path):
    voc.write(one_split(boxes=np.array([[1.0, 0.1, -3.0, 1e-7]])), tmp_path / "out")
    text = (tmp_path / "out" / "Annotations" / "a.xml").read_text()
    assert "<xmin>1</xmin>" in text
    assert "<ymin>0.1</ymin>" in text
    assert "<xmax>-3</xmax>" in text
    assert "<ymax>1e-07</ymax>" in text
    assert "The VOC" not in text
