"""From format to format: nothing is lost that the formats can carry, and what they cannot is said."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sets import CLASSES, everything, objects_of

from saccade.data.check import check
from saccade.data.findings import DataError
from saccade.data.formats.catalogue import FORMATS, WRITABLE
from saccade.data.source import Source, read
from saccade.errors import UsageError
from saccade.geometry.masks import bitmap
from saccade.recipes.check import check as run_check
from saccade.recipes.convert import convert


def same_boxes(one: Source, other: Source) -> None:
    assert one.classes == other.classes
    assert list(one.splits) == list(other.splits)
    for name, split in one.splits.items():
        mine, theirs = objects_of(one, name), objects_of(other, name)
        assert [Path(id).name for id in split.ids] == [Path(id).name for id in other.splits[name].ids]
        assert np.array_equal(mine.starts, theirs.starts)
        assert np.array_equal(mine.labels, theirs.labels)
        assert np.allclose(mine.boxes, theirs.boxes, atol=1e-4)
        for image in range(len(split)):
            own, copied = (source.splits[name].open(image).pixels("RGB")[0] for source in (one, other))
            assert np.array_equal(own, copied)
            if isinstance(other.splits[name].images, list):
                own, copied = (source.splits[name].content(image) for source in (one, other))
                assert own == copied, "images are copied byte for byte"


def same_masks(one: Source, other: Source) -> None:
    for name in one.splits:
        mine, theirs = objects_of(one, name), objects_of(other, name)
        for image in range(len(mine)):
            for first, second in zip(mine[image].masks or (), theirs[image].masks or (), strict=True):
                assert first is not None
                assert second is not None
                size = mine[image].size
                assert np.array_equal(bitmap(first, size), bitmap(second, size))


def said(lost: list[str], *words: str) -> bool:
    return all(any(word in line for line in lost) for word in words)


def test_coco_to_yolo_to_voc_and_back(tmp_path: Path) -> None:
    origin = everything(tmp_path / "origin")
    lost = WRITABLE["coco"].write(origin, tmp_path / "coco")
    assert said(lost, "difficult", "label map")
    first = read(tmp_path / "coco")
    same_boxes(origin, first)
    same_masks(origin, first)
    assert np.array_equal(objects_of(origin, "train").keypoints, objects_of(first, "train").keypoints)

    yolo = convert(tmp_path / "coco", "yolo", tmp_path / "yolo")
    second = read(tmp_path / "yolo")
    same_boxes(first, second)

    voc = convert(tmp_path / "yolo", "voc", tmp_path / "voc")
    third = read(tmp_path / "voc")
    same_boxes(first, third)

    back = convert(tmp_path / "voc", "coco", tmp_path / "back")
    same_boxes(first, read(tmp_path / "back"))
    assert back.lost == []
    if objects_of(second, "train").keypoints is None:
        assert said(yolo.lost, "keypoint")
    else:
        assert said(voc.lost, "keypoint")


@pytest.mark.parametrize("name", [name for name in WRITABLE if name not in ("folders", "masks")])
def test_every_format_of_objects_gives_back_what_it_was_given(name: str, tmp_path: Path) -> None:
    origin = everything(tmp_path / "origin")
    WRITABLE[name].write(origin, tmp_path / "copy")
    again = read(tmp_path / "copy")
    assert again.format == FORMATS[name].NAME
    assert again.classes == CLASSES
    same_boxes(origin, again)
    assert check(again).findings == []


@pytest.mark.parametrize("name", WRITABLE)
def test_a_repaired_copy_is_of_the_same_format(name: str, tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    if name == "folders":
        WRITABLE[name].write(read(class_folders(tmp_path / "origin", {"cats": 4, "dogs": 4})), tmp_path / name)
    else:
        WRITABLE[name].write(everything(tmp_path / "origin"), tmp_path / name)
    fixed = run_check(tmp_path / name, fix=tmp_path / "out" / "copy")
    assert fixed.changes == []
    assert fixed.listed == tmp_path / "out" / "copy.changes.csv"
    assert fixed.listed.read_text().splitlines() == ["where,what was wrong,what was done"]
    before, after = read(tmp_path / name), read(tmp_path / "out" / "copy")
    assert after.format == before.format == FORMATS[name].NAME
    assert after.classes == before.classes
    assert {k: len(split) for k, split in after.splits.items()} == {k: len(s) for k, s in before.splits.items()}
    with pytest.raises(UsageError, match="not empty"):
        run_check(tmp_path / name, fix=tmp_path / "out" / "copy")
    shutil.rmtree(tmp_path / "out" / "copy")
    with pytest.raises(UsageError, match="is there already"):
        run_check(tmp_path / name, fix=tmp_path / "out" / "copy")


def test_label_maps_come_back(tmp_path: Path) -> None:
    origin = everything(tmp_path / "origin")
    lost = WRITABLE["masks"].write(origin, tmp_path / "copy")
    assert said(lost, "object")
    again = read(tmp_path / "copy")
    for name, split in origin.splits.items():
        maps, copies = split.label_maps, again.splits[name].label_maps
        assert maps is not None
        assert copies is not None
        assert copies.classes == maps.classes
        assert all(np.array_equal(maps[i].labels, copies[i].labels) for i in range(len(split)))


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("made", [True, False])
def test_half_a_copy_is_none(fault: BaseException, made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = everything(tmp_path / "origin")
    WRITABLE["coco"].write(origin, tmp_path / "coco")
    copy, out = shutil.copyfile, tmp_path / "out"
    if made:
        out.mkdir()
    copied = 0

    def breaks(source: Path, target: Path) -> None:
        nonlocal copied
        copied += 1
        if copied == 6:
            raise fault
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", breaks)
    with pytest.raises((KeyboardInterrupt, DataError), match="No space left" if isinstance(fault, OSError) else None):
        convert(tmp_path / "coco", "yolo", out)
    assert copied == 6
    assert (list(out.iterdir()) == []) if made else (not out.exists())
    monkeypatch.undo()
    convert(tmp_path / "coco", "yolo", out)
    assert sorted(entry.name for entry in out.iterdir()) == ["data.yaml", "images", "labels"]
    same_boxes(read(tmp_path / "coco"), read(out))


def test_a_copy_inside_the_set_is_refused(tmp_path: Path) -> None:
    WRITABLE["coco"].write(everything(tmp_path / "origin"), tmp_path / "coco")
    with pytest.raises(UsageError, match="its own copy"):
        convert(tmp_path / "coco", "yolo", tmp_path / "coco" / "yolo")
    assert not (tmp_path / "coco" / "yolo").exists()


def test_converting_twice_is_refused(tmp_path: Path) -> None:
    everything(tmp_path / "origin")
    WRITABLE["csv"].write(everything(tmp_path / "other"), tmp_path / "copy")
    with pytest.raises(UsageError, match="not empty"):
        convert(tmp_path / "copy", "yolo", tmp_path / "copy")
    with pytest.raises(UsageError, match="did you mean 'coco'"):
        convert(tmp_path / "copy", "cocoa", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_broken_annotation_stops_a_conversion_unless_it_is_skipped(tmp_path: Path) -> None:
    WRITABLE["yolo"].write(everything(tmp_path / "origin"), tmp_path / "yolo")
    labels = next((tmp_path / "yolo" / "labels").rglob("0.txt"))
    labels.write_text("0 nan 0.5 0.1 0.1\n" + labels.read_text())
    with pytest.raises(DataError, match=r"0\.txt.*line 1"):
        convert(tmp_path / "yolo", "coco", tmp_path / "coco")
    done = convert(tmp_path / "yolo", "coco", tmp_path / "again", skip_broken=True)
    assert len(done.skipped) == 1
    assert objects_of(read(tmp_path / "again"), "train").count == 9


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_that_nothing_was_written(stop: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    running = subprocess.Popen(
        [sys.executable, "-m", "saccade", "convert", "scenes", "--to", "coco", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Shells start what runs in the background with interruptions ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    while not out.exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(stop)
    printed, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.decode().splitlines()[-1] == f"interrupted; nothing was written to {out}"
    assert printed == b""
    assert not out.exists()


def test_what_a_dead_machine_leaves_is_no_set(tmp_path: Path) -> None:
    for name in WRITABLE:
        if name != "folders":
            WRITABLE[name].write(everything(tmp_path / f"origin {name}"), tmp_path / name / ".partial")
            with pytest.raises(DataError, match="no format that is known"):
                read(tmp_path / name)
