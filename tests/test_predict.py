"""Prediction keeps no state, and evaluation does not depend on how it is run."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade import checkpoint
from saccade.checkpoint import Card
from saccade.models import create_model
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


def test_eight_threads_get_the_answers_of_one(predictor: Predictor) -> None:
    """Mixed sizes and contents, all at once, again and again."""
    pictures = [picture(i, (50 + 7 * i, 120 - 5 * i)) for i in range(8)]
    alone = [predictor(image).probabilities for image in pictures]
    wrong: list[int] = []

    def look(offset: int) -> None:
        for turn in range(12):
            index = (offset + turn) % len(pictures)
            if not np.array_equal(predictor(pictures[index]).probabilities, alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=look, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


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
