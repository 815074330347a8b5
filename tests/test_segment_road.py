"""The whole way of a segmenter, and of a network that makes images of images: from folders to reports and pictures."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ran import cli

import saccade
from saccade.data import source as sources
from saccade.data.augment import Augmentation
from saccade.data.findings import DataError, Findings
from saccade.data.formats import masks
from saccade.data.label_maps import LabelMaps
from saccade.data.loader import Dataset, collate
from saccade.data.source import Source, Split, content_of
from saccade.errors import SaccadeError, UsageError
from saccade.geometry.view import View
from saccade.layers.preprocess import Preprocess
from saccade.metrics.image import compare, similarity
from saccade.models import create_model
from saccade.recipes.choose import choose
from saccade.structures import VOID, Batch, ColourMap, LabelMap, Preprocessing
from saccade.tasks.segment.contract import Segmenter
from saccade.tasks.segment.image_to_image import ImageToImage
from saccade.tasks.segment.losses import LOSSES, pixel_weights

CLASSES = ("ground", "disc", "never")
TINY: dict[str, Any] = {"width": 4, "padded": True, "batch_norm": True, "dropout": 0.0}
QUICK: dict[str, Any] = {"batch_size": 4, "epochs": 1, "network": TINY, "window": 48, "workers": 0, "quiet": True}


def discs(count: int, seed: int, size: tuple[int, int] = (60, 71)) -> Split:
    """Bright discs on a noisy ground, the upper rows void, in images of a size that no stride divides."""
    rng = np.random.default_rng(seed)
    images, maps = [], []
    for _ in range(count):
        labels = np.zeros(size, dtype=np.uint8)
        cv2.circle(labels, (int(rng.integers(20, 50)), int(rng.integers(20, 40))), int(rng.integers(8, 18)), 1, -1)
        images.append((60 + 120 * labels[..., None] + rng.normal(0, 15, (*size, 3))).clip(0, 255).astype(np.uint8))
        labels[:2] = VOID
        maps.append(labels)
    coding = {0: 0, 1: 1, 2: 2, VOID: VOID}
    return Split(np.stack(images), [str(n) for n in range(count)], label_maps=LabelMaps(maps, CLASSES, coding))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs as folders of images and masks."""
    folder = tmp_path_factory.mktemp("discs") / "data"
    source = Source("discs", "made up", CLASSES, {"train": discs(12, 0), "val": discs(4, 1), "test": discs(4, 2)})
    assert masks.write(source, folder) == []
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    saccade.fit(data, model="unet", out=folder, **QUICK | {"epochs": 12, "learning_rate": 3e-3})
    return folder


# --- a class for every pixel ------------------------------------------------------------------------------------------


