"""Prediction keeps no state, and evaluation does not depend on how it is run."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusing import norms_of
from PIL import Image

import saccade
from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.data.decode import prepare, to_picture
from saccade.data.loader import collate
from saccade.layers.twin import twin_of
from saccade.models import create_model, create_probe
from saccade.predict import Predictor
from saccade.structures import Classification, Preprocessing

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of a network with random weights: what it says is arbitrary and fixed."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    model = create_model("resnet18", num_classes=3)
    card = Card("resnet18", "classify", CLASSES, Preprocessing((64, 64), 73))
    checkpoint.save_card(folder, card)
    checkpoint.save_weights(folder, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return saccade.load(run)


def picture(seed: int, size: tuple[int, int] = (80, 100)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1]))


def test_the_same_picture_in_any_form_has_one_answer(predictor: Predictor, tmp_path: Path) -> None:
    array = picture(0)
    Image.fromarray(array).save(tmp_path / "a.png")
    forms = [
        array,
        Image.fromarray(array),
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
    ]
    answers = [predictor(form).probabilities for form in forms]
    assert all(np.array_equal(answer, answers[0]) for answer in answers)


def test_equals_the_pipeline_written_out_by_hand(predictor: Predictor) -> None:
    """Resize with Pillow, crop, normalise with numpy, forward, softmax."""
    array = picture(1, (146, 219))  # half of it is exactly the resize of 73
    small = np.asarray(Image.fromarray(array).resize((110, 73), Image.Resampling.BILINEAR), dtype=np.float32)
    top, left = round((73 - 64) / 2), round((110 - 64) / 2)
    crop = small[top : top + 64, left : left + 64] / 255
    inputs = torch.tensor((crop - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), dtype=torch.float32)
    with torch.no_grad():
        expected = predictor.model(inputs.permute(2, 0, 1)[None]).softmax(1)[0].numpy()
    assert predictor(array).probabilities == pytest.approx(expected, abs=0.02)


def test_eight_threads_get_the_answers_of_one(predictor: Predictor, run: Path) -> None:
    """Mixed sizes and contents, all at once, again and again, of a predictor that nobody has asked before."""
    pictures = [picture(i, (50 + 7 * i, 120 - 5 * i)) for i in range(8)]
    alone = [predictor(image).probabilities for image in pictures]
    fresh, wrong = saccade.load(run), []

    def look(offset: int) -> None:
        for turn in range(12):
            index = (offset + turn) % len(pictures)
            if not np.array_equal(fresh(pictures[index]).probabilities, alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=look, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_predictions_and_evaluations_ask_the_network_with_fused_norms(
    run: Path, tmp_path: Path, class_folders: Callable[..., Path]
) -> None:
    """Another in its place, which is sure of the last class: then both say that."""
    predictor = saccade.load(run)
    assert not norms_of(predictor.fused) and len(norms_of(predictor.model)) == 20
    sure = twin_of(predictor.fused)
    sure.add_module("fc", torch.nn.Linear(512, 3))
    torch.nn.init.zeros_(sure.get_parameter("fc.weight"))
    sure.get_parameter("fc.bias").data = torch.tensor([0.0, 0.0, 9.0])
    predictor.fused = sure
    assert predictor(picture(0)).score > 0.99
    evaluation = saccade.evaluate(predictor, class_folders(tmp_path / "data", {"ant": 2, "bee": 2, "cat": 2}))
    assert {(one.predicted, one.score > 0.99) for one in evaluation.metric.outcomes.values()} == {(2, True)}


@pytest.mark.parametrize(
    ("task", "name", "options", "preprocessing"),
    [
        ("classify", "densenet_bc_cifar", {"in_channels": 1}, Preprocessing.standard((32, 40), "L")),
        ("detect", "aligned", {"backbone": "resnet18", "width": 32}, Preprocessing.whole(50, 70)),
        ("detect", "fasterrcnn_c4", {"backbone": "resnet18"}, Preprocessing.whole(50, 70)),
        ("detect", "yolov1", {"backbone": "resnet18", "width": 64}, Preprocessing.stretched((96, 96))),
        ("detect", "ssd", {"backbone": "resnet18", "side": 96}, Preprocessing.stretched((96, 96))),
        ("segment", "unet", {"width": 8, "batch_norm": True}, Preprocessing.windows(80)),
        ("segment", "segnet", {"backbone": "vgg11_bn", "encoder_options": {"width": 8}}, Preprocessing.windows(72)),
    ],
)
def test_norms_are_fused_whatever_the_network_is_shown(
    task: str, name: str, options: dict[str, Any], preprocessing: Preprocessing
) -> None:
    """Also where it takes one size alone, or makes its own of what it gets; and what is said then is an answer."""
    torch.manual_seed(0)
    predictor = Predictor(create_model(name, 3, **options), Card(name, task, CLASSES, preprocessing, options=options))
    left = 51 if name == "densenet_bc_cifar" else 0  # of what many layers gave
    assert len(norms_of(predictor.fused)) == left < len(norms_of(predictor.model))
    assert predictor(picture(0)) is not None


def test_a_probes_encoder_is_fused() -> None:
    torch.manual_seed(0)
    predictor = Predictor(
        create_probe("resnet18", 3), Card("resnet18", "classify", CLASSES, Preprocessing((64, 64), 73))
    )
    assert not norms_of(predictor.fused)
    inputs = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(predictor.fused(inputs), predictor.model(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_bfloat16_says_what_autocast_says(name: str) -> None:
    """Its filters are in bfloat16 already, and the evaluation's, in float32, are not."""
    torch.manual_seed(0)
    card = Card(name, "classify", CLASSES, Preprocessing((64, 64), 73))
    predictor = Predictor(create_model(name, 3), card, precision="bfloat16")
    sample = prepare(to_picture(picture(0)), card.preprocessing)
    batch = collate([sample], card.preprocessing)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        expected = predictor.task.predict(predictor.fused, predictor.preprocess, batch)[0]
    assert np.array_equal(predictor.say([sample])[0].probabilities, expected.probabilities)
    assert {weight.dtype for weight in predictor.fused.parameters()} == {torch.float32}


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (32, 1), (64, 2)])
def test_evaluation_does_not_depend_on_batches_or_workers(
    predictor: Predictor, tmp_path: Path, class_folders: Callable[..., Path], batch_size: int, workers: int
) -> None:
    data = class_folders(tmp_path / "data", {"ant": 9, "bee": 8, "cat": 6})
    whole = saccade.evaluate(predictor, data, batch_size=23)
    other = saccade.evaluate(predictor, data, batch_size=batch_size, workers=workers)
    assert other.result == pytest.approx(whole.result, abs=1e-5)
    assert set(other.metric.outcomes) == set(whole.metric.outcomes)
    assert len(other.metric.outcomes) == 23


