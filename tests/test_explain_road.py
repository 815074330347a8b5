"""The verb: from a run and a picture to pictures and a page, for every task; and what it refuses."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import saccade
from saccade import checkpoint
from saccade.backbones.weights import class_names, coco_in_imagenet
from saccade.checkpoint import Card
from saccade.cli.main import app
from saccade.data.formats import coco
from saccade.data.formats.scenes import SKELETON
from saccade.data.loader import Dataset, Loader, collate
from saccade.data.source import read
from saccade.errors import SaccadeError, UsageError
from saccade.explain.layers import watch
from saccade.explain.occlusion import Occlusion
from saccade.layers.preprocess import Preprocess
from saccade.models import create_model, create_task
from saccade.predict import Predictor
from saccade.recipes import explain as verb
from saccade.recipes.explain_data import PATCH, _cut, look_through
from saccade.recipes.explain_faithfulness import asked_of
from saccade.recipes.explain_methods import METHODS, answer
from saccade.recipes.explain_pictures import ATTRIBUTIONS, _grown, of_image
from saccade.recipes.explain_question import Asked, ask
from saccade.recipes.pointing import peak
from saccade.structures import Instances, LabelMap, Preprocessing

CLASSES = ("ant", "bee", "cat")
SMALL = {"backbone": "resnet18", "width": 32, "hidden": 64, "smallest": 16, "sampled": 64}


def awake(model: Any) -> Any:
    """No number of it is 0, so that every answer hangs on the image."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data = 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    torch.manual_seed(0)
    model = awake(create_model("resnet18", 3))
    return Predictor(model, Card("resnet18", "classify", CLASSES, Preprocessing((64, 64), 73)))


@pytest.fixture(scope="module")
def segmenter() -> Predictor:
    torch.manual_seed(0)
    options = {"backbone": "resnet18"}
    model = awake(create_model("unet", 3, **options))
    return Predictor(model, Card("unet", "segment", CLASSES, Preprocessing.windows(64), options=options))


@pytest.fixture(scope="module")
def detector() -> Predictor:
    torch.manual_seed(0)
    options = SMALL | {"num_keypoints": 3, "depth": 2}
    model = awake(create_model("keypointrcnn_fpn", 3, **options))
    card = Card("keypointrcnn_fpn", "detect", CLASSES, Preprocessing.whole(96, 96), options=options, skeleton=SKELETON)
    return Predictor(model, card)


def picture(seed: int = 0, size: tuple[int, int] = (80, 100)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1]))


# Every method, every task


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("feature_maps", "shifts", "faithfulness")])
def test_every_method_of_one_image_gives_a_picture_and_a_number_a_pixel(classifier: Predictor, method: str) -> None:
    shown = saccade.explain(classifier, picture(), method=method, target="bee")
    assert shown.words.startswith("bee, ")
    assert shown.values is not None
    assert shown.values.shape[:2] == (64, 64)
    assert np.isfinite(shown.values).all()
    assert shown.values.any()
    assert shown.picture().shape == (64, 64, 3)
    assert shown.sheet()[:4] == b"\x89PNG"
    assert len(shown.trust) > 40


def test_another_target_gives_another_explanation(classifier: Predictor) -> None:
    for method in ("occlusion", "saliency", "grad_cam", "cam", "integrated_gradients", "smoothgrad"):
        one, other = (saccade.explain(classifier, picture(), method=method, target=name).values for name in CLASSES[:2])
        assert not np.allclose(one, other)


def test_a_target_goes_by_name_and_by_number_and_the_network_has_its_say(classifier: Predictor) -> None:
    said = classifier(picture())
    other = next(label for label in range(3) if label != said.label)
    by_name, by_number = (
        saccade.explain(classifier, picture(), method="saliency", target=target)
        for target in (CLASSES[other], str(other))
    )
    np.testing.assert_array_equal(by_name.values, by_number.values)
    assert by_name.words.startswith(CLASSES[other]) and f"(the network says {said.name}, " in by_name.words


