"""Published weights: found, fetched, verified, kept; or an error that says where to get them."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from saccade.backbones import weights
from saccade.backbones.weights import WEIGHTS, Published, class_names, read_state, resolve
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model, find_weights, list_models
from saccade.structures import Preprocessing


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that WEIGHTS takes for the place where lenet's weights are published."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(create_model("lenet").state_dict(), folder / "lenet.pth")
    sha256 = hashlib.sha256((folder / "lenet.pth").read_bytes()).hexdigest()[:8]
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/lenet.pth"
        preprocessing = Preprocessing((32, 32), 40, "L", (0.1,), (0.3,))
        entry = Published(url, sha256, "MIT", preprocessing, "imagenet")
        monkeypatch.setitem(WEIGHTS, "lenet", {"digits": entry})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("SACCADE_WEIGHTS", raising=False)
        yield folder
        web.shutdown()


def test_fetched_once_verified_and_kept(server: Path) -> None:
    found = resolve("lenet", "digits")
    assert found.path.read_bytes() == (server / "lenet.pth").read_bytes()
    assert found.preprocessing == Preprocessing((32, 32), 40, "L", (0.1,), (0.3,))
    (server / "lenet.pth").unlink()
    assert resolve("lenet", "digits") == found  # from the cache
    assert [file.name for file in found.path.parent.iterdir()] == ["lenet.pth"]
    create_model("lenet", weights="digits")


def test_a_file_that_is_not_the_published_one_is_refused(server: Path) -> None:
    (server / "lenet.pth").write_bytes(b"something else")
    with pytest.raises(SaccadeError, match="gave a file whose SHA-256 begins"):
        resolve("lenet", "digits")
    assert not list(weights.cache_folder().iterdir())


def test_without_a_network_one_sentence_tells_url_and_place(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (server / "lenet.pth").unlink()
    url = WEIGHTS["lenet"]["digits"].url
    with pytest.raises(SaccadeError) as caught:
        resolve("lenet", "digits")
    text = str(caught.value)
    assert url in text
    assert str(weights.cache_folder() / "lenet.pth") in text
    assert "SACCADE_WEIGHTS" in text
    assert "\n" not in text


def test_the_named_folder_is_looked_in_first(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("SACCADE_WEIGHTS", str(shelf))
    state = {key: value.half().contiguous() for key, value in create_model("lenet").state_dict().items()}
    own = {"preprocessing": json.dumps({"size": 32, "resize": 36, "mode": "L", "mean": [0.5], "std": [0.25]})}
    save_file(state, shelf / "lenet-digits_v2.safetensors")
    save_file(state, shelf / "lenet-digits-fp16.safetensors", metadata=own)
    found = resolve("lenet", "digits")
    assert found.path == shelf / "lenet-digits-fp16.safetensors"
    assert found.preprocessing == Preprocessing((32, 32), 36, "L", (0.5,), (0.25,))
    model = create_model("lenet", weights=found)
    assert model.conv1.weight.dtype == torch.float32
    assert torch.equal(model.conv1.weight.half(), state["conv1.weight"])


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"size": 32}', '{"size": 32, "mean": [0.5], "std": [0]}', '{"size": "x", "mean": [1], "std": [1]}'],
)
def test_metadata_that_cannot_be_understood_is_named(text: str, tmp_path: Path) -> None:
    state = {key: value.contiguous() for key, value in create_model("lenet").state_dict().items()}
    save_file(state, tmp_path / "a.safetensors", metadata={"preprocessing": text})
    with pytest.raises(SaccadeError, match=r"a\.safetensors: its metadata 'preprocessing'"):
        resolve("lenet", tmp_path / "a.safetensors")


def test_unknown_names_and_files() -> None:
    with pytest.raises(UsageError, match="did you mean 'imagenet'"):
        resolve("resnet18", "imagnet")
    with pytest.raises(UsageError, match="no published weights for lenet"):
        resolve("lenet", "imagenet")
    with pytest.raises(UsageError, match=r"There is no weights file nowhere\.pth"):
        resolve("lenet", "nowhere.pth")


def test_of_a_detector_the_backbones_weights_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of those that are not there; a file on the shelf serves, published or not."""
    monkeypatch.setenv("SACCADE_WEIGHTS", str(tmp_path))
    for name, text, options, words in (
        ("yolov3", "coc", {}, "weights of yolov3 called 'coc'.*did you mean 'coco'"),
        ("yolov3", "imagenet", {}, "nobody publishes weights of yolov3's backbone, darknet53, called imagenet; give"),
        ("aligned", "imagenet", {"backbone": "plain18"}, "of aligned's backbone, plain18, called imagenet; give anoth"),
        ("yolov3_tiny", "imagenet", {}, "backbone, darknet_tiny, called imagenet$"),
        ("aligned", "coco", {}, "aligned has no weights called coco, but faster.* have; its backbone, mobilenet_v2, h"),
        ("aligned", "imagnet", {}, "did you mean 'imagenet'"),
        ("aligned", "mine", {"backbone": "plain18"}, "no published weights for plain18; give the path"),
    ):
        with pytest.raises(UsageError, match=words):
            find_weights(name, text, **options)
    (tmp_path / "checkpoint").write_bytes(b"")
    with pytest.raises(UsageError, match="is not a file of weights: expected one that ends in"):
        find_weights("aligned", tmp_path / "checkpoint")
    save_file({"some": torch.zeros(1)}, tmp_path / "aligned-coco.safetensors")
    assert find_weights("aligned", "coco").path == tmp_path / "aligned-coco.safetensors"
    (tmp_path / "darknet53-imagenet.weights").write_bytes(b"")
    assert find_weights("yolov3", "imagenet").path == tmp_path / "darknet53-imagenet.weights"