def test_evaluation_counts_what_prediction_says(
    predictor: Predictor, tmp_path: Path, class_folders: Callable[..., Path]
) -> None:
    """The two roads agree, image by image, and a folder of some of the classes is labelled by their names."""
    data = class_folders(tmp_path / "data", {"bee": 5, "cat": 4})
    evaluation = saccade.evaluate(predictor, data)
    for id, outcome in evaluation.metric.outcomes.items():
        prediction = predictor(data / id)
        assert outcome.label == CLASSES.index(Path(id).parent.name)
        assert (outcome.predicted, outcome.score) == (prediction.label, pytest.approx(prediction.score, abs=1e-5))


def test_a_prediction_tells_its_best_classes() -> None:
    prediction = Classification(np.array([0.2, 0.5, 0.3], dtype=np.float32), CLASSES)
    assert (prediction.label, prediction.name) == (1, "bee")
    assert prediction.score == pytest.approx(0.5)
    assert [name for name, _ in prediction.top(2)] == ["bee", "cat"]
    assert prediction.as_dict(1) == {"class": "bee", "score": 0.5, "top": [{"class": "bee", "score": 0.5}]}
    with pytest.raises(ValueError, match=r"must be \[3\], one a class"):
        Classification(np.zeros(2, dtype=np.float32), CLASSES)


def test_card_survives_the_file(tmp_path: Path) -> None:
    """Whatever a class may be called."""
    names = ("café au lait", "犬 🐕", 'quote " and \\ backslash', "new\nline", "\u007f")
    preprocessing = Preprocessing((33, 44), 50, "RGB", (0.1, 0.2, 0.3), (1.0, 0.5, 0.25))
    card = Card("resnet18", "classify", names, preprocessing, "finetune", "imagenet", "photos", {"epochs": 3})
    checkpoint.save_card(tmp_path, card)
    assert checkpoint.load_card(tmp_path) == card


def test_a_log_is_cut_where_the_checkpoint_ends(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = checkpoint.append_line(log, '{"epoch": 0}')
    checkpoint.append_line(log, '{"epoch": 1}')
    checkpoint.cut(log, first)
    assert log.read_text() == '{"epoch": 0}\n'
    checkpoint.cut(log, 1000)
    assert log.read_text() == '{"epoch": 0}\n'
