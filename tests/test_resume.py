"""A run that is killed ends as the run that never was: the same weights, the same metrics, to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from saccade.checkpoint import Card, is_untouched, make_folder, save_card
from saccade.errors import SaccadeError
from saccade.structures import Preprocessing

KILLS = Path(__file__).with_name("kills.py")


def timeless(values: dict) -> dict:
    return {name: value for name, value in values.items() if not name.startswith("timing/")}


def result(folder: Path) -> tuple[bytes, dict, list[dict]]:
    """What must agree: the file of weights, the metrics, every line of the log; timing apart."""
    metrics = json.loads((folder / "metrics.json").read_text())
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return (folder / "model.safetensors").read_bytes(), timeless(metrics), [timeless(line) for line in lines]


def run_with_kills(folder: Path, kills: int, seed: int, arguments: dict) -> dict:
    command = [sys.executable, str(KILLS), str(folder), str(kills), str(seed), json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    hold = "import sys, time; from pathlib import Path; from saccade.checkpoint import held\n"
    hold += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    run = saccade.fit("digits", model="lenet", epochs=1, out=tmp_path / "run", quiet=True)
    weights = (run.path / "model.safetensors").read_bytes()
    with subprocess.Popen([sys.executable, "-c", hold, str(run.path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(SaccadeError, match="another training"):
            saccade.fit("digits", model="lenet", epochs=1, out=run.path, resume=True, quiet=True)
        other.kill()  # and nobody tidies up
        other.wait()
        assert (run.path / ".running").exists()
    again = saccade.fit("digits", model="lenet", epochs=1, out=run.path, resume=True, quiet=True)
    assert (run.path / "model.safetensors").read_bytes() == weights and again.metrics["epochs"] == 1
    assert not (run.path / ".running").exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """48 colour photographs of two kinds, smooth noise in two tints, from a fixed seed."""
    rng = np.random.default_rng(0)
    for name, tint in (("warm", (60, 0, -60)), ("cold", (-60, 0, 60))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(24):
            coarse = (rng.integers(60, 196, (6, 8, 3)) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((96, 72)).save(tmp_path / "photos" / name / f"{i}.jpg")
    return tmp_path / "photos"


def dropout_and_everything(data: Path) -> dict:
    """SqueezeNet with dropout, an average of the weights, and every augmentation at once."""
    augmentation = {
        "crop": [0.3, 1.0],
        "flip": 0.5,
        "flip_vertical": 0.2,
        "rotate": 20,
        "shear": 5,
        "scale": [0.8, 1.2],
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
        "hue": 0.05,
        "cast": 0.1,
        "erase": 0.5,
    }
    return {
        "data": str(data),
        "model": "squeezenet1_1",
        "size": 64,
        "batch_size": 6,
        "augmentation": augmentation,
        "ema": 0.99,
        "label_smoothing": 0.1,
        "checkpoint_seconds": 0.001,
    }


def test_three_kills_leave_no_trace(tmp_path: Path) -> None:
    arguments = {"data": "digits", "model": "lenet", "batch_size": 64, "epochs": 5, "checkpoint_seconds": 0.001}
    run_with_kills(tmp_path / "killed", 3, 1, arguments)
    run_with_kills(tmp_path / "whole", 0, 1, arguments | {"checkpoint_seconds": 1e6})
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


def test_killed_at_any_name_change_or_sync_of_its_beginning(tmp_path: Path) -> None:
    """The folder as it stands at each fsync and rename before model.toml is there: it can be resumed or begun anew."""
    seen: list[list[str]] = []
    folder = tmp_path / "run"

    def look(real):
        def step(*arguments):
            seen.append(sorted(path.name for path in folder.iterdir()))
            return real(*arguments)

        return step

    card = Card("lenet", "classify", ("a", "b"), Preprocessing())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", look(os.fsync))
        patch.setattr(Path, "replace", look(Path.replace))
        patch.setattr(Path, "unlink", look(Path.unlink))
        make_folder(folder)
        save_card(folder, card)
    assert [".writable"] in seen and ["model.toml.part"] in seen
    for number, names in enumerate(seen):
        killed = tmp_path / str(number)
        killed.mkdir()
        for name in names:
            (killed / name).touch()
        assert is_untouched(killed), names
    assert not is_untouched(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "everything", "workers and patience"])
def test_twenty_kills_leave_no_trace(kind: str, tmp_path: Path, photos: Path) -> None:
    arguments = dropout_and_everything(photos) | {"epochs": 25, "workers": 0}
    if kind == "plain":
        arguments = {"data": "digits", "model": "lenet", "epochs": 12, "checkpoint_seconds": 0.001}
    if kind == "workers and patience":
        arguments |= {"workers": 2, "patience": 40, "class_weights": "balanced", "clip": 1.0, "optimiser": "sgd"}
    told = run_with_kills(tmp_path / "killed", 20, 2, arguments)
    assert told["kills"] == 20
    assert told["while_saving"] >= 3
    run_with_kills(tmp_path / "whole", 0, 2, arguments | {"checkpoint_seconds": 1e6})
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


def test_any_number_of_workers_gives_the_same_weights(tmp_path: Path, photos: Path) -> None:
    for workers in (0, 1, 2):
        run_with_kills(
            tmp_path / str(workers), 0, 3, dropout_and_everything(photos) | {"epochs": 2, "workers": workers}
        )
    assert result(tmp_path / "0") == result(tmp_path / "1") == result(tmp_path / "2")