def test_a_silent_unit_and_what_is_below_nothing_are_said_to_be(pictures: Path) -> None:
    torch.manual_seed(0)
    model = awake(create_model("resnet18", 3))
    with torch.no_grad():
        model.get_submodule("bn1").bias[5] = -1e3
    predictor = Predictor(model, Card("resnet18", "classify", CLASSES, Preprocessing((64, 64), 73)))
    shown = saccade.explain(predictor, pictures, method="top_patches", layer="relu", units="5,6", count=4)
    assert shown.tiles[0].detail == "silent on all 12 images" and "activations" in shown.tiles[1].detail
    unit = saccade.explain(predictor, picture(), method="occlusion", layer="bn1", unit="5,4,9")
    assert "before anything is covered" in unit.trust
    assert unit.tiles[0].detail == "where covering costs the unit at row 4, column 9 of channel 5 of bn1 most"


def test_without_a_target_it_is_what_the_network_says(classifier: Predictor) -> None:
    said = classifier(picture())
    shown = saccade.explain(classifier, picture(), method="saliency")
    assert shown.words.startswith(said.name)
    np.testing.assert_array_equal(
        shown.values, saccade.explain(classifier, picture(), method="saliency", target=said.label).values
    )


def test_a_unit_can_be_explained_in_the_place_of_a_class(classifier: Predictor) -> None:
    shown = saccade.explain(classifier, picture(), method="saliency", layer="layer1.0.conv1", unit="5,4,9")
    assert shown.words == "the unit at row 4, column 9 of channel 5 of layer1.0.conv1"
    rows, columns = np.nonzero(shown.values)
    # It sees 3 x 3 places of a map of stride 4, each 11 pixels wide (7 of the first layer, 2 more steps of 2 to pool).
    assert (rows.min(), rows.max() + 1) == (4 * 4 - 4 - 5, 4 * 4 + 4 + 6)
    assert (columns.min(), columns.max() + 1) == (9 * 4 - 4 - 5, 9 * 4 + 4 + 6)


def test_the_explanation_of_a_pixel_is_about_that_pixel(segmenter: Predictor) -> None:
    image = picture(size=(96, 128))
    found = {}
    for pixel in ((20, 30), (70, 100)):
        values = saccade.explain(segmenter, image, method="saliency", pixel=pixel, target="bee").values
        assert values is not None
        found[pixel] = values
    rows, columns = np.indices((96, 128))
    near = {pixel: np.hypot(rows - pixel[0], columns - pixel[1]) < 32 for pixel in found}
    # Deep maps see all of an image; but what lies around a pixel counts more for it than for the other.
    for pixel, other in itertools.permutations(found):
        shares = [found[one][near[pixel]].sum() / found[one].sum() for one in (pixel, other)]
        assert shares[0] > 1.5 * shares[1]


def test_without_a_pixel_it_is_the_middle_of_the_largest_part(segmenter: Predictor) -> None:
    image = picture(size=(96, 128))
    said = segmenter(image)
    assert isinstance(said, LabelMap)
    question = ask(segmenter, image, Asked())
    assert question.target.label == said.counts()[:3].argmax()
    assert said.labels[question.target.row, question.target.column] == question.target.label


def inside(values: np.ndarray, box: np.ndarray) -> float:
    """The share of all that is said that lies in a box."""
    left, top, right, bottom = np.rint(box).astype(int)
    return float(values[top:bottom, left:right].sum() / values.sum())


def test_the_explanation_of_a_box_is_about_that_box(detector: Predictor) -> None:
    image = picture(size=(96, 96))
    said = Instances(
        (96, 96), np.array([[6.0, 6, 38, 40], [54, 50, 90, 92]]), np.array([1, 1]), np.array([0.9, 0.8], np.float32)
    )
    shares = []
    for n in range(2):
        question = about(detector, image, said, Asked(thing=n + 1))
        values = answer(question, "saliency", {}).values
        assert values is not None
        shares.append([inside(values, box) for box in said.boxes])
    assert shares[0][0] > 2 * shares[0][1]
    assert shares[1][1] > 2 * shares[1][0]


def about(predictor: Predictor, image: np.ndarray, said: Instances, asked: Asked) -> Any:
    """A question about things that somebody says are there, whatever the network finds."""

    class Says:
        def __getattr__(self, name: str) -> Any:
            return getattr(predictor.task, name)

        def predict(self, *parts: Any) -> list[Instances]:
            return [said]

    twin = Predictor(predictor.model, predictor.card)
    twin.task = Says()  # pyright: ignore[reportAttributeAccessIssue]
    return ask(twin, image, asked)


