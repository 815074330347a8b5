"""What is chosen when nobody says: by hand, for sets of every kind."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

import saccade
from saccade.checkpoint import load_card
from saccade.data.source import Source, Split
from saccade.errors import UsageError
from saccade.models import create_model
from saccade.recipes.choose import ON_A_PROCESSOR, choose


def made(count: int, side: int, classes: int = 2, grey: bool = False) -> Source:
    """A set of that many images a class."""
    shape = (count * classes, side, side) if grey else (count * classes, side, side, 3)
    images = np.zeros(shape, dtype=np.uint8)
    if not grey:
        images[..., 0] = 200
    labels = np.repeat(np.arange(classes), count)
    names = tuple(str(k) for k in range(classes))
    return Source("made", "made", names, {"all": Split(images, [str(n) for n in range(len(images))], labels)})


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, and an empty cache."""
    (tmp_path / "shelf").mkdir()
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path / "shelf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    return tmp_path / "shelf"


def test_small_images_are_trained_from_scratch(shelf: Path) -> None:
    (shelf / "mobilenet_v2-imagenet.safetensors").touch()
    for source, model in (
        (made(20, 8, grey=True), "lenet"),
        (made(6_000, 8, grey=True), "resnet20_cifar"),
        (made(20, 32), "resnet20_cifar"),
    ):
        choice = choose(source)
        assert (choice.model, choice.weights, choice.adapt) == (model, None, "scratch")
        assert "too small for networks of photographs" in choice.why


def test_photographs_start_from_what_is_at_hand(shelf: Path) -> None:
    choice = choose(made(5, 64))
    assert (choice.model, choice.weights, choice.adapt) == ("resnet18", None, "scratch")
    assert "--weights imagenet fetches" in choice.why
    for name in ("squeezenet1_0", "resnet18"):
        (shelf / f"{name}-imagenet.safetensors").touch()
    few, many = choose(made(199, 48)), choose(made(200, 48))
    assert (few.model, few.weights, few.adapt) == ("resnet18", "imagenet", "probe")
    assert (many.model, many.weights, many.adapt) == ("resnet18", "imagenet", "finetune")
    assert "398 images, 199 a class, 48 pixels a side" in few.why


def test_a_setting_of_steps_rules_a_probe_out(shelf: Path) -> None:
    (shelf / "resnet18-imagenet.safetensors").touch()
    choice = choose(made(5, 64), of_steps="epochs")
    assert choice.adapt == "finetune"
    assert "epochs was given, which a probe has no use for" in choice.why
    assert choose(made(5, 64), adapt="probe", of_steps="epochs").adapt == "probe"


def test_fit_probes_a_few_photographs_without_being_told(shelf: Path, tmp_path: Path) -> None:
    start = create_model("squeezenet1_1", 1000)
    save_file(
        {key: value.contiguous() for key, value in start.state_dict().items()},
        shelf / "squeezenet1_1-imagenet.safetensors",
    )
    source = made(6, 64)
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    source = source.with_splits({"all": Split(noise, source.splits["all"].ids, source.splits["all"].labels)})
    run = saccade.fit(source, out=tmp_path / "run", workers=0, quiet=True)
    assert load_card(run.path).adapt == "probe"
    run = saccade.fit(source, out=tmp_path / "steps", workers=0, quiet=True, epochs=1)
    assert load_card(run.path).adapt == "finetune"


def test_what_is_asked_for_is_kept(shelf: Path) -> None:
    assert choose(made(5, 64), adapt="scratch").model == "resnet18"
    known = choose(made(5, 64), weights="imagenet", adapt="freeze")
    assert (known.model, known.weights, known.adapt) == (ON_A_PROCESSOR[0], "imagenet", "freeze")
    with pytest.raises(UsageError, match="probe needs weights to start from"):
        choose(made(5, 64), adapt="probe")
    with pytest.raises(UsageError, match="say which with --model"):
        choose(made(5, 64), weights="mine.pth")
    with pytest.raises(UsageError, match="scratch starts from random weights, but imagenet was given"):
        saccade.fit(made(5, 64), out=shelf / "run", weights="imagenet", adapt="scratch")


def test_fit_chooses_says_so_and_goes_on_as_it_began(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = saccade.fit("digits", out=tmp_path / "run", epochs=1, workers=0)
    said = "chosen: scratch with lenet. 1,797 images, 180 a class, 8 pixels a side: these are too small"
    assert said in capsys.readouterr().err
    start = create_model("lenet", 10)
    save_file(
        {key: value.contiguous() for key, value in start.state_dict().items()}, shelf / "lenet-imagenet.safetensors"
    )
    again = saccade.fit("digits", out=tmp_path / "run", epochs=1, workers=0, resume=True)
    assert again.metrics["top1_error"] == run.metrics["top1_error"]
    assert "chosen: scratch with lenet. what was begun" in capsys.readouterr().err
