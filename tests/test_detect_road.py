"""The whole way of a detector: from annotations to a run directory, its report, its numbers and its pictures."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO
from ran import cli

import saccade
from saccade.data import source as sources
from saccade.data.augment import Augmentation
from saccade.data.formats import coco
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Source, Split
from saccade.errors import SaccadeError, UsageError
from saccade.geometry.masks import bitmap
from saccade.models import create_model
from saccade.recipes.choose import choose
from saccade.recipes.predict_film import Writer
from saccade.structures import Instances, Preprocessing
from saccade.training import loop

SMALL: dict[str, Any] = {"backbone": "resnet18", "width": 32, "hidden": 32, "smallest": 16, "sampled": 32}
QUICK: dict[str, Any] = {"size": 64, "batch_size": 4, "epochs": 1, "network": SMALL, "workers": 0, "quiet": True}


def some_scenes(train: int = 12, val: int = 6) -> Source:
    source = sources.read("scenes-64")
    return source.with_splits(
        {"train": source.splits["train"].take(range(train)), "val": source.splits["test"].take(range(val))}
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes as a folder in COCO's format."""
    folder = tmp_path_factory.mktemp("scenes") / "coco"
    coco.write(some_scenes(), folder)
    return folder


@pytest.fixture(scope="module", params=["fasterrcnn_fpn", "maskrcnn_fpn", "keypointrcnn_fpn"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    saccade.fit(data, model=request.param, out=folder, **QUICK)
    return folder


def test_a_run_has_everything(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    kinds = {"box"} | ({"mask"} if "mask" in str(run) else set()) | ({"keypoint"} if "keypoint" in str(run) else set())
    assert {key.split("/")[0] for key in metrics if "/AP" in key} == kinds
    assert "mAP_voc" in metrics
    page = (run / "report.html").read_text()
    for heading in ("Where it errs most", "Why it errs", "Class by class", "As the network saw them"):
        assert heading in page
    line = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert line["train/loss"] > 0


def test_evaluating_again_gives_the_same(run: Path, data: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for batch_size in (1, 5):
        result = saccade.evaluate(run, data, batch_size=batch_size).result
        for key, value in result.items():
            assert value == pytest.approx(metrics[key], abs=1e-6, nan_ok=True) if metrics[key] is not None else True


def test_predict_draws_and_writes_coco(run: Path, data: Path, tmp_path: Path) -> None:
    said = cli("predict", run, data / "val", "--out", tmp_path / "found", "--score", "0", "--json")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == 6
    assert len(list((tmp_path / "found").glob("*.jpg"))) == 6
    content = json.loads((tmp_path / "found" / "found.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [line["path"] for line in lines]
    assert len(content["annotations"]) == sum(len(line["things"]) for line in lines)
    predictor = saccade.load(run)
    for line in lines:
        found = predictor(line["path"])
        assert isinstance(found, Instances) and found.scores is not None
        assert len(found) == len(line["things"])
        for thing, box, score, label in zip(line["things"], found.boxes, found.scores, found.labels, strict=True):
            assert thing["bbox"] == pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]], abs=0.02)
            assert thing["score"] == pytest.approx(float(score), abs=1e-5)
            assert thing["class"] == predictor.card.classes[label]
    # Another reader of the format makes the same of it.
    again = COCO(str(tmp_path / "found" / "found.json"), print_function=lambda *_: None)
    assert len(again.getImgIds()) == 6
    assert len(again.getAnnIds()) == len(content["annotations"])
    if "mask" in predictor.card.model and content["annotations"]:
        first = again.loadAnns(again.getAnnIds())[0]
        assert again.annToMask(first).sum() == first["area"]


def test_pictures_never_replace_the_images(run: Path, data: Path, tmp_path: Path) -> None:
    image = next(path for path in (data / "val").rglob("*") if path.is_file())
    (tmp_path / "a.png").write_bytes(image.read_bytes())
    said = cli("predict", run, tmp_path / "a.png", "--out", tmp_path)
    assert said.code == 2
    assert "holds a.png, one of the images" in said.err
    assert (tmp_path / "a.png").read_bytes() == image.read_bytes()
    # Said before any film is looked at: its frames would have been in vain.
    with Writer(tmp_path / "clip.mp4", Fraction(10)) as film:
        film.add(np.zeros((48, 64, 3), dtype=np.uint8), 0.0)
    said = cli("predict", run, tmp_path / "a.png", tmp_path / "clip.mp4", "--out", tmp_path)
    assert said.code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "clip.mp4"]


def test_targets_are_in_the_networks_pixels_and_truths_in_the_images() -> None:
    """Without augmentation too, and when the network sees another size than the image has."""
    split = sources.read("scenes-64").splits["train"].take([0])
    sample = Dataset(split, Preprocessing.whole(96, 96), known="objects")[0, 0]
    assert sample.target.size == (96, 96) and sample.truth.size == (64, 64)
    assert sample.target.boxes == pytest.approx(1.5 * sample.truth.boxes)


def test_boxes_of_turned_images_are_tight() -> None:
    """Around the pixels of the mask, not around the turned box."""
    split = sources.read("scenes-128").splits["train"].take([0])
    data = Dataset(split, Preprocessing.whole(128, 128), Augmentation(rotate=30), known="objects")
    target = data[0, 0].target
    assert target.masks is not None and len(target)
    for mask, box in zip(target.masks, target.boxes, strict=True):
        rows, columns = np.nonzero(bitmap(mask, target.size))
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_whole_images_of_like_shape_share_a_batch() -> None:
    """Less than a tenth of the batches is padding, where chance leaves two fifths; and every image comes once."""
    rng = np.random.default_rng(0)
    shapes = [(40, 60), (60, 40), (48, 48), (30, 66)]
    sizes = np.array([shapes[n] for n in rng.integers(0, 4, 128)])
    few = some_scenes(1, 1).splits["train"].objects
    assert few is not None
    objects = replace(few.take(np.zeros(128, dtype=np.int64)), sizes=sizes.astype(np.int32))
    split = Split([Path(str(n)) for n in range(128)], [str(n) for n in range(128)], objects=objects)
    loader = Loader(Dataset(split, Preprocessing.whole(64, 128), known="objects"), 8, shuffle=True)
    used = padded = 0.0
    order = loader._order(3)  # type: ignore[attr-defined]
    for batch in order:
        own = np.array([loader.dataset.size(3, int(index)) for index in batch])
        used, padded = used + own.prod(axis=1).sum(), padded + own.max(axis=0).prod() * len(batch)
    assert used / padded > 0.9
    assert sorted(np.concatenate(order).tolist()) == list(range(128))
    assert not np.array_equal(np.concatenate(order), np.concatenate(loader._order(4)))  # type: ignore[attr-defined]


def test_in_words(run: Path, data: Path) -> None:
    said = cli("predict", run, data / "val", "--score", "0.99")
    assert said.code == 0
    assert all("  0 things" in line or "thing" in line for line in said.out.splitlines())
    evaluated = cli("evaluate", run, data)
    assert "box/AP" in evaluated.out and "AP50 %" in evaluated.out


def test_a_run_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    """Stopped after an epoch, resumed for the second: bit for bit that of two in a row."""
    both = QUICK | {"epochs": 2}
    saccade.fit(data, model="fasterrcnn_fpn", out=tmp_path / "whole", **both)

    close, done = loop._close_epoch, []  # type: ignore[attr-defined]

    def then_stop(session: Any, speed: float) -> None:
        close(session, speed)
        done.append(1)
        if len(done) == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_close_epoch", then_stop)
        with pytest.raises(KeyboardInterrupt):
            saccade.fit(data, model="fasterrcnn_fpn", out=tmp_path / "parts", **both)
    saccade.fit(data, model="fasterrcnn_fpn", out=tmp_path / "parts", resume=True, **both)
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_fine_tuning_to_new_classes_is_one_command(data: Path, tmp_path: Path) -> None:
    """From a detector of other classes: its weights are kept, the last layers are new."""
    torch.manual_seed(0)
    other = create_model("fasterrcnn_fpn", 90, **SMALL)
    torch.save(other.state_dict(), tmp_path / "coco.pth")
    network = "network={" + ", ".join(f"{k}={json.dumps(v)}" for k, v in SMALL.items()) + "}"
    said = cli(
        *("fit", data, "--model", "fasterrcnn_fpn", "--weights", tmp_path / "coco.pth", "--set", network, "--size", 64),
        *("--epochs", 1, "--batch-size", 4, "--workers", 0, "--out", tmp_path / "run", "--json"),
    )
    assert said.code == 0, said.err
    state = saccade.load(tmp_path / "run").model.state_dict()
    # What is frozen is as it was.
    for key in (
        "backbone.body.conv1.weight",
        "backbone.body.layer1.0.conv1.weight",
        "backbone.body.layer4.0.bn1.weight",
    ):
        assert torch.equal(state[key], other.state_dict()[key])
    assert not torch.equal(state["rpn.head.conv.0.0.weight"], other.state_dict()["rpn.head.conv.0.0.weight"])
    assert state["roi_heads.box_predictor.cls_score.weight"].shape[0] == 11


def test_images_without_things_and_a_class_nobody_has(data: Path, tmp_path: Path) -> None:
    source = some_scenes()
    train = source.splits["train"]
    assert train.objects is not None
    keep = np.isin(train.objects.labels, (1, 2)) & (train.objects.images > 5)
    fewer = source.with_splits(source.splits | {"train": replace(train, objects=train.objects.only(keep))})
    run = saccade.fit(fewer, model="fasterrcnn_fpn", out=tmp_path / "run", **QUICK)
    assert np.isfinite(json.loads((run.path / "log.jsonl").read_text().splitlines()[0])["train/loss"])


@pytest.mark.parametrize(
    ("change", "model", "words"),
    [
        ("nothing", "fasterrcnn_fpn", "not one thing is marked"),
        ("no masks", "maskrcnn_fpn", "have no mask.*finds boxes only"),
        ("no keypoints", "keypointrcnn_fpn", "no keypoints.*finds boxes only"),
        ("labels", "fasterrcnn_fpn", "one class an image.*finds things"),
        ("as it is", "resnet18", "choose a detector"),
    ],
)
def test_data_that_does_not_say_what_the_network_learns(change: str, model: str, words: str, tmp_path: Path) -> None:
    source = some_scenes(4, 2)
    splits = {}
    for name, split in source.splits.items():
        objects = split.objects
        assert objects is not None
        match change:
            case "nothing":
                split = replace(split, objects=objects.only(np.zeros(objects.count, dtype=bool)))
            case "no masks":
                split = replace(split, objects=replace(objects, masks=None))
            case "no keypoints":
                split = replace(split, objects=replace(objects, keypoints=None, skeleton=None))
            case "labels":
                split = replace(split, objects=None, labels=np.arange(len(split)) % 2)
        splits[name] = split
    options = QUICK if model != "resnet18" else {"epochs": 1, "quiet": True}
    with pytest.raises(SaccadeError, match=words):
        saccade.fit(source.with_splits(splits), model=model, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adapt": "probe", "weights": "imagenet"}, "way to adapt for the task detect"),
        ({"cutmix": 0.2}, "cutmix is for the task classify"),
        ({"class_weights": "balanced"}, "class_weights is for the task classify or segment"),
        ({"network": {"bakbone": "resnet18"}}, "did you mean 'backbone'"),
        ({"weights": "cocoa"}, "weights"),
    ],
)
def test_settings_without_meaning(options: dict[str, Any], words: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        saccade.fit(data, model="fasterrcnn_fpn", out=tmp_path / "run", **options)


def test_without_a_model_the_data_decides(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SACCADE_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = sources.read(data)
    chosen = choose(source)
    assert (chosen.model, chosen.adapt, chosen.network) == ("keypointrcnn_fpn", "scratch", {"backbone": "resnet18"})
    assert "--weights coco fetches some" in chosen.why
    (tmp_path / "mobilenet_v2-imagenet.safetensors").write_bytes(b"")
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path))
    chosen = choose(source)
    assert (chosen.weights, chosen.adapt, chosen.network) == ("imagenet", "finetune", {"backbone": "mobilenet_v2"})
    # What is not marked everywhere cannot be asked of a network: `fit` would refuse its own choice.
    val = source.splits["val"]
    assert val.objects is not None and val.objects.count
    for left, model in (({"keypoints": None, "skeleton": None}, "maskrcnn_fpn"), ({"masks": None}, "aligned")):
        val = replace(val, objects=replace(val.objects, **left))  # pyright: ignore[reportArgumentType]
        assert choose(source.with_splits(source.splits | {"val": val})).model == model
    (tmp_path / "keypointrcnn_resnet50_fpn-coco.safetensors").write_bytes(b"")
    assert (choose(source).model, choose(source).weights) == ("keypointrcnn_resnet50_fpn", "coco")
    with pytest.raises(UsageError, match="a probe tells classes"):
        choose(source, adapt="probe")


def test_boxes_alone_are_found_in_one_look(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    source = sources.read(data)
    for name, split in source.splits.items():
        assert split.objects is not None
        boxes = replace(split.objects, masks=None, keypoints=None, skeleton=None)
        source = source.with_splits(source.splits | {name: replace(split, objects=boxes)})
    for given in (choose(source), choose(source, adapt="scratch")):
        assert (given.model, given.weights, given.network) == ("aligned", None, {"backbone": "mobilenet_v2"})
    assert "--weights imagenet fetches some" in choose(source).why
    (tmp_path / "fasterrcnn_resnet50_fpn-coco.safetensors").write_bytes(b"")
    assert choose(source).adapt == "scratch"
    assert choose(source, weights="coco").model == "fasterrcnn_resnet50_fpn"
    (tmp_path / "resnet18-imagenet.safetensors").write_bytes(b"")
    given = choose(source)
    assert (given.model, given.adapt, given.network) == ("aligned", "finetune", {"backbone": "resnet18"})


def test_the_backbone_that_was_asked_for_is_the_one_that_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"backbone": "squeezenet1_1", "width": 16, "hidden": 16}
    saccade.fit(data, out=tmp_path / "run", adapt="scratch", epochs=1, size=64, network=small, workers=0)
    assert "chosen: scratch with keypointrcnn_fpn on squeezenet1_1" in capsys.readouterr().err


def test_a_norm_of_one_place_needs_two_images(data: Path, tmp_path: Path) -> None:
    small = {"backbone": "resnet18", "side": 64}
    with pytest.raises(UsageError, match="needs two images or more"):
        saccade.fit(
            data,
            model="ssd",
            out=tmp_path / "run",
            epochs=1,
            batch_size=1,
            size=64,
            network=small,
            workers=0,
            quiet=True,
        )
    assert not (tmp_path / "run").exists()


def test_all_sizes_of_a_training_are_tried_before_it_begins(data: Path, tmp_path: Path) -> None:
    """SSD300's last maps have filters of 3 x 3 pixels, and of a smaller image fewer are left."""
    given: dict[str, Any] = {"model": "ssd300_vgg16", "epochs": 1, "workers": 0, "quiet": True}
    with pytest.raises(UsageError, match=r"192 x 192 pixels; choose a larger size, or a narrower multi_scale \("):
        saccade.fit(data, out=tmp_path / "run", multi_scale=(0.6, 1.1), **given)
    with pytest.raises(UsageError, match=r"192 x 192 pixels; choose a larger size \("):
        saccade.fit(data, out=tmp_path / "run", size=192, **given)


def test_predicting_in_bfloat16_is_about_the_same(run: Path, data: Path) -> None:
    image = next(path for path in (data / "val").rglob("*") if path.is_file())
    plain, quick = (saccade.load(run, precision=precision)(image) for precision in ("float32", "bfloat16"))
    assert plain.scores is not None and quick.scores is not None
    count = min(len(plain), len(quick), 3)
    assert quick.scores[:count] == pytest.approx(plain.scores[:count], abs=0.05)
    with pytest.raises(UsageError, match="did you mean 'bfloat16'"):
        saccade.load(run, precision="bfloat")


def test_out_is_for_detectors(tmp_path: Path, class_folders: Callable[..., Path]) -> None:
    folder = class_folders(tmp_path / "data", {"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    saccade.fit(folder, model="lenet", epochs=1, out=tmp_path / "run", quiet=True)
    said = cli("predict", tmp_path / "run", folder / "val", "--out", tmp_path / "drawn")
    assert said.code == 2
    assert "nothing to draw" in said.err