def test_a_keypoint_can_be_explained_by_name(detector: Predictor) -> None:
    said = Instances((96, 96), np.array([[6.0, 6, 60, 60]]), np.array([1]), np.array([0.9], np.float32))
    name = SKELETON.names[1]
    question = about(detector, picture(size=(96, 96)), said, Asked(keypoint=name))
    assert question.words == f"{name} of bee, 90.0 %"
    values = answer(question, "saliency", {}).values
    assert values is not None
    assert values.any()
    with pytest.raises(UsageError, match="no keypoint 'elbow'"):
        about(detector, picture(size=(96, 96)), said, Asked(keypoint="elbow"))
    with pytest.raises(UsageError, match="of thing the network finds 1 in this image, numbers 1 to 1, and got 2"):
        about(detector, picture(size=(96, 96)), said, Asked(thing=2))
    with pytest.raises(UsageError, match="finds no 'cat' in this image"):
        about(detector, picture(size=(96, 96)), said, Asked(target="cat"))


@pytest.mark.parametrize("name", ["saliency", "grad_cam", "occlusion", "integrated_gradients"])
def test_methods_work_on_boxes_and_pixels(detector: Predictor, segmenter: Predictor, name: str) -> None:
    said = Instances((96, 96), np.array([[6.0, 6, 60, 60]]), np.array([1]), np.array([0.9], np.float32))
    long = replace(said, size=(96, 150))  # which is padded to 160
    for question in (
        about(detector, picture(size=(96, 96)), said, Asked()),
        about(detector, picture(size=(96, 150)), long, Asked()),
        ask(segmenter, picture(), Asked()),
    ):
        options = {"steps": 4} if name == "integrated_gradients" else {}
        values = answer(question, name, options).values
        assert values is not None
        assert values.shape == question.image.shape[:2]
        assert np.isfinite(values).all()
        table = (
            answer(question, "faithfulness", {"methods": name, "steps": 3}).blocks[0] if name == "saliency" else None
        )
        assert table is None or np.isfinite(table.rows[0][1:3]).all()