def test_a_run_learns_and_has_everything(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["pixel_error"] < 10 and metrics["test/pixel_error"] < 10
    page = (run / "report.html").read_text()
    for heading in ("Where it errs most", "Class by class", "What is taken for what", "As the network saw them"):
        assert heading in page
    assert saccade.load(run).card.classes == CLASSES


def test_evaluating_again_gives_the_same(run: Path, data: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for batch_size in (1, 3):
        for key, value in saccade.evaluate(run, data, batch_size=batch_size).result.items():
            assert value == pytest.approx(metrics[f"test/{key}"], abs=1e-9, nan_ok=True)


def test_evaluation_counts_what_prediction_says(run: Path, data: Path) -> None:
    """The pixel error by hand, from predictions in original pixels."""
    split, predictor = sources.read(data).splits["test"], saccade.load(run)
    wrong = known = 0
    for index in range(len(split)):
        said, truth = predictor.look(split.open(index)), split.label_maps[index].labels  # type: ignore[index]
        assert isinstance(said, LabelMap) and said.labels.shape == truth.shape == (60, 71)
        wrong += int(((said.labels != truth) & (truth != VOID)).sum())
        known += int((truth != VOID).sum())
    assert saccade.evaluate(run, data).result["pixel_error"] == pytest.approx(100 * wrong / known)


def test_classes_are_matched_by_name(run: Path, data: Path, tmp_path: Path) -> None:
    """The same pixels under other numbers give the same result; an unknown class is an error."""
    test = sources.read(data).splits["test"]
    assert test.label_maps is not None
    other = np.arange(256, dtype=np.uint8)
    other[:2] = 1, 0
    swapped = [other[known.labels] for known in test.label_maps]
    for first, second in (("disc", "ground"), ("disc", "sky")):
        maps = LabelMaps(swapped, (first, second, "never"), {0: 0, 1: 1, 2: 2, VOID: VOID})
        images = np.stack([test.open(index).pixels("RGB")[0] for index in range(len(test))])
        folder = tmp_path / second
        masks.write(Source("s", "s", maps.classes, {"all": Split(images, test.ids, label_maps=maps)}), folder)
        if second == "ground":
            assert saccade.evaluate(run, folder).result == pytest.approx(
                saccade.evaluate(run, data).result, nan_ok=True
            )
        else:
            with pytest.raises(DataError, match="classes that the model does not know: sky"):
                saccade.evaluate(run, folder)


def test_predict_writes_maps_that_are_read_again(run: Path, data: Path, tmp_path: Path) -> None:
    images = data / "images" / "test"
    said = cli("predict", run, images, "--out", tmp_path / "said", "--json", "--probabilities")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    areas = json.loads((tmp_path / "said" / "areas.json").read_text())
    predictor = saccade.load(run, probabilities=True)
    table = (tmp_path / "said" / "classes.txt").read_text()
    assert table == "0 ground\n1 disc\n2 never\n"
    for line in lines:
        expected = predictor(line["path"])
        assert isinstance(expected, LabelMap) and expected.probabilities is not None
        stem = Path(line["path"]).stem
        with Image.open(tmp_path / "said" / "masks" / f"{stem}.png") as file:
            assert np.array_equal(np.asarray(file), expected.labels)
        kept = np.load(tmp_path / "said" / "masks" / f"{stem}.npz")["probabilities"]
        assert kept.shape == (3, 60, 71) and np.array_equal(kept.argmax(0), expected.labels)
        assert kept.astype(np.float32).sum(0) == pytest.approx(np.ones((60, 71)), abs=2e-3)
        counted = {name: int((expected.labels == k).sum()) for k, name in enumerate(CLASSES)}
        assert line["pixels"] == areas[line["path"]] == {name: count for name, count in counted.items() if count}
        assert (tmp_path / "said" / f"{stem}.jpg").exists()
    plain = cli("predict", run, next(images.iterdir()))
    assert plain.code == 0 and "ground " in plain.out and " %" in plain.out


def test_a_smaller_tile_gives_nearly_the_same(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)).save(path)
    whole, tiled = saccade.load(run)(path), saccade.load(run, tile=128)(path)
    assert isinstance(whole, LabelMap) and isinstance(tiled, LabelMap)
    assert (whole.labels != tiled.labels).mean() < 0.05
    refused = cli("predict", run, path, "--tile", "20")
    assert refused.code == 2 and "64 pixels a side or more" in refused.err


def test_a_scaled_network_answers_in_original_pixels(data: Path, tmp_path: Path) -> None:
    saccade.fit(data, model="unet", out=tmp_path / "run", **QUICK | {"size": 30})
    predictor = saccade.load(tmp_path / "run")
    assert predictor.card.preprocessing.view((60, 71)).size == (30, 36)
    said = predictor(np.zeros((60, 71, 3), dtype=np.uint8))
    assert isinstance(said, LabelMap) and said.labels.shape == (60, 71)


@pytest.mark.parametrize("loss", ["dice+cross_entropy", "lovasz", "focal", "binary"])
def test_every_loss_trains(data: Path, tmp_path: Path, loss: str) -> None:
    options = QUICK | {"epochs": 20, "learning_rate": 3e-3}
    if loss != "lovasz":
        options |= {"class_weights": "balanced", "border": 10.0}
    fitted = saccade.fit(data, model="unet", out=tmp_path / "run", loss=loss, **options)
    assert fitted.metrics["mean_iou"] > 55  # the ground alone would have about 40


def test_weights_of_another_number_of_classes_start_anew(run: Path, tmp_path: Path) -> None:
    """A run's weights, fine-tuned to two classes: all but the last layer comes along."""
    path = run / "model.safetensors"
    two = create_model("unet", 2, path, **TINY)
    three = create_model("unet", 3, path, **TINY)
    assert isinstance(two, Segmenter) and isinstance(three, Segmenter)
    for (name, own), (_, other) in zip(two.named_parameters(), three.named_parameters(), strict=True):
        assert not own.any() if name.startswith("score") else torch.equal(own, other)


def test_what_to_use_is_chosen(data: Path) -> None:
    chosen = choose(sources.read(data), adapt="scratch")
    assert (chosen.model, chosen.adapt) == ("unet", "scratch")
    with pytest.raises(UsageError, match="pixels are marked"):
        choose(sources.read(data), adapt="probe")


def test_scenes_have_a_background_that_their_things_have_not(tmp_path: Path) -> None:
    source = sources.read("scenes-64")
    few = source.with_splits({name: split.take(range(4)) for name, split in source.splits.items()})
    fitted = saccade.fit(few, model="unet", out=tmp_path / "run", **QUICK | {"hold_out": 0.25})
    maps = few.splits["train"].label_maps
    assert maps is not None and len(maps.classes) == len(source.classes) + 1
    assert saccade.load(fitted.path).card.classes == maps.classes


def test_the_verb_evaluates_every_task(run: Path, data: Path, pairs: Path, tmp_path: Path) -> None:
    """In words, with a report; and from Python what was read."""
    said = cli("evaluate", run, data, "--out", tmp_path / "report.html")
    assert said.code == 0, said.err
    assert "IoU %" in said.out and "disc" in said.out and (tmp_path / "report.html").exists()
    assert saccade.evaluate(run, sources.read(data)).result == saccade.evaluate(run, data).result
    options: dict[str, Any] = {"epochs": 1, "network": {"width": 4}, "workers": 0, "quiet": True}
    made = saccade.fit(pairs, model="unet_image", out=tmp_path / "made", **options)
    said = cli("evaluate", made.path, pairs)
    assert said.code == 0 and "psnr" in said.out
    said = cli("predict", made.path, pairs / "val" / "inputs" / "0.png", "--out", tmp_path / "pictures")
    assert said.code == 0 and str(tmp_path / "pictures" / "0.png") in said.out
    refused = cli("predict", run, data / "images" / "test", "--out", run)
    assert refused.code == 2 and "is a run directory" in refused.err


def test_a_run_is_gone_on_from_with_other_classes(run: Path, tmp_path: Path) -> None:
    """--weights RUN takes its network, options and colours; all but the last layer comes along."""
    split = discs(8, 5)
    assert split.label_maps is not None
    maps = LabelMaps(list(split.label_maps.maps), ("sky", "sun"), {0: 0, 1: 1, VOID: VOID})
    source = Source("s", "s", maps.classes, {"train": Split(split.images, split.ids, label_maps=maps)})
    fitted = saccade.fit(source, weights=run, out=tmp_path / "run", epochs=1, hold_out=0, window=48, quiet=True)
    card = saccade.load(fitted.path).card
    assert (card.model, card.adapt, card.classes) == ("unet", "finetune", ("sky", "sun"))
    assert card.options["width"] == 4


def test_thin_pictures_are_drawn(run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3000, 3), dtype=np.uint8)).save(tmp_path / "thin.png")
    said = cli("predict", run, tmp_path / "thin.png", "--out", tmp_path / "said")
    assert said.code == 0, said.err


