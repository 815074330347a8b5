"""COCO files: against pycocotools, against what was written, and against whatever may be wrong with them."""

import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as official_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import Params
from sets import everything, objects_of

from saccade.data.findings import DataError, Findings
from saccade.data.formats import coco, coco_json, folder
from saccade.data.formats.coco_skeletons import mirror_of
from saccade.data.formats.coco_write import xywh_from_xyxy
from saccade.data.formats.listed import inside
from saccade.data.formats.writing import safe_names, start_folder, write_images
from saccade.data.objects import Objects, PackedMasks
from saccade.data.source import Source, Split
from saccade.data.source import read as read_any
from saccade.errors import UsageError
from saccade.geometry.decimals import shortest
from saccade.geometry.masks import Polygon, Runs, bitmap, runs_from_bitmap

Json = dict[str, Any]


def official(file: Path) -> Any:
    """pycocotools' view of a file."""
    return COCO(str(file))


def official_bitmap(theirs: Any, annotation: Json) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools' own affair
        return theirs.annToMask(annotation)


def small() -> Json:
    """Two images, the second without objects; a polygon, and runs of a crowd."""
    runs: Any = official_mask.encode(np.asfortranarray(np.eye(20, 24, dtype=np.uint8)))
    one = {"id": 7, "image_id": 1, "category_id": 3, "bbox": [1.5, 2, 10, 5.25], "area": 31.5, "iscrowd": 0}
    two = {"id": 9, "image_id": 1, "category_id": 18, "bbox": [0, 0, 24, 20], "area": 20, "iscrowd": 1}
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 24, "height": 20},
            {"id": 2, "file_name": "b.png", "width": 24, "height": 20},
        ],
        "annotations": [
            one | {"segmentation": [[1.5, 2, 11.5, 2, 11.5, 7.25]]},
            two | {"segmentation": {"size": [20, 24], "counts": runs["counts"].decode()}},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
    }


@pytest.fixture
def put(tmp_path: Path, paint: Callable[..., Path]) -> Callable[[Any], Path]:
    """put(content) writes a COCO file beside two images of 20 x 24."""
    paint(tmp_path / "a.png", 1)
    paint(tmp_path / "b.png", 2)

    def write(content: Any) -> Path:
        file = tmp_path / "set.json"
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return file

    return write


def test_what_is_passed_over_is_said_though_it_holds_tables(put: Callable[[Any], Path]) -> None:
    """As CVAT's attributes, and behind a long list of points."""
    content = small()
    content["annotations"][0] |= {"attributes": {"occluded": False}, "caption": "x"}
    content["annotations"][0]["segmentation"] = [[1.5, 2] * 1500 + [11.5, 2, 11.5, 7.25]]
    (note,) = coco.read(put(content), Findings()).notes
    assert note.startswith("'attributes', 'caption' of every annotation in ") and note.endswith(" were passed over")


def test_the_official_annotations_are_what_pycocotools_makes_of_them(shared: Path) -> None:
    file = shared / "data/coco-eval/dataset/cocoapi/instances_val2014_100.json"
    index, theirs = coco_json.index(file, Findings()), official(file)
    objects = index.objects
    assert objects.count == len(theirs.anns) == 839
    ids = list(index.categories)
    crowds = 0
    for place, (id, name) in enumerate(zip(index.listed.places, index.listed.names, strict=True)):
        assert theirs.imgs[id]["file_name"] == name
        mine, anns = objects[place], theirs.loadAnns(theirs.getAnnIds(imgIds=[id]))
        assert mine.size == (theirs.imgs[id]["height"], theirs.imgs[id]["width"])
        assert mine.masks is not None
        assert len(mine) == len(anns)
        for n, ann in enumerate(anns):
            x, y, w, h = ann["bbox"]
            assert mine.boxes[n].tolist() == [x, y, x + w, y + h]
            assert ids[mine.labels[n]] == ann["category_id"]
            assert mine.areas is not None and mine.areas[n] == ann["area"]
            assert mine.crowd is not None and mine.crowd[n] == ann["iscrowd"]
            mask = mine.masks[n]
            assert mask is not None
            assert np.array_equal(bitmap(mask, mine.size), official_bitmap(theirs, ann))
            crowds += isinstance(mask, Runs)
    assert crowds == 9


