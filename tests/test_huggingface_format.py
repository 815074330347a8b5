"""Sets of Hugging Face `datasets`: as the library itself makes them, there and back, and broken ones."""

import builtins
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sets import everything, objects_of

from saccade.data.findings import DataError, Findings
from saccade.data.formats import folder, huggingface
from saccade.data.formats.writing import write_images
from saccade.data.source import Source, Split, labels_of
from saccade.errors import UsageError

datasets: Any = pytest.importorskip("datasets", reason="needs the extra: pip install 'saccade[data]'")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def jpeg(size: tuple[int, int], orientation: int = 1) -> bytes:
    """A file of (height, width) as stored."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = io.BytesIO()
    image.save(opened, "JPEG", exif=exif)
    return opened.getvalue()


def boxed(objects: list[Any], images: list[bytes | None]) -> Any:
    """A Dataset of objects, made as the documentation of the library has it."""
    inner = {
        "bbox": datasets.List(datasets.Value("float32"), length=4),
        "category": datasets.ClassLabel(names=["cat", "dog"]),
        "area": datasets.Value("float64"),
    }
    features = datasets.Features(
        {"image": datasets.Image(), "objects": {k: datasets.List(v) for k, v in inner.items()}}
    )
    rows = {"image": [{"bytes": content, "path": None} for content in images], "objects": objects}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_classified_set_as_the_library_saves_it(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    contents = [jpeg((20, 30), 6), jpeg((10, 12))]
    rows = {"image": [{"bytes": content, "path": None} for content in contents], "label": [1, 0]}
    part = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": part, "validation": part, "extra": part}).save_to_disk(str(tmp_path / "set"))
    assert huggingface.recognises(tmp_path / "set")
    assert not huggingface.recognises(tmp_path)
    source = huggingface.read(tmp_path / "set", Findings())
    assert source.classes == ("cat", "dog")
    assert list(source.splits) == ["train", "val"]
    assert source.notes == ("splits that are not train, val or test were left out: extra",)
    split = source.splits["train"]
    assert split.ids == ["0", "1"]
    assert split.labels is not None and split.labels.tolist() == [1, 0]
    assert split.open(0).size == (30, 20), "turned upright"
    assert split.content(0) == contents[0]
    second = pickle.loads(pickle.dumps(split.take([1])))
    assert second.content(0) == contents[1], "as a loader's process gets it"
    assert write_images(split, tmp_path / "copy", []) == ["0.jpeg", "1.jpeg"]
    assert (tmp_path / "copy/0.jpeg").read_bytes() == contents[0]


def test_a_set_of_objects_as_the_library_saves_it(tmp_path: Path) -> None:
    things = {"bbox": [[1, 2, 3, 4], [0, 0, 5, 5]], "category": [1, 0], "area": [7.5, None]}
    boxed([things, {"bbox": [], "category": [], "area": []}], [jpeg((20, 30)), jpeg((9, 8), 6)]).save_to_disk(
        str(tmp_path / "set")
    )
    source = huggingface.read(tmp_path / "set", Findings())
    objects = objects_of(source, "all")
    assert objects.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 5, 5]]
    assert objects.labels.tolist() == [1, 0]
    assert objects.starts.tolist() == [0, 2, 2]
    assert objects.sizes.tolist() == [[20, 30], [8, 9]]
    assert objects.areas[0] == 7.5 and np.isnan(objects.areas[1])


def test_a_list_of_objects_is_the_same_as_lists_of_properties(tmp_path: Path) -> None:
    inner = {"bbox": datasets.List(datasets.Value("float32")), "category": datasets.ClassLabel(names=["cat", "dog"])}
    features = datasets.Features({"image": datasets.Image(), "objects": datasets.List(inner)})
    rows = {
        "image": [{"bytes": jpeg((5, 6)), "path": None}],
        "objects": [[{"bbox": [1, 2, 3, 4], "category": 1}, {"bbox": [1, 1, 1, 1], "category": 0}]],
    }
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "set"))
    objects = objects_of(huggingface.read(tmp_path / "set", Findings()), "all")
    assert objects.boxes.tolist() == [[1, 2, 4, 6], [1, 1, 2, 2]] and objects.labels.tolist() == [1, 0]


BROKEN = {
    "NaN": ({"bbox": [[1, 2, float("nan"), 4]], "category": [0], "area": [1.0]}, "row 0: object 0"),
    "huge": ({"bbox": [[1, 2, 1e30, 4]], "category": [0], "area": [1.0]}, "row 0: object 0"),
    "no category": ({"bbox": [[1, 2, 3, 4]], "category": [None], "area": [1.0]}, "row 0: object 0"),
    "lists of two lengths": ({"bbox": [[1, 2, 3, 4]], "category": [0, 1], "area": [1.0]}, "row 0"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_object_is_named_and_left_out(case: str, tmp_path: Path) -> None:
    things, where = BROKEN[case]
    good = {"bbox": [[1, 2, 3, 4]], "category": [1], "area": [2.0]}
    boxed([things, good], [jpeg((5, 5)), jpeg((6, 6))]).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match="row 0"):
        huggingface.read(tmp_path / "set", Findings())
    findings = Findings(strict=False)
    objects = objects_of(huggingface.read(tmp_path / "set", findings), "all")
    assert [found.where for found in findings.kept] == [f"{tmp_path / 'set'}: all: {where}"]
    assert objects.starts.tolist() == [0, 0, 1]


def test_rows_without_an_image_or_a_label_are_named(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": jpeg((5, 5)), "path": "x/a.jpg"}, None, {"bytes": jpeg((5, 5)), "path": "b.jpg"}]
    part = datasets.Dataset.from_dict({"image": images, "label": [1, 0, -1]}, features=features)
    part.save_to_disk(str(tmp_path / "set"))
    findings = Findings(strict=False)
    source = huggingface.read(tmp_path / "set", findings)
    assert [(found.kind, found.where.rsplit(": ")[-1]) for found in findings.kept] == [
        ("missing image", "row 1"),
        ("no class", "row 2"),
    ]
    assert len(source.splits["all"]) == 1


def test_other_sets_are_refused_by_name(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).save_to_disk(str(tmp_path / "text"))
    with pytest.raises(DataError, match=r"has the columns text \(Value\), label \(Value\); expected an Image"):
        huggingface.read(tmp_path / "text", Findings())
    (tmp_path / "text" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as a saved Dataset"):
        huggingface.read(tmp_path / "text", Findings())


def test_what_was_written_is_read(tmp_path: Path) -> None:
    source = everything(tmp_path / "origin")
    lost = huggingface.write(source, tmp_path / "copy")
    assert lost == [
        "the masks of 18 objects were left out",
        "the keypoints of 6 objects were left out",
        "the marks of 6 objects as difficult were left out",
        "the label maps of 8 images were left out",
    ]
    again = huggingface.read(tmp_path / "copy", Findings())
    assert again.classes == source.classes
    for name, split in source.splits.items():
        mine, theirs = objects_of(source, name), objects_of(again, name)
        assert again.splits[name].ids == split.ids
        for column in ("starts", "boxes", "labels", "crowd", "sizes", "ids"):
            assert np.array_equal(getattr(mine, column), getattr(theirs, column)), column
        assert np.array_equal(mine.areas, theirs.areas, equal_nan=True)
        assert [again.splits[name].content(i) for i in range(len(split))] == [
            split.content(i) for i in range(len(split))
        ]
    library = datasets.load_from_disk(str(tmp_path / "copy"))["train"]
    assert library[0]["image"].size == (60, 40), "and the library reads it"
    assert library.features["objects"]["category"].feature.names == list(source.classes)


def test_classes_of_images_go_there_and_back(tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    source = folder.read(class_folders(tmp_path / "photos", {"dogs": 2, "ants": 1}), Findings())
    assert huggingface.write(source, tmp_path / "copy") == []
    again = huggingface.read(tmp_path / "copy", Findings())
    assert list(again.splits) == ["all"] and again.classes == source.classes
    assert labels_of(again.splits["all"]).tolist() == labels_of(source.splits["all"]).tolist()
    arrays = Source("x", "made up", ("a",), {"all": Split(np.eye(4, dtype=np.uint8)[None], ["0"], np.array([0]))})
    huggingface.write(arrays, tmp_path / "arrays")
    kept = huggingface.read(tmp_path / "arrays", Findings()).splits["all"]
    assert np.array_equal(kept.open(0).pixels("L")[0][..., 0], np.eye(4, dtype=np.uint8))
    bare = Source("x", "made up", ("a",), {"all": Split(np.zeros((1, 4, 4), np.uint8), ["0"])})
    with pytest.raises(UsageError, match="has nothing, and Hugging Face holds things"):
        huggingface.write(bare, tmp_path / "bare")


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ModuleNotFoundError("No module named 'datasets'")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'saccade\[data\]'"):
        huggingface.read(tmp_path, Findings())