def test_options_that_make_no_network_are_refused(data: Path, tmp_path: Path) -> None:
    for network in ({"width": -3}, {"width": "abc"}, {"width": 0}):
        with pytest.raises(UsageError, match=r"unet cannot be built with network=|at least 1"):
            saccade.fit(data, model="unet", out=tmp_path / "run", **QUICK | {"network": network})
    assert not (tmp_path / "run").exists()


# --- targets ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), zoom=st.floats(0.6, 1.6), window=st.sampled_from([24, 48, 400]))
def test_labels_move_with_the_image(seed: int, zoom: float, window: int) -> None:
    """Each label is drawn in a colour of its own: after every change the colours still say the labels."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (5, 6)), np.ones((12, 12), dtype=int)).astype(np.uint8)
    image = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)[labels]
    split = Split(image[None], ["a"], label_maps=LabelMaps([labels], CLASSES, {0: 0, 1: 1, 2: 2}))
    vary = Augmentation(flip=0.5, flip_vertical=0.5, zoom=(zoom, zoom), rotate=20)
    sample = Dataset(split, Preprocessing.windows(window), vary, seed, "label_maps")[0, 0]
    assert sample.image.shape[:2] == sample.target.size
    assert max(sample.image.shape[:2]) <= window
    sure = (sample.image.max(axis=2) > 195) & (sample.target.labels != VOID)
    inner = cv2.erode(sure.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)).astype(bool)
    assert (sample.image.argmax(axis=2) == sample.target.labels)[inner].mean() > 0.99


def test_windows_of_a_batch_are_padded_with_void() -> None:
    split = Split([Path("a"), Path("b")], ["a", "b"])
    assert split.label_maps is None
    samples = []
    for size in ((20, 30), (30, 20)):
        pixels, labels = np.zeros((*size, 3), dtype=np.uint8), np.ones(size, dtype=np.uint8)
        one = Split(pixels[None], ["a"], label_maps=LabelMaps([labels], CLASSES, {1: 1}))
        samples.append(Dataset(one, Preprocessing.windows(64), known="label_maps")[0, 0])
    batch = collate(samples, Preprocessing.windows(64))
    assert batch.targets.shape == (2, 30, 30) and batch.targets.dtype == torch.uint8
    assert (batch.targets[0] == 1).sum() == 600 and (batch.targets[0, 20:] == VOID).all()
    assert (batch.targets[1, :, 20:] == VOID).all()
    logits = torch.randn(2, 3, 30, 30)
    loss = LOSSES["cross_entropy"](logits, batch.targets.long(), pixel_weights(batch.targets.long(), None, 0, 5))
    parts = torch.cat([logits[0, :, :20].flatten(1), logits[1, :, :, :20].flatten(1)], 1).T
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(parts, torch.ones(1200).long()).item())


# --- bad input --------------------------------------------------------------------------------------------------------


def test_data_without_pixels_is_refused(tmp_path: Path, class_folders: Any, data: Path) -> None:
    folders = class_folders(tmp_path / "classes", {"a": 4, "b": 4})
    with pytest.raises(DataError, match="has one class an image, but unet learns what every pixel is"):
        saccade.fit(folders, model="unet", out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"things in the images|every pixel is"):
        saccade.fit(data, model="resnet18", out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="has a class for every pixel, but fasterrcnn_fpn finds things"):
        saccade.fit(data, model="fasterrcnn_fpn", out=tmp_path / "run", quiet=True)


def test_a_mask_of_another_size_stops_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    """One in a folder, one in memory."""
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    mask = next((folder / "masks" / "train").iterdir())
    Image.fromarray(np.zeros((30, 71), dtype=np.uint8)).save(mask)
    with pytest.raises(DataError, match=r"is 71 x 30, but its image is 71 x 60"):
        saccade.fit(folder, model="unet", out=tmp_path / "run", **QUICK)
    split = discs(4, 0)
    assert split.label_maps is not None
    maps = LabelMaps([np.zeros((9, 9), dtype=np.uint8), *split.label_maps.maps[1:]], CLASSES, {0: 0, 1: 1, VOID: VOID})  # type: ignore[index]
    broken = Split(split.images, split.ids, label_maps=maps)
    with pytest.raises(SaccadeError, match=r"map 0: has 9 x 9 pixels .*60 x 71"):
        saccade.fit(
            Source("s", "s", CLASSES, {"train": broken, "val": split}), model="unet", out=tmp_path / "r", **QUICK
        )


def test_values_outside_the_classes_stop_or_are_left_out(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    mask = next((folder / "masks" / "train").iterdir())
    Image.fromarray(np.full((60, 71), 9, dtype=np.uint8)).save(mask)
    with pytest.raises(DataError, match="holds the values 9, which are no class"):
        saccade.fit(folder, model="unet", out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    fitted = saccade.fit(folder, model="unet", out=tmp_path / "run", skip_broken=True, **QUICK)
    assert "holds the values 9" in fitted.report.read_text()


def test_nothing_but_void_trains_and_says_nothing(tmp_path: Path) -> None:
    """Images of which nobody says anything, beside some of which somebody does, and a set of nothing else."""
    void = [np.full((60, 71), VOID, dtype=np.uint8)] * 4
    split = discs(4, 0)
    empty = Split(split.images, split.ids, label_maps=LabelMaps(void, CLASSES, {0: 0, 1: 1, VOID: VOID}))
    fitted = saccade.fit(
        Source("s", "s", CLASSES, {"train": empty, "val": empty}), model="unet", out=tmp_path / "run", **QUICK
    )
    line = json.loads((fitted.path / "log.jsonl").read_text().splitlines()[0])
    assert line["train/loss"] == 0
    assert json.loads((fitted.path / "metrics.json").read_text())["mean_iou"] is None
    assert "Nobody says of any pixel what it is" in fitted.report.read_text()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3)])
def test_tiny_images_are_answered(run: Path, size: tuple[int, int]) -> None:
    said = saccade.load(run)(np.zeros((*size, 3), dtype=np.uint8))
    assert isinstance(said, LabelMap) and said.labels.shape == size


def test_settings_of_other_tasks_are_refused(data: Path, tmp_path: Path) -> None:
    for options, match in [
        ({"mixup": 0.2}, "mixup is for the task classify"),
        ({"loss": "dise"}, "no loss 'dise'"),
        ({"loss": "l1"}, "no loss 'l1'"),
    ]:
        with pytest.raises(UsageError, match=match):
            saccade.fit(data, model="unet", out=tmp_path / "run", **QUICK | options)
    with pytest.raises(UsageError, match="window is for the task segment"):
        saccade.fit(data, model="resnet18", out=tmp_path / "run", window=64)
    assert not (tmp_path / "run").exists()


def test_options_of_maps_mean_nothing_to_others(tmp_path: Path, class_folders: Any) -> None:
    folders = class_folders(tmp_path / "classes", {"a": 6, "b": 6})
    saccade.fit(folders, model="lenet", out=tmp_path / "run", epochs=1, quiet=True)
    with pytest.raises(UsageError, match="tile is for networks that say what every pixel is; lenet does not"):
        saccade.load(tmp_path / "run", tile=512)


def test_a_batch_of_one_is_refused_where_it_cannot_be_normalised(data: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 1, "network": {"backbone": "resnet18"}, "window": 48, "quiet": True}
    for model in ("pspnet", "deeplabv3"):
        with pytest.raises(UsageError, match="needs two images or more a process, and has 1 of 12"):
            saccade.fit(data, model=model, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_masks_of_another_size_can_be_left_out(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    mask = next((folder / "masks" / "train").iterdir())
    Image.fromarray(np.zeros((30, 71), dtype=np.uint8)).save(mask)
    fitted = saccade.fit(folder, model="unet", out=tmp_path / "run", skip_broken=True, **QUICK)
    assert "is 71 x 30, but its image is 71 x 60" in fitted.report.read_text()
    shutil.copy(mask, next((folder / "masks" / "test").iterdir()))
    with pytest.raises(DataError, match="is 71 x 30"):
        saccade.evaluate(fitted.path, folder)
    evaluated = saccade.evaluate(fitted.path, folder, skip_broken=True)
    assert len(evaluated.metric.outcomes) == 3 and "is 71 x 30" in " ".join(evaluated.skipped)


def test_truth_is_never_replaced_by_predictions(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = cli("predict", run, folder / "images" / "test", "--out", folder)
    assert said.code == 2 and "is there already and no prediction's" in said.err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):  # a prediction may replace a prediction
        assert cli("predict", run, folder / "images" / "test", "--out", tmp_path / "said").code == 0


def test_grey_images_and_lists_of_widths(data: Path, tmp_path: Path) -> None:
    """One channel where the network is told so; a run with a list among its options goes on."""
    options = QUICK | {"network": {"backbone": "resnet18", "widths": (16, 16, 8, 8, 8), "in_channels": 1}, "epochs": 2}
    fitted = saccade.fit(data, model="unet", out=tmp_path / "run", **options)
    predictor = saccade.load(fitted.path)
    assert predictor.card.preprocessing.channels == 1
    assert isinstance(predictor(np.zeros((30, 40, 3), dtype=np.uint8)), LabelMap)
    again = saccade.fit(data, model="unet", out=tmp_path / "run", resume=True, **options)
    assert again.metrics["mean_iou"] == fitted.metrics["mean_iou"]


def test_a_run_knows_its_labels_in_memory() -> None:
    """Other labels are other data, in a list and in an array."""
    split = discs(3, 0)
    assert split.label_maps is not None
    coding = split.label_maps.coding
    for pack in (list, np.stack):
        maps = [np.zeros((60, 71), dtype=np.uint8) for _ in range(3)]
        one = content_of(Split(split.images, split.ids, label_maps=LabelMaps(pack(maps), CLASSES, coding)))
        maps[1][5, 5] = 1
        assert content_of(Split(split.images, split.ids, label_maps=LabelMaps(pack(maps), CLASSES, coding))) != one


# --- a colour for every pixel -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs with noise, and without it."""
    folder = tmp_path_factory.mktemp("pairs") / "data"
    rng = np.random.default_rng(0)
    for name, count in (("train", 16), ("val", 4)):
        for kind in ("inputs", "targets"):
            (folder / name / kind).mkdir(parents=True)
        for number in range(count):
            clean = np.full((48, 53, 3), rng.integers(0, 256, 3), dtype=np.uint8)
            centre = (int(rng.integers(53)), int(rng.integers(48)))
            cv2.circle(clean, centre, int(rng.integers(8, 20)), rng.integers(0, 256, 3).tolist(), -1)
            noisy = (clean + rng.normal(0, 40, clean.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / name / "inputs" / f"{number}.png")
            Image.fromarray(clean).save(folder / name / "targets" / f"{number}.png")
    return folder


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_images_of_images_are_learnt(pairs: Path, tmp_path: Path, loss: str) -> None:
    """Noise is taken away: what is left is nearer to the clean image than the input, by 2 decibels at least."""
    options = {"batch_size": 8, "epochs": 60, "learning_rate": 3e-3, "network": {"width": 8}, "workers": 0}
    fitted = saccade.fit(pairs, model="unet_image", out=tmp_path / "run", loss=loss, quiet=True, **options)
    split = sources.read(pairs).splits["val"]
    given = [
        compare(split.open(i).pixels("RGB")[0], np.asarray(Image.open(str(split.targets[i])))).psnr  # type: ignore[index]
        for i in range(4)
    ]
    assert fitted.metrics["psnr"] > np.mean(given) + 2
    assert "the inputs themselves have" in fitted.report.read_text()
    assert saccade.evaluate(fitted.path, pairs).result["psnr"] == pytest.approx(fitted.metrics["psnr"])
    said = cli("predict", fitted.path, pairs / "val" / "inputs", "--out", tmp_path / "made")
    assert said.code == 0, said.err
    expected = saccade.load(fitted.path)(pairs / "val" / "inputs" / "0.png")
    assert isinstance(expected, ColourMap)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "made" / "0.png")), expected.pixels)