def test_real_keypoints_are_read_and_written_as_they_are(shared: Path, tmp_path: Path) -> None:
    file = shared / "data/keypoints-coco/test_coco.json"
    source = coco.read(file, Findings())
    document = json.loads(file.read_text())
    objects = objects_of(source, "test")
    by_id = {ann["id"]: ann for ann in document["annotations"]}
    assert objects.keypoints is not None and objects.skeleton is not None
    for n, id in enumerate(objects.ids.tolist()):
        assert objects.keypoints[n].ravel().tolist() == by_id[id]["keypoints"]
    assert np.allclose(objects.skeleton.sigmas, Params("keypoints").kpt_oks_sigmas)
    assert [[a + 1, b + 1] for a, b in objects.skeleton.edges] == document["categories"][0]["skeleton"]
    names = objects.skeleton.names
    assert {(names[a], names[b]) for a, b in enumerate(objects.skeleton.mirror) if a < b} >= {
        ("left_eye", "right_eye"),
        ("left_ankle", "right_ankle"),
    }
    assert coco.write(source, tmp_path / "copy") == []
    copy = json.loads((tmp_path / "copy/annotations/instances_test.json").read_text())
    assert len(copy["annotations"]) == len(by_id) == 14
    for ann in copy["annotations"]:
        for key in ("bbox", "segmentation", "keypoints", "area", "iscrowd", "num_keypoints"):
            assert ann[key] == by_id[ann["id"]][key]
    assert copy["categories"][0]["skeleton"] == document["categories"][0]["skeleton"]


def test_crowdposes_edges_that_join_nothing_are_said_and_its_sigmas_known(shared: Path) -> None:
    index = coco_json.index(shared / "data/coco-eval/dataset/example_crowdpose_val.json", Findings())
    skeleton = index.objects.skeleton
    assert skeleton is not None
    published = [0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]
    assert np.allclose(skeleton.sigmas, np.array(published) / 10)
    notes: list[str] = []
    described = [(category.keypoints, category.edges) for category in index.categories.values()]
    coco.skeleton_of(described, notes)
    assert "edges of the skeleton were left out" in notes[0]
    assert np.isnan(index.objects.areas).all()


def test_texts_that_are_numbers_are_ids_too(shared: Path) -> None:
    index = coco_json.index(shared / "data/coco-eval/dataset/gt_ignore_test.json", Findings())
    assert index.objects.count == 14


def test_a_written_set_is_what_pycocotools_reads(tmp_path: Path) -> None:
    source = everything(tmp_path / "origin")
    lost = coco.write(source, tmp_path / "copy")
    assert lost == ["the marks of 6 objects as difficult were left out", "the label maps of 8 images were left out"]
    theirs = official(tmp_path / "copy/annotations/instances_train.json")
    objects = objects_of(source, "train")
    assert [cat["name"] for cat in theirs.loadCats(theirs.getCatIds())] == list(source.classes)
    for place in range(4):
        mine = objects[place]
        anns = theirs.loadAnns(theirs.getAnnIds(imgIds=[place + 1]))
        assert len(anns) == len(mine)
        for n, ann in enumerate(anns):
            x, y, w, h = ann["bbox"]
            assert [x, y, x + w, y + h] == mine.boxes[n].tolist()
            assert ann["category_id"] == mine.labels[n] + 1
            assert mine.masks is not None and (mask := mine.masks[n]) is not None
            assert np.array_equal(official_bitmap(theirs, ann), bitmap(mask, mine.size))
            assert ann["iscrowd"] == (mine.crowd is not None and mine.crowd[n])
            if n == 0:
                assert mine.keypoints is not None
                assert ann["keypoints"] == mine.keypoints[n].ravel().tolist()
                assert ann["num_keypoints"] == 2
            else:
                assert "keypoints" not in ann, "only cats have keypoints"


