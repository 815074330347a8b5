"""What a person sees when something is wrong: one clear sentence, the right exit code, and never a traceback.

Most of it runs the command line in this process, because importing torch takes seconds.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from saccade import checkpoint
from saccade.cli import main as cli
from saccade.errors import SaccadeError
from saccade.models import create_model

Make = Callable[..., Path]


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


Saccade = Callable[..., Said]


@pytest.fixture
def saccade(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Saccade:
    """saccade("fit", data, ...) is the command line; whatever it does not turn into an exit code fails the test."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["saccade", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "400")  # so that no message is wrapped
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        said = Said(code, *capsys.readouterr())
        assert "Traceback" not in said.all
        return said

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, class_folders: Make) -> Path:
    return class_folders(tmp_path_factory.mktemp("data"), {"bright": 8, "dark": 8})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    from saccade.recipes.fit import fit

    out = tmp_path_factory.mktemp("runs") / "trained"
    fit(data, model="lenet", out=out, epochs=1, batch_size=4, workers=0)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run directory of this test's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def fitting(data: object, out: object, *more: object) -> tuple[object, ...]:
    return ("fit", data, "--model", "lenet", "--out", out, "--epochs", 1, "--batch-size", 4, "--workers", 0, *more)


def test_all_is_well_with_what_the_others_break(saccade: Saccade, run: Path, data: Path, tmp_path: Path) -> None:
    """The same commands on sound input: otherwise the tests below could pass for the wrong reason."""
    said = saccade(*fitting(data, tmp_path / "out"))
    assert said.code == 0, said.err
    assert {"model.safetensors", "model.toml", "state.pt", "log.jsonl", "metrics.json"} <= {
        file.name for file in (tmp_path / "out").iterdir()
    }
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["epochs"] == 1
    assert saccade("evaluate", run, data).code == 0
    assert saccade("predict", run, data / "dark").code == 0
    assert saccade(*fitting(data, run, "--resume")).code == 0


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "lenett"), ["lenett", "did you mean 'lenet'"]),
        (("--model", "ResNet-18"), ["ResNet-18", "did you mean 'resnet18'"]),
        (("--epoch", "3"), ["--epoch", "--epochs"]),
        (("--set", "learningrate=1"), ["learningrate", "did you mean 'learning_rate'"]),
        (("--set", "label_smooting=0.1"), ["did you mean 'label_smoothing'"]),
        (("--set", "zzz=0.1"), ["zzz", "known are", "epochs"]),
        (("--set", "epochs"), ["name=value", "'epochs'"]),
        (("--set", "patience=much"), ["patience", "integer", "'much'"]),
        (("--set", "patience=0"), ["patience", "greater than or equal to 1", "0"]),
        (("--set", "hold_out=1"), ["hold_out", "less than 1"]),
        (("--set", "learning_rate=-1"), ["learning_rate", "greater than 0", "-1"]),
        (("--set", "learning_rate=nan"), ["learning_rate", "nan"]),
        (("--set", "learning_rate=inf"), ["learning_rate", "inf"]),
        (("--set", "optimiser=adam"), ["optimiser", "adamw", "'adam'"]),
        (("--set", "augmentation=foto"), ["augmentation", "photo", "'foto'"]),
        (("--set", "augmentation={flips = 0.5}"), ["flips"]),
        (("--set", "augmentation={flip = 2}"), ["augmentation", "flip", "2"]),
        (("--set", "augmentation={scale = [0.0, 1.0]}"), ["augmentation", "scale"]),
        (("--epochs", "some"), ["--epochs", "integer"]),
        (("--seed", "-1"), ["seed"]),
        (("--adapt", "finetun"), ["finetun", "did you mean 'finetune'"]),
        (("--adapt", "finetune"), ["needs weights"]),
        (("--weights", "imagenet"), ["published", "lenet", ".safetensors"]),
        (("--weights", "nowhere.pth"), ["There is no weights file nowhere.pth"]),
        (("--model", "resnet18", "--weights", "imagnet"), ["imagnet", "did you mean 'imagenet'"]),
        (("--model", "resnet18", "--weights", "imagenet", "--adapt", "scratch"), ["scratch", "imagenet"]),
        (("--config", "nowhere.toml"), ["nowhere.toml", "No such file"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_has_no_meaning_is_used_wrongly(
    saccade: Saccade, data: Path, tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    out = tmp_path / "out"
    said = saccade(*fitting(data, out), *arguments)
    assert said.code == 2
    for word in words:
        assert word in said.err
    assert not out.exists(), "nothing may be begun before it is known what is wanted"


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"epochs = ", "is not TOML"), (b"\xff\xfe", "is not TOML"), (b"epoch = 3", "did you mean 'epochs'")],
)
def test_a_file_of_settings_that_is_none(
    saccade: Saccade, data: Path, tmp_path: Path, content: bytes, word: str
) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    said = saccade(*fitting(data, tmp_path / "out", "--config", tmp_path / "settings.toml"))
    assert said.code == 2
    assert word in said.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("models", "*resnet19*"), "resnet1"),
        (("models", "--task", "clasify"), "did you mean 'classify'"),
        (("chek", "digits"), "check"),
        (("check", "digit"), "did you mean 'digits'"),
        (("check", "/nowhere/at/all"), "There is no /nowhere/at/all"),
        (("evaluate", "/nowhere", "digits"), "/nowhere is not a run directory"),
        (("predict", "/nowhere", "/nowhere/a.jpg"), "There is no /nowhere/a.jpg"),
        (("fit", "--model", "lenet"), "Missing argument 'data'"),
        (("fit", "digits", "--model", "lenet", "--out"), "--out"),
        (("fit", "digits", "--set", "adapt=scratch"), "adapt is no setting of a training"),
        (("fit", "digits", "--set", "quiet=true"), "quiet is no setting of a training"),
        (
            ("curve", "digits", "--out", "c", "--model", "lenet", "--set", "model=lenet"),
            "model is no setting of a training",
        ),
        (("fit", "digits", "--backbone", "resnet18", "--set", "network=foo"), "network takes a table"),
        (("fit", "digits", "--model", "lenet", "--seed", str(2**64)), "seed"),
        (("fit", "digits", "--model", "lenet", "--set", "milestones=[30,60]"), "milestones"),
    ],
)
def test_other_verbs_used_wrongly(
    saccade: Saccade, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = saccade(*arguments)
    assert said.code == 2
    assert word in said.err


@pytest.mark.parametrize("option", [("--batch-size", "0"), ("--batch-size", "-3"), ("--workers", "-1")])
def test_numbers_that_make_no_sense(saccade: Saccade, run: Path, data: Path, option: tuple[str, str]) -> None:
    said = saccade("evaluate", run, data, *option)
    assert said.code == 2
    assert option[0].strip("-").replace("-", "_") in said.err.replace("-", "_")


def test_a_size_too_small_for_the_network(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    """LeNet's filters are 5 x 5, twice: of 4 pixels nothing is left."""
    said = saccade(*fitting(data, tmp_path / "out", "--size", 4))
    assert said.code in (1, 2)
    assert "size" in said.err


def test_names_too_long_for_the_file_system(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    assert saccade(*fitting(data, tmp_path / ("x" * 300))).code in (1, 2)
    assert saccade("check", tmp_path / ("x" * 300)).code in (1, 2)
    assert saccade("evaluate", tmp_path / ("x" * 300), data).code in (1, 2)


# --- weights ----------------------------------------------------------------------------------------------------------


def lenet_state() -> dict[str, torch.Tensor]:
    return {key: value.contiguous() for key, value in create_model("lenet").state_dict().items()}


class Bomb:
    """Pickled, it says: call os.mkdir. Whoever unpickles it without care finds the folder made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def harm(tmp_path: Path) -> Path:
    return tmp_path / "harm was done"


def test_the_bomb_is_live(harm: Path) -> None:
    """Otherwise the tests with it would prove nothing."""
    pickle.loads(pickle.dumps(Bomb(harm)))
    assert harm.is_dir()


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("packed", ["pickle", "torch", "old torch"])
def test_weights_that_would_run_code(
    saccade: Saccade, data: Path, tmp_path: Path, harm: Path, packed: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if packed == "pickle":
        path.write_bytes(pickle.dumps(Bomb(harm)))
    else:
        content = {"conv1.weight": torch.zeros(1), "bomb": Bomb(harm)}
        torch.save(content, path, _use_new_zipfile_serialization=packed == "torch")
    said = saccade(*fitting(data, tmp_path / "out", "--weights", path))
    assert not harm.exists()
    assert said.code == 1
    assert str(path) in said.err
    assert "cannot be read as weights" in said.err


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_whose_shapes_do_not_fit(saccade: Saccade, data: Path, tmp_path: Path, suffix: str) -> None:
    state = lenet_state()
    state["conv2.weight"] = torch.zeros(16, 6, 3, 3)
    del state["fc2.bias"]
    state["extra.weight"] = torch.zeros(7)
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    said = saccade(*fitting(data, tmp_path / "out", "--weights", path))
    assert said.code == 1
    assert "conv2.weight: the network has [16, 6, 5, 5], the file [16, 6, 3, 3]" in said.err
    assert "fc2.bias: the network has [84], the file nothing" in said.err
    assert "extra.weight: the network has nothing, the file [7]" in said.err
    assert "conv1" not in said.err


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "text"])
def test_weights_that_are_damaged(saccade: Saccade, data: Path, tmp_path: Path, damage: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = lenet_state()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-1000], "empty": b"", "noise": b"\xff" * 999, "text": b"Hello"}[damage])
    said = saccade(*fitting(data, tmp_path / "out", "--weights", path))
    assert said.code == 1
    assert str(path) in said.err


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"epoch": 3, "name": "x"}, {"state_dict": {"a": 1}}, {1: torch.zeros(1)}]
)
def test_files_that_hold_no_weights(saccade: Saccade, data: Path, tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    said = saccade(*fitting(data, tmp_path / "out", "--weights", path))
    assert said.code == 1
    assert str(path) in said.err


@pytest.mark.parametrize(
    "preprocessing",
    ["{", "[]", "{}", '{"size": 32, "mean": [0.5], "std": [0.5]}', '{"size": "x", "mean": 1, "std": 1}'],
)
def test_weights_that_misdescribe_themselves(saccade: Saccade, data: Path, tmp_path: Path, preprocessing: str) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(lenet_state(), path, metadata={"preprocessing": preprocessing})
    said = saccade(*fitting(data, tmp_path / "out", "--weights", path))
    assert said.code == 1
    assert str(path) in said.err
    assert "preprocessing" in said.err


# --- run directories --------------------------------------------------------------------------------------------------


def test_a_run_of_a_newer_saccade(saccade: Saccade, run: Path, data: Path) -> None:
    card = (run / "model.toml").read_text()
    assert "format = 1\n" in card
    (run / "model.toml").write_text(card.replace("format = 1\n", "format = 99\n") + 'unheard = "of"\n')
    for arguments in (("evaluate", run, data), ("predict", run, data), fitting(data, run, "--resume")):
        said = saccade(*arguments)
        assert said.code == 1
        assert "format 99" in said.err
        assert "update saccade" in said.err


TOML_DAMAGE: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda card: "",
    # Within a line: between two lines it would be a card of fewer settings.
    "half": lambda card: card[: card.index(" = ", len(card) // 2) + 2],
    "noise": lambda card: b"\xff\xfe\x00",
    "no format": lambda card: card.replace("format = 1\n", ""),
    "a format in words": lambda card: card.replace("format = 1\n", 'format = "new"\n'),
    "no classes": lambda card: re.sub(r"classes = \[[^\]]*\]", "", card),
    "classes as a word": lambda card: re.sub(r"classes = \[[^\]]*\]", 'classes = "bd"', card),
    "classes as numbers": lambda card: re.sub(r"classes = \[[^\]]*\]", "classes = [1, 2]", card),
    "no class at all": lambda card: re.sub(r"classes = \[[^\]]*\]", "classes = []", card),
    "an unknown model": lambda card: card.replace('model = "lenet"', 'model = "lenot"'),
    "a model that is a number": lambda card: card.replace('model = "lenet"', "model = 5"),
    "an unknown task": lambda card: card.replace('task = "classify"', 'task = "clasify"'),
    "an unknown entry": lambda card: "colour = 3\n" + card,
    "no preprocessing": lambda card: re.sub(r"\[preprocessing\]\n(?:[^\[]|\[[^\]]*\],?)*?mode", "[other]\nmode", card),
    "a mean of words": lambda card: re.sub(r"mean = \[[^\]]*\]", 'mean = ["x"]', card),
    "a size of one number": lambda card: re.sub(r"(?<!\w)size = \[[^\]]*\]", "size = [32]", card),
    "a size of words": lambda card: re.sub(r"(?<!\w)size = \[[^\]]*\]", 'size = ["a", "b"]', card),
}


@pytest.mark.parametrize("damage", list(TOML_DAMAGE))
def test_a_card_that_is_damaged(saccade: Saccade, run: Path, data: Path, damage: str) -> None:
    path = run / "model.toml"
    card = path.read_text()
    content = TOML_DAMAGE[damage](card)
    assert content != card, "the damage was not done"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    # The task is not compared on resuming: there is but one, and the card is written afresh.
    resuming = [] if damage == "an unknown task" else [fitting(data, run, "--resume")]
    for arguments in (("evaluate", run, data), ("predict", run, data / "dark"), *resuming):
        said = saccade(*arguments)
        assert said.code in (1, 2)
        assert re.search(r"model\.toml|model\.safetensors|lenot|clasify|classes was", said.err)


def test_a_card_with_settings_of_another_time(saccade: Saccade, run: Path, data: Path) -> None:
    """They matter only for resuming; the weights are still good."""
    path = run / "model.toml"
    path.write_text(path.read_text().replace("epochs = 1\n", "epochs = 1\nforgotten = 2\n"))
    assert saccade("evaluate", run, data).code == 0
    said = saccade(*fitting(data, run, "--resume"))
    assert said.code in (1, 2)
    assert "forgotten" in said.err


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "of another network", "a folder"])
def test_weights_of_a_run_that_are_damaged(saccade: Saccade, run: Path, data: Path, damage: str) -> None:
    path = run / "model.safetensors"
    whole = path.read_bytes()
    path.unlink()
    match damage:
        case "empty" | "cut" | "noise":
            path.write_bytes({"empty": b"", "cut": whole[:-1000], "noise": b"\xff" * 99}[damage])
        case "of another network":
            save_file({"conv1.weight": torch.zeros(3)}, path)
        case "a folder":
            path.mkdir()
    for arguments in (("evaluate", run, data), ("predict", run, data / "dark")):
        said = saccade(*arguments)
        assert said.code == 1
        assert "model.safetensors" in said.err
        assert str(run) in said.err


STATE_DAMAGE: dict[str, Callable[[Path], object]] = {
    "noise": lambda harm: b"\xff" * 99,
    "empty": lambda harm: b"",
    "pickle bomb": lambda harm: pickle.dumps(Bomb(harm)),
    "torch bomb": lambda harm: {"format": 1, "fingerprint": Bomb(harm)},
    "of a newer saccade": lambda harm: {"format": 99},
    "format in words": lambda harm: {"format": "new"},
    "nothing but a format": lambda harm: {"format": 1},
    "a tensor": lambda harm: torch.zeros(3),
    "a list": lambda harm: [1, 2],
}


@pytest.mark.parametrize("damage", list(STATE_DAMAGE))
def test_a_checkpoint_that_is_damaged_or_hostile(
    saccade: Saccade, run: Path, data: Path, harm: Path, damage: str
) -> None:
    content = STATE_DAMAGE[damage](harm)
    before = (run / "model.safetensors").read_bytes()
    if isinstance(content, bytes):
        (run / "state.pt").write_bytes(content)
    else:
        torch.save(content, run / "state.pt")
    said = saccade(*fitting(data, run, "--resume"))
    assert not harm.exists()
    assert said.code == 1
    assert "state.pt" in said.err
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("change", ["weights", "position", "optimiser", "entry"])
def test_a_checkpoint_that_does_not_fit(saccade: Saccade, run: Path, data: Path, change: str) -> None:
    state = torch.load(run / "state.pt", weights_only=True)
    match change:
        case "weights":
            state["model"]["conv1.weight"] = torch.zeros(2)
        case "position":
            state["position"]["mood"] = 1
        case "optimiser":
            state["optimiser"] = {"param_groups": []}
        case "entry":
            del state["model"]
    torch.save(state, run / "state.pt")
    said = saccade(*fitting(data, run, "--resume"))
    assert said.code == 1
    assert "state.pt" in said.err
    assert "delete it" in said.err


# --- where to write ---------------------------------------------------------------------------------------------------


def test_an_output_folder_that_is_not_empty(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert saccade(*fitting(data, tmp_path / "out")).code == 0  # empty: nothing can be lost
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    said = saccade(*fitting(data, tmp_path / "out"))
    assert said.code == 2
    assert "--resume" in said.err
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("resume", [(), ("--resume",)])
@pytest.mark.parametrize("left", [".writable", "model.toml.part"])
def test_a_folder_left_by_a_run_killed_at_its_beginning(
    saccade: Saccade, data: Path, tmp_path: Path, left: str, resume: tuple[str, ...]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / left).touch()
    said = saccade(*fitting(data, tmp_path / "out", *resume))
    assert said.code == 0, said.err
    assert not list((tmp_path / "out").glob(".writable*"))
    assert not list((tmp_path / "out").glob("*.part"))


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_an_output_folder_that_cannot_be(
    saccade: Saccade, data: Path, tmp_path: Path, below: str, resume: tuple[str, ...]
) -> None:
    """Below a file nothing can be made, not even by root, whom no permission stops."""
    (tmp_path / "file").write_text("precious")
    said = saccade(*fitting(data, tmp_path / "file" / below, *resume))
    assert said.code in (1, 2)
    assert str(tmp_path / "file") in said.err
    assert "--out" in said.err
    assert (tmp_path / "file").read_text() == "precious"


def test_a_report_that_cannot_be_written(saccade: Saccade, run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    said = saccade("evaluate", run, data, "--out", tmp_path / "file" / "report.html")
    assert said.code in (1, 2)
    assert str(tmp_path / "file") in said.err


def test_a_disk_that_fills_up(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    """No file may grow beyond 20 kB from the second epoch's checkpoint on: as with a full disk, write() fails half-way.

    What was saved before still loads, nothing half-written lies about, and with room again the run goes on.
    """
    code = """if True:
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the limit kills, instead of failing the write
        from saccade import checkpoint
        from saccade.cli.main import main
        save, calls = checkpoint.save_state, []
        def limited(folder, state):
            calls.append(folder)
            if len(calls) == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            save(folder, state)
        checkpoint.save_state = limited
        main()
    """
    out = tmp_path / "out"
    arguments = [str(word) for word in fitting(data, out, "--epochs", 3)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "no space left" in done.stderr
    assert "state.pt" in done.stderr
    assert "--resume" in done.stderr
    assert not list(out.glob("*.part"))
    assert load_file(out / "model.safetensors").keys() == create_model("lenet", 2).state_dict().keys()
    state = checkpoint.load_state(out)
    assert state is not None
    assert state["position"]["epoch"] == 1
    assert saccade("predict", out, data / "dark").code == 0
    said = saccade(*fitting(data, out, "--epochs", 3, "--resume"))
    assert said.code == 0, said.err
    assert "resuming at epoch 2" in said.err
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [0, 1, 2]


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    checkpoint.write(path, b"old")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(SaccadeError, match="no space left"):
        checkpoint.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


# --- broken images ----------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(data: Path, tmp_path: Path) -> Path:
    """The data with an empty file and half a picture in it."""
    folder = Path(shutil.copytree(data, tmp_path / "broken"))
    (folder / "bright" / "3.png").write_bytes(b"")
    half = (folder / "dark" / "5.png").read_bytes()
    (folder / "dark" / "5.png").write_bytes(half[: len(half) // 2])
    return folder


def test_fit_stops_at_broken_images(saccade: Saccade, broken: Path, tmp_path: Path) -> None:
    said = saccade(*fitting(broken, tmp_path / "out"))
    assert said.code == 1
    assert "2 of the images" in said.err
    assert "bright/3.png: is empty (0 bytes)" in said.err
    assert "dark/5.png" in said.err
    assert "--skip-broken" in said.err
    assert not (tmp_path / "out").exists(), "it must stop before step 0"


def test_fit_goes_on_without_broken_images(saccade: Saccade, broken: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = saccade(*fitting(broken, out, "--skip-broken"))
    assert said.code == 0, said.err
    assert (out / "model.safetensors").exists()
    report = (out / "report.html").read_text() if (out / "report.html").exists() else ""
    for name in ("bright/3.png", "dark/5.png"):
        assert name in said.all + report, "what is left out is listed"


def test_evaluate_stops_at_broken_images_or_goes_on(saccade: Saccade, run: Path, broken: Path) -> None:
    said = saccade("evaluate", run, broken)
    assert said.code == 1
    assert "2 of the images cannot be read" in said.err
    assert "bright/3.png" in said.err
    said = saccade("evaluate", run, broken, "--skip-broken")
    assert said.code == 0
    assert re.search(r"images\s+14\b", said.out)
    assert "skipped bright/3.png: is empty (0 bytes)" in said.out
    assert "skipped dark/5.png" in said.out
    machine = json.loads(saccade("evaluate", run, broken, "--skip-broken", "--json").out)
    assert machine["images"] == 14
    assert len(machine["skipped"]) == 2


def test_predict_names_broken_images_and_goes_on(saccade: Saccade, run: Path, broken: Path) -> None:
    said = saccade("predict", run, broken)
    assert said.code == 1
    assert len(said.out.splitlines()) == 14
    assert "3.png: is empty (0 bytes)" in said.err
    assert "2 images could not be read" in said.err
    said = saccade("predict", run, broken, "--skip-broken")
    assert said.code == 0
    assert "2 images could not be read" in said.err
    lines = [json.loads(line) for line in saccade("predict", run, broken, "--json", "--skip-broken").out.splitlines()]
    assert len(lines) == 16
    assert sum("error" in line for line in lines) == 2


def test_check_says_no(saccade: Saccade, broken: Path, data: Path) -> None:
    said = saccade("check", broken)
    assert said.code == 1
    assert "broken image: all/bright/3.png" in said.out
    assert "2 things are wrong" in said.out
    assert saccade("check", data).code == 0


def test_nothing_but_broken_images(saccade: Saccade, run: Path, data: Path, tmp_path: Path) -> None:
    for name in ("bright", "dark"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "1.png").write_bytes(b"junk")
    for arguments in (
        fitting(tmp_path / "bad", tmp_path / "out", "--skip-broken"),
        ("evaluate", run, tmp_path / "bad", "--skip-broken"),
    ):
        said = saccade(*arguments)
        assert said.code == 1
        assert said.err.startswith("error: ")


def test_a_class_with_nothing_but_broken_images(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    for hold_out in (0.2, 0):
        folder = Path(shutil.copytree(data, tmp_path / f"bad{hold_out}"))
        for file in (folder / "dark").iterdir():
            file.write_bytes(b"junk")
        said = saccade(*fitting(folder, tmp_path / "out", "--skip-broken", "--set", f"hold_out={hold_out}"))
        assert said.code == 1
        assert "'dark'" in said.err


# --- data that does not suit ------------------------------------------------------------------------------------------


def test_evaluate_on_classes_the_model_does_not_know(
    saccade: Saccade, run: Path, tmp_path: Path, class_folders: Make
) -> None:
    said = saccade("evaluate", run, class_folders(tmp_path / "other", {"bright": 1, "grey": 1}))
    assert said.code in (1, 2)
    assert "grey" in said.err
    assert "bright, dark" in said.err


def test_evaluate_on_some_of_the_classes(saccade: Saccade, run: Path, tmp_path: Path, class_folders: Make) -> None:
    """Labels are counted as the model counts them: "dark" is its second class, though the first of this data."""
    from saccade.recipes.evaluate import evaluate

    evaluation = evaluate(run, class_folders(tmp_path / "other", {"dark": 3}))
    assert evaluation.metric.confusion().sum(axis=1).tolist() == [0, 3]


@pytest.mark.parametrize(("counts", "word"), [({"a": 5}, "'a'"), ({"a": 5, "b": 1}, "'b'"), ({"a": 5, "b": 0}, "'b'")])
def test_data_too_small_to_train_on(
    saccade: Saccade, tmp_path: Path, class_folders: Make, counts: dict[str, int], word: str
) -> None:
    said = saccade(*fitting(class_folders(tmp_path / "small", counts), tmp_path / "out"))
    assert said.code == 1
    assert word in said.err


def test_a_picture_that_is_none(saccade: Saccade, run: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir")
    said = saccade("predict", run, tmp_path / "letter.txt")
    assert said.code == 1
    assert "is not an image" in said.err
    (tmp_path / "hollow").mkdir()
    said = saccade("predict", run, tmp_path / "hollow")
    assert said.code == 2
    assert "holds no images" in said.err


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--epochs", 3), "epochs was 1, now 3"),
        (("--learning-rate", 0.5), "learning_rate was 0.001, now 0.5"),
        (("--seed", 7), "seed was 0, now 7"),
        (("--set", "augmentation=none"), "augmentation was"),
        (("--model", "resnet20_cifar"), "model was lenet, now resnet20_cifar"),
    ],
)
def test_resume_with_other_settings(
    saccade: Saccade, run: Path, data: Path, more: tuple[object, ...], word: str
) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    said = saccade(*fitting(data, run, "--resume"), *more)
    assert said.code == 2
    assert word in said.err
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_resume_with_other_workers_is_no_matter(saccade: Saccade, run: Path, data: Path) -> None:
    said = saccade(*fitting(data, run, "--resume"), "--workers", 1, "--set", "checkpoint_seconds=7")
    assert said.code == 0, said.err


def test_resume_with_other_data(saccade: Saccade, run: Path, data: Path, tmp_path: Path, paint: Make) -> None:
    more = Path(shutil.copytree(data, tmp_path / "more"))
    paint(more / "dark" / "new.png", 77)
    before = (run / "state.pt").read_bytes()
    said = saccade(*fitting(more, run, "--resume"))
    assert said.code == 1
    assert "other images" in said.err
    assert (run / "state.pt").read_bytes() == before
    other = Path(shutil.copytree(data, tmp_path / "other"))
    (other / "dark").rename(other / "black")
    assert "classes was" in saccade(*fitting(other, run, "--resume")).err


def test_resume_with_the_same_data_elsewhere(saccade: Saccade, run: Path, data: Path, tmp_path: Path) -> None:
    said = saccade(*fitting(Path(shutil.copytree(data, tmp_path / "moved")), run, "--resume"))
    assert said.code == 0, said.err


@pytest.mark.parametrize("there", [False, True])
def test_resume_without_a_checkpoint_starts_afresh_and_says_so(
    saccade: Saccade, run: Path, data: Path, tmp_path: Path, there: bool
) -> None:
    out = run if there else tmp_path / "fresh"
    if there:
        (out / "state.pt").unlink()
        (out / "model.safetensors").unlink()
    said = saccade(*fitting(data, out, "--resume"))
    assert said.code == 0
    assert "no checkpoint: starting afresh" in said.err
    assert len((out / "log.jsonl").read_text().splitlines()) == 1
    assert saccade("evaluate", out, data).code == 0


# --- training that goes wrong -----------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number(saccade: Saccade, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = saccade(*fitting(data, out, "--learning-rate", 1e30, "--epochs", 3))
    assert said.code == 1
    found = re.search(r"at step (\d+), batch (\d+) of epoch (\d+), learning rate (\S+)\.", said.err)
    assert found is not None, said.err
    assert float(found[4]) > 1e29
    names = re.findall(r"(?:bright|dark)/\d\.png", said.err)
    assert len(names) == 4, "the images of the batch"
    assert "smaller learning rate" in said.err
    assert not list(out.glob("*.part"))


def test_an_image_that_breaks_while_training(
    saccade: Saccade, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sound when the images were looked at, and is gone when it is wanted."""
    from saccade.recipes import fit as recipe

    folder = Path(shutil.copytree(data, tmp_path / "data"))
    look = recipe.without_broken

    def then_lost(*arguments: object) -> object:
        found = look(*arguments)  # type: ignore[arg-type]
        for number in range(1, 8):
            (folder / "dark" / f"{number}.png").write_bytes(b"lost")
        return found

    monkeypatch.setattr(recipe, "without_broken", then_lost)
    for workers in (0, 1):
        said = saccade(*fitting(folder, tmp_path / f"out{workers}", "--workers", workers))
        assert said.code == 1
        assert re.search(r"dark/\d\.png: is not an image", said.err)
        shutil.copytree(data, folder, dirs_exist_ok=True)


# --- the real command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("check", "BROKEN"), 1, "things are wrong"),
        (("fit", "digits", "--model", "lenett", "--out", "OUT"), 2, "did you mean 'lenet'"),
    ],
)
def test_the_command_itself(broken: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, word: str) -> None:
    words = [str({"BROKEN": broken, "OUT": tmp_path / "out"}.get(word, word)) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "saccade.cli.main", *words]
        if not (Path(sys.executable).parent / "saccade").exists()
        else [str(Path(sys.executable).parent / "saccade"), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert word in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_image_beyond_the_limit_in_a_folder(
    saccade: Saccade, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(data, tmp_path / "data"))
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(folder / "dark" / "huge.png")
    monkeypatch.setenv("SACCADE_PIXEL_LIMIT", "0.001")
    for arguments in (("evaluate", run, folder), fitting(folder, tmp_path / "out"), ("check", folder)):
        said = saccade(*arguments)
        assert said.code == 1
        assert "dark/huge.png" in said.all
        assert "SACCADE_PIXEL_LIMIT" in said.all


def test_resume_does_not_write_into_a_folder_that_is_no_run(saccade: Saccade, data: Path) -> None:
    """Least of all into the data itself."""
    before = sorted(data.rglob("*"))
    said = saccade(*fitting(data, data, "--resume"))
    assert said.code == 2
    assert "not a run directory" in said.err
    assert sorted(data.rglob("*")) == before


def test_evaluating_the_training_set_says_so(saccade: Saccade, run: Path, data: Path) -> None:
    assert "trained on images of this set" in saccade("evaluate", str(run), str(data)).out