def test_a_published_file_is_known_wherever_it_lies(tmp_path: Path) -> None:
    """The scale of its colours and the names of its tensors, of a detector's backbone too."""
    for file, backbone in (("googlenet-1378be20.pth", "googlenet"), ("densenet121-a639ec97.pth", "densenet121")):
        (tmp_path / file).write_bytes(b"")
        found, published = find_weights("aligned", tmp_path / file, backbone=backbone), WEIGHTS[backbone]["imagenet"]
        assert (found.preprocessing, found.convert) == (published.preprocessing, published.convert)


def test_the_table_is_sound() -> None:
    """Every entry belongs to a network, is named after its hash, and names its licence and a list of classes."""
    assert set(WEIGHTS) <= set(list_models())
    files = [entry.url.rsplit("/", 1)[1] for published in WEIGHTS.values() for entry in published.values()]
    assert len(set(files)) == len(files)  # by which one that lies anywhere is known
    for published in WEIGHTS.values():
        for entry in published.values():
            assert entry.url.startswith("https://")
            # Darknet's files do not carry their hash in their name.
            named_after_hash = not entry.url.endswith(".weights")
            assert len(entry.sha256) == (8 if named_after_hash else 16)
            assert entry.sha256 in entry.url or not named_after_hash
            assert entry.licence
            assert (
                len(class_names(entry.classes))
                == {"imagenet": 1000, "coco": 90, "coco_80": 80, "coco_person": 1, "voc": 21}[entry.classes]
            )
            assert (entry.errors is None) or not entry.results


def test_imagenet_names_are_in_the_usual_order() -> None:
    names = class_names("imagenet")
    assert len(set(names)) == 1000
    assert (names[0], names[207], names[281], names[999]) == ("tench", "golden retriever", "tabby", "toilet tissue")


def test_coco_names_stand_at_their_ids() -> None:
    """Of 90 ids 80 are used: 1 is a person, 18 a dog, 90 a toothbrush."""
    names = class_names("coco")
    assert (names[0], names[17], names[89]) == ("person", "dog", "toothbrush")
    assert sum(not name.startswith("unused") for name in names) == 80
    assert [n for n, name in enumerate(names, 1) if name.startswith("unused")] == [
        *(12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
    ]


def test_real_weights_know_real_pictures(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SqueezeNet with its published weights, over ten pictures each of ten classes: most are named rightly."""
    from saccade.checkpoint import Card
    from saccade.predict import Predictor

    monkeypatch.setenv("SACCADE_WEIGHTS", str(shared / "weights"))
    found = resolve("squeezenet1_0", "imagenet")
    assert found.preprocessing is not None
    assert found.classes is not None
    model = create_model("squeezenet1_0", weights=found)
    predictor = Predictor(model, Card("squeezenet1_0", "classify", found.classes, found.preprocessing))
    wordnet = {
        "n01440764": "tench",
        "n02102040": "English springer",
        "n02979186": "cassette player",
        "n03000684": "chain saw",
        "n03028079": "church",
        "n03394916": "French horn",
        "n03417042": "garbage truck",
        "n03425413": "gas pump",
        "n03445777": "golf ball",
        "n03888257": "parachute",
    }
    right = [
        predictor(file).name == name
        for id, name in wordnet.items()
        for file in sorted((shared / "data" / "imagenette" / "val" / id).iterdir())[:8]
    ]
    # Published on all 500 of these: 57.2 % right; 80 draws of that stay above 40 % but once in a thousand times.
    assert len(right) == 80
    assert sum(right) / len(right) > 0.4


def test_state_dicts_may_be_wrapped(tmp_path: Path) -> None:
    state = create_model("lenet").state_dict()
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    assert set(read_state(tmp_path / "a.pth")) == set(state)


def test_a_file_saved_from_inside_a_parallel_wrapper_loads(tmp_path: Path) -> None:
    model = create_model("lenet")
    torch.save(torch.nn.DataParallel(model).state_dict(), tmp_path / "wrapped.pth")
    assert set(torch.load(tmp_path / "wrapped.pth", weights_only=True)) == {
        f"module.{key}" for key in model.state_dict()
    }
    loaded = create_model("lenet", weights=tmp_path / "wrapped.pth").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


def test_a_text_called_weights_is_refused_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("not weights at all")
    with pytest.raises(SaccadeError, match="is no file of torch") as caught:
        create_model("lenet", weights=tmp_path / "notes.pth")
    assert "weights_only" not in str(caught.value)