def test_writing_and_reading_is_the_identity(tmp_path: Path) -> None:
    source = everything(tmp_path / "origin")
    coco.write(source, tmp_path / "once")
    once = coco.read(tmp_path / "once", Findings())
    assert coco.write(once, tmp_path / "twice") == []
    for name in ("train", "val"):
        first, second = (tmp_path / which / f"annotations/instances_{name}.json" for which in ("once", "twice"))
        assert first.read_bytes() == second.read_bytes()
        assert once.splits[name].ids == source.splits[name].ids
        for n, id in enumerate(once.splits[name].ids):
            assert (tmp_path / "twice" / name / id).read_bytes() == source.splits[name].content(n)
    assert objects_of(once, "train").where(0).endswith("instances_train.json: annotation 1")


def test_what_a_set_does_not_say_is_measured(tmp_path: Path) -> None:
    runs = runs_from_bitmap(np.eye(8, 9, dtype=bool))
    objects = Objects(
        starts=np.array([0, 2, 2]),
        sizes=np.zeros((2, 2), dtype=np.int32),
        boxes=np.array([[1, 2, 4, 8], [0, 0, 3, 3.5]], dtype=np.float64),
        labels=np.array([0, 0]),
        crowd=np.zeros(2, dtype=bool),
        difficult=np.zeros(2, dtype=bool),
        areas=np.full(2, np.nan),
        masks=PackedMasks.pack([runs, None]),
        keypoints=None,
        skeleton=None,
        ids=np.array([5, 5]),
        noun="line",
        files=["x"],
    )
    images = np.zeros((2, 8, 9), dtype=np.uint8)
    coco.write(Source("x", "made up", ("thing",), {"all": Split(images, ["0", "1"], objects=objects)}), tmp_path / "x")
    theirs = official(tmp_path / "x/annotations/instances_all.json")
    assert [(image["file_name"], image["height"], image["width"]) for image in theirs.imgs.values()] == [
        ("0.png", 8, 9),
        ("1.png", 8, 9),
    ]
    assert [(ann["id"], ann["area"]) for ann in theirs.anns.values()] == [(1, 8), (2, 10.5)]
    assert theirs.anns[2]["segmentation"] == []


def test_ids_are_kept(put: Callable[[Any], Path], tmp_path: Path) -> None:
    """What was measured with the ids of one copy can be looked up in the other."""
    document = small()
    for image, id in zip(document["images"], (40, 0), strict=True):
        for annotation in document["annotations"]:
            if annotation["image_id"] == image["id"]:
                annotation["image_id"] = id
        image["id"] = id
    source = coco.read(put(document), Findings())
    coco.write(source.with_splits({"all": source.splits["all"].take([1, 0])}), tmp_path / "copy")
    copied = msgspec.json.decode((tmp_path / "copy/annotations/instances_all.json").read_bytes())
    for name in ("images", "categories", "annotations"):
        assert {entry["id"] for entry in copied[name]} == {entry["id"] for entry in document[name]}
    images = [{image["id"]: image["file_name"] for image in which["images"]} for which in (document, copied)]
    assert images[0] == images[1]
    theirs = {a["id"]: (a["image_id"], a["category_id"]) for a in document["annotations"]}
    assert {a["id"]: (a["image_id"], a["category_id"]) for a in copied["annotations"]} == theirs


def test_ids_that_are_not_apart_are_numbered_anew(tmp_path: Path) -> None:
    source = everything(tmp_path / "origin", names=("train",))
    for number, ids in enumerate((np.full(9, 5), np.arange(9), np.arange(9) + 3)):
        objects = replace(objects_of(source, "train"), ids=ids, noun="annotation")
        changed = source.with_splits({"train": replace(source.splits["train"], objects=objects)})
        coco.write(changed, tmp_path / str(number))
        theirs = official(tmp_path / str(number) / "annotations/instances_train.json")
        assert list(theirs.anns) == list(range(3, 12) if number == 2 else range(1, 10))