def test_colours_by_hand() -> None:
    """Outputs are added to the image; padding does not count in the loss."""

    class Says(torch.nn.Module):
        grid = 1

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.full((len(inputs), 3, *inputs.shape[2:]), 0.25)

    targets = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    targets[:, :, 2:] = 0
    batch = Batch(torch.full((1, 3, 4, 4), 102, dtype=torch.uint8), targets, [View.identity((2, 4))], ["a"])
    says: Any = Says()
    for loss, expected in (("l1", 0.35), ("l2", 0.1225)):  # 0.4 + 0.25 against 1
        assert ImageToImage(loss=loss).loss(says, batch.images.float(), batch)[loss].item() == pytest.approx(expected)
    made = ImageToImage().predict(says, Preprocess(Preprocessing()), batch)[0]
    assert made.pixels.shape == (2, 4, 3) and (made.pixels == 166).all()


def test_targets_move_with_the_image_and_keep_their_colours() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    split = Split(image[None], ["a"], targets=[image])
    vary = Augmentation(flip=1.0, zoom=(1.3, 1.3), rotate=10)
    sample = Dataset(split, Preprocessing.windows(32), vary, 0, "targets")[0, 0]
    inside = (sample.image != np.round(255 * np.array([0.485, 0.456, 0.406]))).any(axis=2)
    assert sample.target.pixels.shape == sample.image.shape == (32, 32, 3)
    away = np.abs(sample.image.astype(int) - sample.target.pixels)
    assert np.median(away[inside]) == 0
    bright = Dataset(split, Preprocessing.windows(64), Augmentation(brightness=0.9), 3, "targets")[0, 0]
    assert np.array_equal(bright.target.pixels, image) and not np.array_equal(bright.image, image)