DETECTORS: dict[str, dict[str, Any]] = {
    "aligned": {"backbone": "resnet18", "width": 32},
    "ssd": {"backbone": "resnet18", "width": 32, "side": 96, "count": 5},
    "yolov3": {"backbone": "resnet18"},
    "yolov1": {"backbone": "resnet18", "width": 32, "hidden": 64},
    "fasterrcnn_c4": {"backbone": "resnet50"},
    "keypointrcnn_fpn": SMALL | {"num_keypoints": 3, "depth": 2},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_grad_cam_and_occlusion_of_a_box_look_at_the_backbone(name: str) -> None:
    """Its later layers may answer for all places at once, on none of which a small box hangs, or see one box alone."""
    torch.manual_seed(0)
    model = awake(create_model(name, 3, **DETECTORS[name]))
    side = model.input_size[0] if name == "yolov1" else 96
    card = Card(name, "detect", CLASSES, Preprocessing.whole(side, side), options=DETECTORS[name])
    said = Instances((side, side), np.array([[6.0, 6, 30, 30]]), np.array([1]), np.array([0.9], np.float32))
    question = about(Predictor(model, card), picture(size=(side, side)), said, Asked())
    shown = answer(question, "grad_cam", {})
    assert shown.values is not None and np.isfinite(shown.values).all()
    layer = shown.tiles[0].detail.split(" places of ")[1].split(":")[0]
    trunk = next(key for key, module in model.named_modules() if module is model.trunk)
    assert layer.startswith(f"{trunk}.")
    if name == "fasterrcnn_c4":
        assert "layer4" not in layer  # which looks at each box
    values = answer(question, "occlusion", {}).values
    assert values is not None and np.isfinite(values).all() and values.any()


@pytest.mark.parametrize("name", ["fcn", "deeplabv3", "pspnet", "unet"])
def test_grad_cam_of_a_pixel_looks_at_the_backbone(name: str) -> None:
    """And not at the classes' own maps, nor at what was averaged over parts of the image."""
    torch.manual_seed(0)
    options = {"backbone": "resnet18"}
    model = awake(create_model(name, 3, **options))
    predictor = Predictor(model, Card(name, "segment", CLASSES, Preprocessing.windows(64), options=options))
    shown = [saccade.explain(predictor, picture(), method="grad_cam", pixel=place) for place in ((20, 30), (70, 90))]
    for one in shown:
        assert "backbone.layer4" in one.tiles[0].detail
        assert "mostly the map of its class" in one.trust


@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [("lenet", "avgpool", (28, 28)), ("vgg11", "avgpool", (224, 224)), ("mobilenet_v2", "features.18", (224, 224))],
)
def test_a_map_is_drawn_where_its_units_look(name: str, layer: str, size: tuple[int, int]) -> None:
    model = create_model(name, 3, in_channels=3)
    predictor = Predictor(model, Card(name, "classify", CLASSES, Preprocessing.stretched(size)))
    question = ask(predictor, picture(), Asked())
    with torch.no_grad():
        _, found = watch(model, [layer], lambda: model(question.inputs))
    rows, columns = found[layer].shape[2:]
    step = size[0] / rows
    for row, column in ((0, 0), (rows // 2, columns - 2), (rows - 2, 1)):
        values = torch.zeros(rows, columns)
        values[row, column] = 1
        y, x = peak(of_image(question, values, layer))
        # Filters in steps begin at the image's edge, so that a unit looks up to a step before the middle of its part.
        assert abs(y - (row + 0.25) * step) <= 0.8 * step
        assert abs(x - (column + 0.25) * step) <= 0.8 * step


def test_what_is_not_about_an_answer_needs_none(detector: Predictor) -> None:
    nothing = picture() * 0
    assert len(detector(nothing)) == 0 or detector.model is not None
    shown = saccade.explain(detector, nothing, method="feature_maps", layer="backbone.body.layer1")
    assert shown.values is not None and len(shown.values) == 64
    with pytest.raises(UsageError, match="takes no target, unit, thing"):
        saccade.explain(detector, nothing, method="feature_maps", layer="backbone.body.layer1", target="bee")


def test_grey_is_the_middle_where_no_mean_is_taken() -> None:
    model = create_model("resnet18", 3)
    plain = Preprocessing((64, 64), 73, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    question = ask(Predictor(model, Card("resnet18", "classify", CLASSES, plain)), picture(), Asked())
    assert question.grey.flatten().tolist() == [0.5, 0.5, 0.5]
    shown = answer(question, "occlusion", {"square": 64, "stride": 64})
    with torch.no_grad():
        chances = model(torch.stack([question.inputs[0], torch.full((3, 64, 64), 0.5)])).softmax(1)
    assert shown.values is not None
    label = int(chances[0].argmax())
    np.testing.assert_allclose(shown.values, float(chances[0, label] - chances[1, label]), atol=1e-5)


def test_a_question_leaves_the_network_as_it_was(classifier: Predictor) -> None:
    before = {key: value.clone() for key, value in classifier.model.state_dict().items()}
    said = classifier(picture()).probabilities
    for method in (*ATTRIBUTIONS, "faithfulness", "shifts"):
        saccade.explain(classifier, picture(), method=method)
    assert all(value.equal(before[key]) for key, value in classifier.model.state_dict().items())
    np.testing.assert_array_equal(classifier(picture()).probabilities, said)
    assert not any(module._forward_hooks for module in classifier.model.modules())


def test_a_map_of_places_is_drawn_where_the_squares_are() -> None:
    """Squares of 100 pixels every 50 on 224: their middles are at 50, 100, 150 and, cut off by the edge, 187."""
    seen = Occlusion(torch.zeros(1), torch.zeros(4, 4, 1), (224, 224), (100, 100), (50, 50))
    question: Any = SimpleNamespace(image=np.zeros((200, 224, 3), dtype=np.uint8))
    large = _grown(np.arange(16).reshape(4, 4), seen, question)
    assert large.shape == (200, 224)
    assert large[0, [0, 74, 76, 124, 126, 167, 170, 223]].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert large[[74, 76, 199], 0].tolist() == [0, 4, 12]


def test_an_image_too_large_to_be_looked_at_as_a_whole_is_not_explained(segmenter: Predictor) -> None:
    with pytest.raises(UsageError, match=r"sees 2048 x 1056 pixels .* of at most 2,097,152 pixels: give a part"):
        ask(segmenter, np.zeros((2048, 1056, 3), dtype=np.uint8), Asked())


def test_what_is_forgotten_first_is_what_the_score_hangs_on() -> None:
    """Of the class of a box not the layer that moves boxes, which runs last; of a unit not the classifier."""
    detector = create_model("fasterrcnn_fpn", 3, backbone="resnet18", width=16, hidden=16).eval()
    box, inputs = torch.tensor([4.0, 4, 40, 40]), torch.randn(1, 3, 64, 64)
    of_box: Any = SimpleNamespace(
        model=detector, inputs=inputs, of_model=lambda model: lambda images: model.box_logit(images, box, 1)
    )
    order = ["backbone.body.conv1", "roi_heads.box_head.fc7", "roi_heads.box_predictor.cls_score"]
    assert asked_of(of_box, [*order, "roi_heads.box_predictor.bbox_pred"]) == order
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    net(inputs)
    of_unit: Any = SimpleNamespace(
        model=net, inputs=inputs, of_model=lambda model: lambda images: model[0](images)[:, 1].sum((1, 2))
    )
    assert asked_of(of_unit, ["0", "1", "2", "3"]) == ["0"]


def test_faithfulness_puts_every_method_into_one_table(classifier: Predictor) -> None:
    shown = saccade.explain(classifier, picture(), method="faithfulness", steps=5)
    table = shown.blocks[0]
    assert [row[0].replace(" ", "_") for row in table.rows] == [*ATTRIBUTIONS, "random"]
    assert all(np.isfinite(row[1:3]).all() for row in table.rows)
    assert all(0 <= area <= 100 for row in table.rows for area in row[1:3])
    assert all(-1 <= row[3] <= 1 for row in table.rows if np.isfinite(row[3]))


# Learnt: where does it look?


@pytest.mark.slow
def test_on_scenes_the_peak_lies_on_the_thing_that_is_asked_about() -> None:
    """A detector that knows sixteen scenes by heart, asked about every digit of four of them."""
    source = read("scenes-96")
    split = source.splits["train"].take(range(16))
    preprocessing = Preprocessing.whole(96, 96)
    data = Dataset(split, preprocessing, known="objects")
    batch = collate([data[0, n] for n in range(16)], preprocessing)
    torch.manual_seed(0)
    options = SMALL | {"width": 64, "hidden": 128}
    model = create_model("fasterrcnn_fpn", 10, **options)
    task, preprocess = create_task("detect", source.classes, model), Preprocess(preprocessing)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0)
    model.train()
    for step in range(250):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 20) * (1 if step < 175 else 0.1)
        optimiser.zero_grad()
        torch.stack(list(task.loss(model, preprocess(batch.images), batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
    predictor = Predictor(model, Card("fasterrcnn_fpn", "detect", source.classes, preprocessing, options=options))
    hits = {"occlusion": [], "saliency": []}
    for n in range(4):
        image = split.open(n).pixels("RGB")[0]
        said = predictor(image)
        assert isinstance(said, Instances)
        for thing in range(int((said.scores > 0.5).sum())):  # pyright: ignore[reportOptionalOperand]
            question = ask(predictor, image, Asked(thing=thing + 1))
            left, top, right, bottom = question.mark
            for method, found in hits.items():
                options = {"square": 12, "stride": 4} if method == "occlusion" else {}
                row, column = peak(answer(question, method, options).values)  # pyright: ignore[reportArgumentType]
                found.append(left - 4 <= column <= right + 4 and top - 4 <= row <= bottom + 4)
    for method, found in hits.items():
        assert len(found) >= 8
        assert np.mean(found) >= 0.75, f"{method}: {np.mean(found)}"


@pytest.mark.slow
def test_on_scenes_the_peak_lies_on_the_thing_whose_pixel_is_asked_about() -> None:
    """A segmenter that knows eight scenes by heart, asked about the middle pixel of every digit of four of them."""
    source = read("scenes-96")
    split, preprocessing = source.splits["train"].take(range(8)), Preprocessing.windows(96)
    assert split.objects is not None and split.label_maps is not None
    torch.manual_seed(0)
    options: dict[str, Any] = {"width": 16, "padded": True, "batch_norm": True, "dropout": 0.0}
    classes = split.label_maps.classes
    model = create_model("unet", len(classes), **options).train()
    task, preprocess = create_task("segment", classes, model), Preprocess(preprocessing)
    batch = next(iter(Loader(Dataset(split, preprocessing, known="label_maps"), 8, shuffle=False).epoch()))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=150)
    for _ in range(150):
        optimiser.zero_grad()
        torch.stack(list(task.loss(model, preprocess(batch.images), batch).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    predictor = Predictor(model.eval(), Card("unet", "segment", classes, preprocessing, options=options))
    hits = {"occlusion": [], "saliency": []}
    for n in range(4):
        image, truth = split.open(n).pixels("RGB")[0], split.label_maps.maps[n]
        for box, label in zip(split.objects[n].boxes, split.objects[n].labels, strict=True):
            left, top, right, bottom = np.rint(box).astype(int).tolist()
            own = truth[top:bottom, left:right] == label + 1
            rows, columns = np.nonzero(own)
            middle = np.hypot(rows - own.shape[0] / 2, columns - own.shape[1] / 2).argmin()
            pixel = (top + int(rows[middle]), left + int(columns[middle]))
            for method, found in hits.items():
                method_options = {"square": 12, "stride": 4} if method == "occlusion" else {}
                question = ask(predictor, image, Asked(pixel=pixel))
                row, column = peak(answer(question, method, method_options).values)  # pyright: ignore[reportArgumentType]
                found.append(left - 4 <= column <= right + 4 and top - 4 <= row <= bottom + 4)
    for method, found in hits.items():
        assert len(found) >= 8
        assert np.mean(found) >= 0.75, f"{method}: {np.mean(found)}"


# The command line


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, classifier: Predictor) -> Path:
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save_card(folder, classifier.card)
    checkpoint.save_weights(folder, classifier.model.state_dict())
    Image.fromarray(picture()).save(folder / "look.png")
    return folder


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def test_without_a_method_there_is_one_page_with_several_and_how_far_each_is_to_be_trusted(
    run: Path, tmp_path: Path
) -> None:
    done = invoke(run, run / "look.png", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["look.html", "look.png"]
    page = (tmp_path / "look.html").read_text()
    for method in verb.CHOSEN:
        assert METHODS[method].trust in re.sub(r"&#39;", "'", page)
        assert f"  {method}: " in done.output
    assert page.count("data:image/") >= len(verb.CHOSEN)


def test_a_method_writes_its_pictures_and_a_page(run: Path, tmp_path: Path) -> None:
    done = invoke(run, run / "look.png", "-m", "occlusion", "--set", "square=16", "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["look-occlusion.html", "look-occlusion.png"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(12):
        Image.fromarray(picture(n)).save(folder / f"{n:02d}.png")
    return folder


def test_a_folder_of_plain_pictures_can_be_looked_through(run: Path, pictures: Path, tmp_path: Path) -> None:
    for method, options in (("top_patches", ["--set", "units=2"]), ("embedding_map", [])):
        done = invoke(run, pictures, "-m", method, "--out", tmp_path, *options)
        assert done.exit_code == 0, done.output
    names = {path.name for path in tmp_path.iterdir()}
    stem = pictures.name
    assert names == {
        f"{stem}-top_patches.png", f"{stem}-top_patches.html", f"{stem}-embedding_map.png",
        f"{stem}-embedding_map.html", f"{stem}-embedding_map-map.html",
    }  # fmt: skip


def test_the_nearest_neighbour_of_a_picture_is_itself_and_the_index_is_used_again(
    run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    shown = saccade.explain(run, pictures / "07.png", method="neighbours", data=pictures, index=index, count=3)
    assert shown.tiles[1].detail == "07.png"
    assert shown.values[0] == pytest.approx(1, abs=1e-5)
    from saccade.explain import neighbours

    def never(*_: Any) -> None:
        raise AssertionError("the index was built again")

    monkeypatch.setattr(neighbours, "build", never)
    again = saccade.explain(run, pictures / "07.png", method="neighbours", data=pictures, index=index, count=3)
    np.testing.assert_array_equal(again.values, shown.values)


def test_top_patches_are_cut_where_the_unit_looked(classifier: Predictor, pictures: Path) -> None:
    shown = saccade.explain(classifier, pictures, method="top_patches", layer="conv1", units="3,7", count=4)
    assert [tile.title for tile in shown.tiles] == ["channel 3", "channel 7"]
    assert "each sees 7 x 7 pixels" in shown.words
    one = saccade.explain(classifier, pictures, method="top_patches", layer="conv1", units="7,", count=4)
    assert [tile.title for tile in one.tiles] == ["channel 7"]
    np.testing.assert_array_equal(one.tiles[0].image, shown.tiles[1].image)


def test_an_image_of_any_shape_is_its_own_nearest(detector: Predictor, pictures: Path) -> None:
    """A batch of whole images is padded, and so is a question; what is compared is not."""
    shown = saccade.explain(
        detector, pictures / "03.png", method="neighbours", data=pictures, layer="backbone.body.layer3", count=1
    )
    assert shown.tiles[1].detail.endswith("03.png")
    assert shown.values is not None and shown.values[0] == pytest.approx(1, abs=1e-6)


def test_a_patch_is_the_part_of_its_image_that_the_unit_sees(classifier: Predictor, pictures: Path) -> None:
    """The strongest place of all, by hand: its 7 x 7 pixels, from 3 before twice its place, enlarged."""
    looked = look_through(classifier, pictures)
    with torch.no_grad():
        given = [
            classifier.model.get_submodule("conv1")(looked.inputs([looked.picture(n)]))[0, 7]
            for n in range(len(looked))
        ]
    image = int(torch.stack([one.max() for one in given]).argmax())
    row, column = divmod(int(given[image].argmax()), given[image].shape[1])
    top, left = 2 * row - 3, 2 * column - 3
    box = max(0, left), max(0, top), min(64, left + 7), min(64, top + 7)
    shown = saccade.explain(classifier, pictures, method="top_patches", layer="conv1", units="7,", count=4)
    np.testing.assert_array_equal(shown.tiles[0].image[:PATCH, :PATCH], _cut(looked.picture(image), box))


def test_pointing_counts_peaks_in_boxes_and_says_what_cannot_point(tmp_path: Path) -> None:
    source = read("scenes-64")
    few = source.splits["test"].take(range(12))
    assert few.objects is not None
    wanted = int(few.objects[0].labels[0])
    torch.manual_seed(0)
    model = awake(create_model("mobilenet_v3_small", 10))
    with torch.no_grad():
        model.classifier[-1].bias[wanted] += 100  # it names this one in every picture
    predictor = Predictor(
        model, Card("mobilenet_v3_small", "classify", source.classes, Preprocessing.stretched((64, 64)))
    )
    coco.write(source.with_splits({"test": few}), tmp_path / "coco")
    has = [n for n in range(12) if wanted in few.objects[n].labels]
    shown = saccade.explain(predictor, tmp_path / "coco", method="pointing", methods="guided_backprop,saliency")
    table = shown.blocks[0]
    assert [row[0] for row in table.rows] == ["saliency", "the middle of the picture", "a random point"]
    assert [row[2] for row in table.rows] == [len(has)] * 3
    hits = []
    for n in has:
        values = saccade.explain(predictor, few.open(n).pixels("RGB")[0], method="saliency").values
        assert values is not None
        (y, x), boxes = peak(values), few.objects[n].boxes[few.objects[n].labels == wanted]
        hits.append(any(left <= x < right and top <= y < bottom for left, top, right, bottom in boxes))
    assert table.rows[0][1] == pytest.approx(100 * np.mean(hits))
    assert "hard swish" in shown.blocks[1].text and len(shown.tiles) == len(has)
    with pytest.raises(UsageError, match="no split"):
        saccade.explain(predictor, tmp_path / "coco", method="pointing", split="tset")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "gradcam"], "no method 'gradcam'; did you mean 'grad_cam'?"),
        (["-m", "occlusion", "--set", "sqare=3"], "did you mean 'square'?"),
        (["-m", "occlusion", "--set", "square=999"], "does not go into it"),
        (["-m", "occlusion", "--set", "square=8", "--set", "stride=9"], "some pixels are never covered"),
        (["-m", "occlusion", "--set", "square=field"], "would cover all of it"),
        (["-m", "smoothgrad", "--set", "noise=-1"], "noise must be at least 0"),
        (["-m", "saliency", "--target", "3"], "there is no class 3: there are 0 to 2"),
        (["-m", "saliency", "--target", "bea"], "no class 'bea'; did you mean 'bee'?"),
        (["-m", "saliency", "--unit", "3"], "name it with --layer"),
        (["-m", "saliency", "--layer", "conv1", "--unit", "x"], "CHANNEL,ROW,COLUMN"),
        (["-m", "saliency", "--layer", "conv1"], "looks at no layer"),
        (["-m", "grad_cam", "--layer", "fc"], "no spatial extent"),
        (["-m", "grad_cam", "--layer", "layer9"], "no layer 'layer9'"),
        (["-m", "feature_maps"], "name it with --layer"),
        (["-m", "saliency", "--pixel", "3", "4"], "no pixel to choose"),
        (["-m", "saliency", "--thing", "2"], "no thing or keypoint"),
        (["-m", "neighbours"], "name it with --data"),
        (["-m", "filters"], "name no image"),
        (["--set", "square=3"], "name it with --method"),
        (["--layer", "conv1"], "--layer is for some methods only"),
        (["--data", "digits"], "--data is for some methods only"),
        (["-m", "saliency", "--data", "digits"], "saliency takes none"),
        (["-m", "saliency", "--beside", "resnet18"], "takes one network"),
        (["-m", "feature_maps", "--layer", "conv1", "--unit", "1"], "takes no target, unit"),
        (["-m", "saliency", "--layer", "conv1", "--unit", "1", "--target", "bee"], "to choose besides"),
        (["-m", "integrated_gradients", "--set", "steps=0"], "steps must be at least 1"),
        (["-m", "integrated_gradients", "--set", "steps=many"], "steps of integrated_gradients is a whole number"),
        (["-m", "smoothgrad", "--set", "copies=0"], "copies must be at least 1"),
        (["-m", "faithfulness", "--set", "steps=0"], "steps must be at least 1"),
        (["-m", "deconvnet", "--set", "unpooling=bilinear"], "switches, nearest, bed_of_nails"),
        (["-m", "shifts", "--set", "kind=mirror"], "translate, rotate or scale"),
        (["-m", "faithfulness", "--set", "methods=lime"], "no method to be tested called 'lime'"),
    ],
)
def test_what_has_no_meaning_is_an_error_with_a_remedy(
    run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = CliRunner().invoke(app, ["explain", str(run), str(run / "look.png"), "--out", str(tmp_path), *arguments])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_picture_and_what_cannot_be_written_are_errors(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    done = invoke(run, tmp_path / "text.jpg", "-m", "saliency", "--out", tmp_path / "out")
    assert isinstance(done.exception, SaccadeError)
    assert "text.jpg" in str(done.exception)
    (tmp_path / "file").write_text("")
    done = invoke(run, run / "look.png", "-m", "saliency", "--out", tmp_path / "file" / "deeper")
    assert "cannot be written (Not a directory)" in str(done.exception)
    done = invoke(run, run / "look.png", "-m", "saliency", "--out", tmp_path / "file")
    assert isinstance(done.exception, SaccadeError)
    assert "choose another folder with --out" in str(done.exception)


def test_a_module_is_pointed_to_the_functions() -> None:
    with pytest.raises(UsageError, match="docs/explain"):
        saccade.explain(torch.nn.Conv2d(3, 3, 1), picture(), method="saliency")  # pyright: ignore[reportArgumentType]


def test_a_name_of_the_catalogue_wants_weights(tmp_path: Path) -> None:
    done = invoke("resnet18", "look.png", "-m", "saliency", "--out", tmp_path)
    assert "say which weights" in str(done.exception)


def test_weights_of_a_network_whose_classes_nobody_knows_are_refused(tmp_path: Path, run: Path) -> None:
    done = invoke("resnet18", "look.png", "--weights", run / "model.safetensors", "--out", tmp_path)
    assert "nobody says which classes" in str(done.exception)


# The pointing game


def test_the_table_of_coco_names_has_the_classes_that_are_meant() -> None:
    table, names = coco_in_imagenet(), class_names("imagenet")
    assert {names[k] for k in table["cat"]} == {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}
    assert [len(table["dog"]), names[table["dog"][0]], names[table["dog"][-1]]] == [
        118,
        "Chihuahua",
        "Mexican hairless",
    ]
    assert all(labels for labels in table.values())
    assert not set(table["dog"]) & set(table["cat"])


def test_a_peak_is_the_middle_of_what_is_highest() -> None:
    values = np.zeros((6, 8))
    values[2, 3] = values[2, 5] = 4
    assert peak(values) == (2.5, 4.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v2"])
def test_on_coco_pictures_the_peaks_lie_on_what_is_recognised(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SACCADE_WEIGHTS", str(shared / "weights"))
    data = shared / "data" / "coco128" / "object_detection" / "config.yaml"
    shown = saccade.explain(name, data, weights="imagenet", method="pointing", methods="grad_cam,occlusion")
    rows = {row[0]: row for row in shown.blocks[0].rows}
    assert rows["grad cam"][2] >= 25
    assert rows["grad cam"][1] >= 75
    assert rows["occlusion"][1] >= 75