def test_a_set_without_objects_is_not_written(tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    source = folder.read(class_folders(tmp_path / "photos", {"cats": 1, "dogs": 1}), Findings())
    with pytest.raises(UsageError, match="COCO holds things in its images; choose csv or folders"):
        coco.write(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


LAYOUTS = {
    "official": ("annotations/instances_train2017.json", "train2017", "annotations/instances_val2017.json", "val2017"),
    "images": ("annotations/instances_train.json", "images/train", "annotations/instances_val.json", "images/val"),
    "one folder": ("annotations/train.json", "images", "annotations/val.json", "images"),
    "flat": ("train.json", "images/train", "valid.json", "images/valid"),
    "roboflow": ("train/_annotations.coco.json", "train", "valid/_annotations.coco.json", "valid"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_are_found(layout: str, tmp_path: Path, paint: Callable[..., Path]) -> None:
    for key, (file, place) in enumerate(zip(LAYOUTS[layout][::2], LAYOUTS[layout][1::2], strict=True)):
        for name in ("a.png", "b.png"):
            paint(tmp_path / place / name, key)
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps(small()))
    (tmp_path / "classes.json").write_text("[1]")
    assert coco.recognises(tmp_path)
    source = coco.read(tmp_path, Findings())
    assert list(source.splits) == ["train", "val"]
    assert source.classes == ("car", "dog")
    assert source.splits["train"].images == [tmp_path / LAYOUTS[layout][1] / name for name in ("a.png", "b.png")]
    assert source.splits["val"].images == [tmp_path / LAYOUTS[layout][3] / name for name in ("a.png", "b.png")]
    assert np.diff(objects_of(source, "train").starts).tolist() == [2, 0]


def test_one_file_is_a_set_and_others_are_not(put: Callable[[Any], Path], tmp_path: Path) -> None:
    file = put(small())
    source = coco.read(file, Findings())
    assert coco.recognises(file) and list(source.splits) == ["all"]
    assert not coco.recognises(tmp_path / "a.png")
    assert not coco.recognises(tmp_path / "nothing.json")
    other = tmp_path / "results.json"
    other.write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]')
    assert not coco.recognises(other)
    other.write_bytes(b"\xef\xbb\xbf" + json.dumps({"version": 1} | small()).encode())
    assert coco.recognises(other) and coco.read(other, Findings()).classes == ("car", "dog")


def test_keypoints_come_from_the_file_beside(tmp_path: Path, paint: Callable[..., Path]) -> None:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "val2017" / name, 3)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(small()))
    (tmp_path / "annotations/captions_val2017.json").write_text(json.dumps(small()))
    poses = small()
    poses["categories"] = [{"id": 18, "name": "dog", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]
    poses["annotations"] = [poses["annotations"][1] | {"keypoints": [3, 4.25, 2, 0, 0, 0], "num_keypoints": 1}]
    file = tmp_path / "annotations/person_keypoints_val2017.json"
    file.write_text(json.dumps(poses))
    source = coco.read(tmp_path, Findings())
    objects = objects_of(source, "val")
    assert objects.keypoints is not None and objects.skeleton is not None
    assert objects.keypoints.tolist() == [[[0, 0, 0], [0, 0, 0]], [[3, 4.25, 2], [0, 0, 0]]]
    assert objects.skeleton.edges == ((0, 1),) and objects.skeleton.sigmas == (0.05, 0.05)
    assert any("captions_val2017.json" in note for note in source.notes)
    poses["annotations"][0]["id"] = 8
    file.write_text(json.dumps(poses))
    findings = Findings(strict=False)
    coco.read(tmp_path, findings)
    assert [(found.kind, found.where) for found in findings.kept] == [("unknown annotation", f"{file}: annotation 8")]


def test_classes_are_in_the_order_of_their_ids_over_all_splits(put: Callable[[Any], Path]) -> None:
    file = put(small())
    assert list(coco_json.index(file, Findings()).categories) == [3, 18]
    file.rename(file.with_name("train.json"))
    late = small()
    late["categories"].insert(1, {"id": 5, "name": "boat"})
    put(late).rename(file.with_name("val.json"))
    source = coco.read(file.parent, Findings())
    assert source.classes == ("car", "boat", "dog")
    assert all(objects_of(source, split).labels.tolist() == [0, 2] for split in ("train", "val"))


def test_names_of_files_lead_nowhere_else() -> None:
    names = ["a.png", "../../a/./b\\c.png", "/etc/passwd", "a/../../b.png", "..", ""]
    assert [inside(name) for name in names] == ["a.png", "a/b/c.png", "etc/passwd", "b.png", "", ""]


def test_two_files_of_one_split_and_two_meanings_of_an_id_are_refused(put: Callable[[Any], Path]) -> None:
    folder = put(small()).parent
    (folder / "other.json").write_text(json.dumps(small()))
    with pytest.raises(DataError, match=r"two COCO files of 'all', other\.json and set\.json"):
        coco.read(folder, Findings())
    (folder / "other.json").unlink()
    (folder / "set.json").rename(folder / "train.json")
    (folder / "val.json").write_text(json.dumps(small()).replace('"dog"', '"cat"'))
    with pytest.raises(DataError, match=r"val\.json: category 18 is 'cat' here and 'dog'"):
        coco.read(folder, Findings())


def change(where: str, value: Any) -> Callable[[Json], None]:
    """A function that puts a value at images/0/width or the like; None in place of a value removes it."""

    def apply(document: Json) -> None:
        *path, last = [int(step) if step.isdigit() else step for step in where.split("/")]
        node: Any = document
        for step in path:
            node = node[step]
        if value is None:
            del node[last]
        elif last == len(node):
            node.append(value)
        else:
            node[last] = value

    return apply


MASK = "annotations/0/segmentation"
ANOTHER = {"id": 50, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
BROKEN = {
    "unknown image": ("annotations/0/image_id", 99, "unknown image", "annotation 7", "image_id 99"),
    "unknown category": ("annotations/0/category_id", 99, "unknown category", "annotation 7", "category_id 99"),
    "short box": ("annotations/0/bbox", [1, 2, 3], "broken annotation", "annotation 7", "bbox: expected array of len"),
    "word in a box": ("annotations/0/bbox", [1, 2, 3, "4"], "broken annotation", "annotation 7", "bbox[3]: expected"),
    "no box": ("annotations/0/bbox", None, "broken annotation", "annotation 7", "missing required field bbox"),
    "NaN": ("annotations/0/bbox", [1, 2, 3, float("nan")], "broken annotation", "annotation 7", "bbox[3]: expected"),
    "infinity": ("annotations/0/bbox", [1, -float("inf"), 3, 4], "broken annotation", "annotation 7", "bbox[1]"),
    "huge box": ("annotations/0/bbox", [1, 2, 3, 1e300], "broken annotation", "annotation 7", "at most 1e+07"),
    "huge area": ("annotations/0/area", 1e300, "broken annotation", "annotation 7", "area is 1e+300"),
    "crowd is a word": ("annotations/0/iscrowd", "no", "broken annotation", "annotation 7", "iscrowd: expected"),
    "id is a word": ("annotations/0/id", "x", "broken annotation", "annotation 'x'", "whole number"),
    "huge id": ("annotations/0/id", 10**30, "broken annotation", f"annotation {10**30}", "64 bits"),
    "no id": ("annotations/0/id", None, "broken annotation", "annotation at place 1", "missing required field id"),
    "same id": ("annotations/2", ANOTHER | {"id": 7}, "duplicate id", "annotation 7", "another annotation's"),
    "not an object": ("annotations/2", [1, 2], "broken annotation", "annotation at place 3", "expected object"),
    "odd polygon": (MASK, [[1, 2, 3, 4, 5, 6, 7]], "broken annotation", "annotation 7", "7 numbers"),
    "short polygon": (MASK, [[1, 2, 3, 4]], "broken annotation", "annotation 7", "4 numbers"),
    "flat polygon": (MASK, [1, 2, 3, 4, 5, 6], "broken annotation", "annotation 7", "segmentation[0]: expected array"),
    "far polygon": (MASK, [[1, 2, 3, 4, 5, 1e9]], "broken annotation", "annotation 7", "reaches 1e+09"),
    "runs too large": (MASK, {"size": [10**6, 10**6], "counts": [10**12]}, "broken annotation", "annotation 7", "high"),
    "runs too many": (MASK, {"size": [20, 24], "counts": [10**30]}, "broken annotation", "annotation 7", "480 pixels"),
    "runs below 0": (MASK, {"size": [20, 24], "counts": [500, -20]}, "broken annotation", "annotation 7", "0 or more"),
    "no runs": (MASK, {"size": [20, 24], "counts": []}, "broken annotation", "annotation 7", "480 pixels"),
    "runs cut off": (MASK, {"size": [20, 24], "counts": "PPP"}, "broken annotation", "annotation 7", "cut off"),
    "runs of another": (MASK, {"size": [24, 20], "counts": [480]}, "broken annotation", "annotation 7", "24 high"),
    "runs of words": (MASK, {"size": [20, 24]}, "broken annotation", "annotation 7", "missing required field counts"),
    "same image id": ("images/1/id", 1, "duplicate image", "image 1", "its id is another"),
    "same file": ("images/1/file_name", "x/../a.png", "duplicate image", "image 2", "its file 'a.png' is another"),
    "no file": ("images/1/file_name", None, "broken image", "image 2", "missing required field file_name"),
    "missing file": ("images/1/file_name", "c.png", "missing image", "image 'c.png'", "is not in"),
    "file of the system": ("images/1/file_name", "/etc/passwd", "missing image", "image 'etc/passwd'", "is not in"),
    "negative width": ("images/1/width", -5, "broken image size", "image 2", "-5 and 20"),
    "half a pixel": ("images/1/width", 24.5, "broken image size", "image 2", "24.5 and 20"),
    "huge width": ("images/1/width", 10**9, "broken image size", "image 2", "at most 256,000,000"),
    "width is a word": ("images/1/width", "24", "broken image", "image 2", "width: expected"),
    "same category": ("categories/2", {"id": 3, "name": "cat"}, "duplicate category", "category 3", "its id"),
    "category is a word": ("categories/2", {"id": "x", "name": "cat"}, "broken category", "category 'x'", "whole"),
    "no name": ("categories/2", {"id": 5}, "broken category", "category 5", "missing required field name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_and_left_out(case: str, put: Callable[[Any], Path]) -> None:
    where, value, kind, place, reason = BROKEN[case]
    document = small()
    change(where, value)(document)
    file = put(document)
    with pytest.raises(DataError) as caught:
        coco.read(file, Findings())
    assert str(caught.value).startswith(f"{file}: {place[:40]}")
    findings = Findings(strict=False)
    source = coco.read(file, findings)
    (found,) = findings.kept
    assert found.kind == kind
    assert found.where.startswith(f"{file}: {place[:40]}")
    assert reason in found.reason
    objects = objects_of(source, "all")
    # An id says nothing of the object: it stays, and gets another one.
    assert objects.count == (3 if kind == "duplicate id" else 1 if where.startswith("annotations/0") else 2)
    assert len(set(objects.ids.tolist())) == objects.count
    assert 9 in objects.ids, "the other annotation stays"
    expected = 1 if kind in ("duplicate image", "broken image", "missing image") else 2
    assert len(source.splits["all"]) == expected


def test_many_broken_annotations_are_all_named(put: Callable[[Any], Path]) -> None:
    document = small()
    document["annotations"] += [ANOTHER | {"id": 100 + n, "bbox": [1, 2, 3, n % 2 or "x"]} for n in range(40)]
    findings = Findings(strict=False)
    objects = objects_of(coco.read(put(document), findings), "all")
    assert objects.ids.tolist() == [7, 9, *range(101, 140, 2)]
    assert [found.where.split()[-1] for found in findings.kept] == [str(id) for id in range(100, 140, 2)]


MALFORMED = {
    "empty": (b"", "empty"),
    "cut off": (json.dumps(small()).encode()[:100], "line 1: is not JSON"),
    "a comma too many": (b'{\n"images": [],\n"annotations": [1,,2]\n}', "line 3: is not JSON"),
    "deep": (b'{"images": ' + b"[" * 100_000, "nested too deep"),
    "a list": (b"[1, 2]", "expected object, got array"),
    "no annotations": (b'{"images": [], "categories": []}', "missing required field annotations"),
    "annotations are a number": (json.dumps(small() | {"annotations": 5}).encode(), "annotations but got '5'"),
    "images are an object": (b'{"images": {}, "categories": [], "annotations": []}', "expected a list of every image"),
    "nothing in it": (b'{"images": [], "categories": [], "annotations": []}', "no category"),
    "UTF-16": ("{}".encode("utf-16"), "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_file_that_is_none_is_refused_by_name(case: str, put: Callable[[Any], Path]) -> None:
    content, reason = MALFORMED[case]
    file = put(content)
    with pytest.raises(DataError) as caught:
        coco.read(file, Findings(strict=False))
    assert str(caught.value).startswith(str(file))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "it is empty"), (b'{"images": [', "is not JSON"), (b"[]", "a COCO")]
)
def test_a_broken_file_is_known_by_its_name(content: bytes, words: str, put: Callable[[Any], Path]) -> None:
    put(small())
    folder = put(small()).parent
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_train.json").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_any(folder)


def test_a_list_of_images_of_which_none_is_there_is_one_error(put: Callable[[Any], Path]) -> None:
    file = put(small())
    (file.parent / "a.png").unlink()
    (file.parent / "b.png").unlink()
    with pytest.raises(DataError, match=r"none of its 2 images is there, 'a\.png' the first; expected them in one of"):
        coco.read(file, Findings(strict=False))


def test_sizes_that_the_file_does_not_give_are_the_images(put: Callable[[Any], Path]) -> None:
    document = small()
    del document["images"][0]["width"]
    objects = objects_of(coco.read(put(document), Findings()), "all")
    assert objects.sizes.tolist() == [[20, 24], [20, 24]]
    assert objects.masks is not None and isinstance(objects.masks.get(1, (20, 24)), Runs)


def test_boxes_without_area_or_outside_stay(put: Callable[[Any], Path]) -> None:
    document = small()
    document["annotations"][0]["bbox"] = [100, 3, -5, 0]
    assert objects_of(coco.read(put(document), Findings()), "all").boxes[0].tolist() == [100, 3, 95, 3]


def test_categories_with_different_keypoints_leave_them_out(put: Callable[[Any], Path]) -> None:
    document = small()
    for category, names in zip(document["categories"], (["nose"], ["wheel", "door"]), strict=True):
        category["keypoints"] = names
    document["annotations"][0]["keypoints"] = [1, 2, 2, 3, 4, 1]
    source = coco.read(put(document), Findings())
    assert objects_of(source, "all").keypoints is None
    assert any("categories differ" in note for note in source.notes)


@pytest.mark.parametrize(
    ("keypoints", "reason"), [([1, 2], "2 numbers; expected 3"), ([1, 2, 3], "visibility 3"), ([1e9, 2, 2], "at 1e+09")]
)
def test_broken_keypoints_are_named(keypoints: list[float], reason: str, put: Callable[[Any], Path]) -> None:
    document = small()
    document["categories"][1]["keypoints"] = ["wheel"]
    document["annotations"][0]["keypoints"] = keypoints
    findings = Findings(strict=False)
    source = coco.read(put(document), findings)
    assert reason in findings.kept[0].reason
    assert objects_of(source, "all").ids.tolist() == [9]


@given(st.integers(0, 10**6), st.sampled_from([1, 60, 150, 400, 10**6]))
@settings(max_examples=60, deadline=None)
def test_where_the_file_is_cut_makes_no_difference(seed: int, piece: int) -> None:
    """Also within lists of objects and texts that look like the end of an annotation."""
    rng = np.random.default_rng(seed)
    document = small()
    for n in range(int(rng.integers(0, 30))):
        extra = (
            [{"a": 1}, {"b": [{"c": 2}, {"d": 3}]}] if rng.random() < 0.2 else '}, {"id": 5}, {' * int(rng.integers(3))
        )
        ring = np.round(rng.uniform(0, 20, 2 * int(rng.integers(3, 6))), 2).tolist()
        annotation = ANOTHER | {"id": 60 + n, "image_id": int(rng.integers(1, 3)), "attributes": extra}
        document["annotations"].append(annotation | {"segmentation": [ring] * int(rng.integers(0, 3))})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "set.json"
        file.write_text(json.dumps(document))
        patch.setattr(coco_json, "PIECE", piece)
        objects = coco_json.index(file, Findings()).objects
    wanted = sorted(document["annotations"], key=lambda ann: ann["image_id"])
    assert objects.ids.tolist() == [ann["id"] for ann in wanted]
    assert objects.masks is not None
    for n, ann in enumerate(wanted):
        mask = objects.masks.get(n, (20, 24))
        if isinstance(mask, Polygon):
            rings = [shortest(ring).ravel().tolist() for ring in mask.rings]
            assert rings == ann["segmentation"]
        else:
            assert isinstance(ann["segmentation"], dict) or ann["segmentation"] == []


@given(st.lists(st.floats(-1e7, 1e7, width=32), min_size=1, max_size=20))
def test_the_shortest_number_is_the_same_number(values: list[float]) -> None:
    given_values = np.array(values, dtype=np.float32)
    found = shortest(given_values)
    assert np.array_equal(found.astype(np.float32), given_values)
    for short, value in zip(found.tolist(), given_values, strict=True):
        assert len(repr(short).removesuffix(".0")) <= len(repr(float(str(value))).removesuffix(".0"))


@given(st.lists(st.tuples(*[st.integers(0, 10**6)] * 4), min_size=1, max_size=20), st.sampled_from([1, 10, 100, 1000]))
def test_decimals_survive_the_way_to_corners_and_back(sides: list[tuple[int, ...]], scale: int) -> None:
    boxes = np.array(sides) / scale
    corners = boxes.copy()
    corners[:, 2:] += corners[:, :2]
    assert np.array_equal(xywh_from_xyxy(corners), boxes)


def test_left_and_right_change_places() -> None:
    assert mirror_of(["Left hip", "nose", "right hip", "left", "elbow_left"]) == (2, 1, 0, 3, 4)


def test_names_of_copies_stay_inside_and_apart() -> None:
    ids = ["a.jpg", "A.JPG", "a.png", "../../etc/passwd", "/abs/x.jpg", "digit 5", "..", "b", "b.jpg/c", "b/c.jpg", ""]
    suffixes = [".jpg", ".JPG", ".png", ".jpg", ".jpg", ".png", ".png", ".jpg", ".jpg", ".jpg", ".png"]
    assert safe_names(ids, suffixes) == [
        *("a.jpg", "A-2.JPG", "a-3.png", "etc/passwd.jpg", "abs/x.jpg", "digit 5.png", "image.png", "b.jpg"),
        *("b.jpg_c.jpg", "b/c.jpg", "image-2.png"),
    ]
    assert safe_names(["a.jpg"], [".jpg"], ["a.txt"]) == ["a-2.jpg"]


@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from([".jpg", ".png", ""])), max_size=12))
def test_any_ids_give_names_that_fit_beside_each_other(wanted: list[tuple[str, str]]) -> None:
    names = safe_names([id for id, _ in wanted], [suffix for _, suffix in wanted])
    assert len({name.casefold() for name in names}) == len(names)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / "copy" / name
            assert path.resolve().is_relative_to((Path(folder) / "copy").resolve())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)


def test_images_are_copied_as_they_are_and_nothing_is_overwritten(tmp_path: Path, paint: Callable[..., Path]) -> None:
    origin = paint(tmp_path / "origin" / "a.jpg", 5)
    split = Split([origin], ["x/a.jpg"])
    said: list[str] = []
    assert write_images(split, tmp_path / "copy", said) == ["x/a.jpg"]
    assert said == []
    assert write_images(split, tmp_path / "copy", said) == ["x/a-2.jpg"]
    assert said == ["the names of 1 image were changed: x/a.jpg became x/a-2.jpg, the first"]
    assert (tmp_path / "copy/x/a-2.jpg").read_bytes() == origin.read_bytes()
    with pytest.raises(UsageError, match="not empty"):
        start_folder(tmp_path / "copy")
    origin.unlink()
    with pytest.raises(DataError, match=r"a\.jpg: cannot be copied"):
        write_images(split, tmp_path / "other", said)