def test_similarity_is_equation_13() -> None:
    """At one place, every sum written out; of equal images 1."""
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 256, (11, 11, 3), dtype=np.uint8) for _ in range(2))
    away = np.arange(11) - 5
    weights = np.exp(-(away[:, None] ** 2 + away**2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for channel in range(3):
        x, y = one[..., channel].astype(float), other[..., channel].astype(float)
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy, vxy = (
            (weights * (a - m) * (b - n)).sum() for a, m, b, n in [(x, mx, x, mx), (y, my, y, my), (x, mx, y, my)]
        )
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert similarity(one, other) == pytest.approx(np.mean(values), abs=1e-9)
    assert similarity(one, one) == pytest.approx(1)
    assert np.isnan(similarity(one[:10], one[:10]))


def test_differences_by_hand() -> None:
    one, other = np.full((2, 2, 3), 100, dtype=np.uint8), np.full((2, 2, 3), 110, dtype=np.uint8)
    outcome = compare(one, other)
    assert (outcome.squared, outcome.absolute) == (100, 10)
    assert outcome.psnr == pytest.approx(10 * np.log10(255**2 / 100))
    assert compare(one, one).psnr == pytest.approx(58.92, abs=0.01)


def test_pairs_are_read_and_what_is_broken_is_named(pairs: Path, tmp_path: Path) -> None:
    source = sources.read(pairs)
    assert source.format == "pairs of images"
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 16, "val": 4}
    for kind in ("input", "target"):
        (tmp_path / "d" / kind).mkdir(parents=True)
    image = Image.fromarray(np.zeros((8, 9, 3), dtype=np.uint8))
    for name in ("a", "b", "c"):
        image.save(tmp_path / "d" / "input" / f"{name}.png")
    image.save(tmp_path / "d" / "target" / "a.jpg")
    image.resize((9, 9)).save(tmp_path / "d" / "target" / "b.png")
    image.save(tmp_path / "d" / "target" / "z.png")
    findings = Findings(strict=False)
    read = sources.read(tmp_path / "d", findings)
    assert read.splits["all"].ids == ["a.png"]
    assert sorted(finding.kind for finding in findings.kept) == [
        "missing input", "missing target", "target of another size",
    ]  # fmt: skip
    with pytest.raises(DataError, match="has no target"):
        sources.read(tmp_path / "d")
    with pytest.raises(DataError, match="has an image that each should become, but unet learns what every pixel is"):
        saccade.fit(pairs, model="unet", out=tmp_path / "run", quiet=True)


def test_stray_files_and_double_splits_of_pairs(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((8, 9, 3), dtype=np.uint8))
    for kind in ("inputs", "targets"):
        for split in ("train", "val"):
            (tmp_path / kind / split).mkdir(parents=True)
            image.save(tmp_path / kind / split / "a.png")
    (tmp_path / "inputs" / "readme.txt").write_text("hello")
    assert set(sources.read(tmp_path).splits) == {"train", "val"}
    for kind in ("inputs", "targets"):
        shutil.copytree(tmp_path / kind / "val", tmp_path / kind / "valid")
    with pytest.raises(DataError, match="two of these are the same split"):
        sources.read(tmp_path)


def test_beyond_the_image_nothing_is_to_be_changed() -> None:
    """Input and target are filled alike, turned or bent."""
    image = np.full((40, 50, 3), 200, dtype=np.uint8)
    split = Split(image[None], ["a"], targets=[image])
    for seed in range(3):
        vary = Augmentation(rotate=40, elastic=0.05)
        sample = Dataset(split, Preprocessing.windows(64), vary, seed, "targets")[0, 0]
        assert np.array_equal(sample.image, sample.target.pixels)


def test_pairs_are_checked_and_shown(pairs: Path, tmp_path: Path) -> None:
    assert "nothing is wrong" in cli("check", pairs).out
    folder = tmp_path / "data"
    shutil.copytree(pairs, folder)
    target = folder / "val" / "targets" / "0.png"
    target.write_bytes(target.read_bytes()[:200])
    said = cli("check", folder)
    assert said.code == 1 and "0.png" in said.out
    assert cli("show", pairs, "--count", "2", "--out", tmp_path / "sheet.html").code == 0
    assert "and what it should become" in (tmp_path / "sheet.html").read_text()


def test_pairs_choose_their_network(pairs: Path) -> None:
    assert choose(sources.read(pairs)).model == "unet_image"


# --- how often is validated -------------------------------------------------------------------------------------------


def test_only_some_epochs_are_validated(data: Path, tmp_path: Path) -> None:
    """Every second, and the last; the weights of the last are kept."""
    fitted = saccade.fit(data, model="unet", out=tmp_path / "run", validate_every=2, **QUICK | {"epochs": 5})
    lines = [json.loads(line) for line in (fitted.path / "log.jsonl").read_text().splitlines()]
    assert ["val/mean_iou" in line for line in lines] == [False, True, False, True, True]
    assert lines[-1]["val/mean_iou"] == pytest.approx(fitted.metrics["mean_iou"])
    with pytest.raises(UsageError, match="patience is 1 epochs, but only every 2 epochs are validated"):
        saccade.fit(data, model="unet", out=tmp_path / "other", validate_every=2, patience=1, **QUICK)


HUGE = """
import resource, sys
import numpy as np
import saccade

said = saccade.load(sys.argv[1])(sys.argv[2])
print(said.labels.shape, sum(said.areas().values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_a_hundred_million_pixels_take_less_than_4_gib(run: Path, tmp_path: Path) -> None:
    """10,000 x 10,000 pixels, in a process of its own; the most memory it ever had, as the system counts it."""
    tile = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(np.tile(tile, (20, 20, 1))).save(tmp_path / "huge.png", compress_level=1)
    done = subprocess.run(
        [sys.executable, "-c", HUGE, run, tmp_path / "huge.png"], capture_output=True, text=True, check=True
    )
    *shape, count, kilobytes = done.stdout.replace("(", "").replace(")", "").replace(",", "").split()
    assert [int(side) for side in shape] == [10_000, 10_000] and int(count) == 100_000_000
    assert int(kilobytes) < 4 * 1024**2
