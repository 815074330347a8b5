"""Adapting: stored features are never stale, the head is logistic regression, what is frozen stays as it is."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import saccade
from saccade.backbones.probed import Probed
from saccade.backbones.stages import stages_of
from saccade.checkpoint import load_weights
from saccade.errors import SaccadeError, UsageError
from saccade.models import create_model, create_probe
from saccade.recipes.fit import Run
from saccade.recipes.probe import _folder
from saccade.training import features
from saccade.training.config import Config
from saccade.training.features import FeatureStore, key_of
from saccade.training.freeze import plan
from saccade.training.linear import STRENGTHS, _folds, fit_linear


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the store --------------------------------------------------------------------------------------------------------


def rows_of(count: int, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float16)


def test_rows_come_back_in_any_order_also_from_another_process(tmp_path: Path) -> None:
    keys, rows = [key_of(str(n)) for n in range(7)], rows_of(7)
    store = FeatureStore(tmp_path, 5)
    store.add(keys[:4], rows[:4])
    store.add(keys[4:], rows[4:])
    for opened in (store, FeatureStore(tmp_path, 5)):
        assert (len(opened), opened.lost) == (7, 0)
        order = [3, 0, 6, 6]
        assert np.array_equal(opened.rows(keys[n] for n in order), rows[order])
        assert key_of("7") not in opened
    with pytest.raises(KeyError):
        store.rows([key_of("7")])


def test_two_that_write_at_once_do_not_take_each_others_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes between the two writes of the first."""
    keys, rows = [key_of(str(n)) for n in range(2)], rows_of(2)
    first, second = FeatureStore(tmp_path, 5), FeatureStore(tmp_path, 5)
    whole, others = features._write_at, []

    def interrupted(path: Path, begin: int, content: bytes) -> None:
        whole(path, begin, content)
        if not others:
            others.append(threading.Thread(target=second.add, args=(keys[1:], rows[1:])))
            others[0].start()
            others[0].join(0.3)

    monkeypatch.setattr(features, "_write_at", interrupted)
    first.add(keys[:1], rows[:1])
    others[0].join()
    assert np.array_equal(first.rows(keys[:1]), rows[:1]) and np.array_equal(second.rows(keys[1:]), rows[1:])
    opened = FeatureStore(tmp_path, 5)
    assert opened.lost == 0 and np.array_equal(opened.rows(keys), rows)


@given(st.integers(0, 60), st.integers(0, 150))
@example(1, 24)
@settings(deadline=None, max_examples=80)
def test_a_store_that_was_cut_short_keeps_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, a: int, b: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    keys, rows = [key_of(str(n)) for n in range(6)], rows_of(6)
    FeatureStore(folder, 5).add(keys, rows)
    for name, cut in (("features", a), ("index", b)):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) - min(cut, len(content))])
    store = FeatureStore(folder, 5)
    whole = min((60 - a) // 10, max(0, 144 - b) // 24)
    assert len(store) == whole
    begun = max(-(-(60 - a) // 10), -(-max(0, 144 - b) // 24))
    assert store.lost == begun - whole
    missing = [n for n in range(6) if keys[n] not in store]
    store.add([keys[n] for n in missing], rows[missing])
    again = FeatureStore(folder, 5)
    assert again.lost == 0, "what was lost is told of once"
    assert np.array_equal(store.rows(keys), rows)
    assert np.array_equal(again.rows(keys), rows)


def test_a_damaged_row_counts_as_not_there(tmp_path: Path) -> None:
    keys, rows = [key_of(str(n)) for n in range(3)], rows_of(3)
    FeatureStore(tmp_path, 5).add(keys, rows)
    content = bytearray((tmp_path / "features").read_bytes())
    content[13] ^= 1
    (tmp_path / "features").write_bytes(content)
    store = FeatureStore(tmp_path, 5)
    assert store.lost == 1
    assert [key in store for key in keys] == [True, False, True]
    mended = FeatureStore(tmp_path, 5)
    assert (len(mended), mended.lost) == (2, 0)
    assert np.array_equal(mended.rows([keys[0], keys[2]]), rows[[0, 2]])


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path, 5)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "_write_at", full)
    with pytest.raises(SaccadeError, match=r"cannot be stored.*No space left.*XDG_CACHE_HOME"):
        store.add([key_of("a")], rows_of(1))
    with pytest.raises(ValueError, match=re.escape("float16 [2, 5]")):
        store.add([key_of("a")] * 2, rows_of(1))


def test_keys_tell_their_parts_apart() -> None:
    assert key_of("ab", "c") != key_of("a", "bc") != key_of("abc")
    assert key_of("a", b"b") == key_of(b"a", "b")


# --- the head ---------------------------------------------------------------------------------------------------------


def clouds(count: int = 60, width: int = 4, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return (rng.normal(size=(count, width)) * [1, 5, 0.2, 1] + 3 * np.eye(classes, width)[labels]).astype(
        np.float32
    ), labels


def test_the_head_is_the_logistic_regression_of_scikit_learn() -> None:
    inputs, labels = clouds()
    linear = fit_linear(inputs, labels, np.arange(60), 3, seed=0)
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    # scikit-learn adds the losses up and divides nothing: its C is 1 / (N * strength).
    other = LogisticRegression(C=1 / (60 * linear.chosen), tol=1e-10, max_iter=10_000).fit(
        (inputs - mean) / deviation, labels
    )
    logits = inputs @ linear.weight.T + linear.bias
    theirs = other.decision_function((inputs - mean) / deviation)
    centred = [values - values.mean(axis=1, keepdims=True) for values in (logits, theirs)]
    assert np.allclose(*centred, atol=1e-3)


def test_the_regularisation_is_the_best_on_held_out_folds() -> None:
    inputs, labels = clouds()
    linear = fit_linear(inputs, labels, np.arange(60), 3, seed=0)
    assert [row[0] for row in linear.tried] == list(STRENGTHS)
    assert linear.chosen == min(linear.tried, key=lambda row: row[2])[0]
    # Labels without meaning: nothing is better than hardly any weights at all.
    noise = np.random.default_rng(1).permutation(labels)
    assert fit_linear(inputs, noise, np.arange(60), 3, seed=0).chosen >= 0.1


def test_a_feature_that_never_changes_does_no_harm() -> None:
    inputs, labels = clouds()
    inputs[:, 2] = 7
    linear = fit_linear(inputs, labels, np.arange(60), 3, seed=0)
    assert np.isfinite(linear.weight).all()


@given(st.lists(st.integers(0, 3), min_size=4, max_size=40), st.integers(1, 3), st.integers(0, 5))
@settings(deadline=None, max_examples=100)
def test_folds_are_even_and_keep_views_of_an_image_together(labels: list[int], views: int, seed: int) -> None:
    own = np.array(labels)
    groups = np.tile(np.arange(len(own)), views)
    folds = _folds(np.tile(own, views), groups, seed)
    rarest = np.bincount(own)[np.unique(own)].min()
    if rarest < 2:
        assert (folds == -1).all()
        return
    assert set(folds) == set(range(min(5, rarest)))
    for label in np.unique(own):
        counts = np.bincount(folds[: len(own)][own == label], minlength=folds.max() + 1)
        assert counts.max() - counts.min() <= 1
    assert all(len(set(folds[groups == image])) == 1 for image in range(len(own)))


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lenet", "squeezenet1_0", "vgg11", "densenet_bc_cifar", "inception_v3"])
def test_any_network_can_be_probed(name: str) -> None:
    encoder = create_model(name, 0)
    probed = create_probe(name, 3).eval()
    probed.encoder.load_state_dict(encoder.state_dict())
    inputs = torch.randn(2, encoder.in_channels, *([28, 28] if name == "lenet" else [96, 96]))
    with torch.no_grad():
        last = encoder.eval().maps(inputs)[-1].mean((2, 3))
        assert torch.equal(probed.features(inputs), last)
        assert torch.allclose(probed(inputs), last @ probed.linear.weight.T + probed.linear.bias, atol=1e-6)
    first = Probed(encoder, 3, layer=0)
    assert first.linear.in_features == encoder.channels[0]
    assert len(first.maps(inputs)) == 1


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="lenet: layer must be one of the encoder's 2 maps, -2 to 1, got 2"):
        create_probe("lenet", 3, layer=2)


# --- the whole road ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    saccade.fit("digits", model="lenet", out=out, epochs=2, workers=0)
    return out / "model.safetensors"


def probe(out: Path, weights: Path, **options: object) -> Run:
    return saccade.fit("digits", model="lenet", weights=weights, adapt="probe", out=out, workers=0, **options)


def line_of(out: Path) -> dict:
    return json.loads((out / "log.jsonl").read_text())


def test_a_probe_learns_and_leaves_the_encoder_alone(tmp_path: Path, weights: Path) -> None:
    run = probe(tmp_path / "run", weights)
    assert run.metrics["top1_error"] < 20
    before, after = create_model("lenet", 10, weights=weights).state_dict(), load_weights(tmp_path / "run")
    kept = [key for key in after if key.startswith("encoder.")]
    assert kept
    assert all(torch.equal(after[key], before[key.removeprefix("encoder.")]) for key in kept)
    predictor = saccade.load(tmp_path / "run")
    assert saccade.evaluate(predictor, "digits").result["top1_error"] < 20
    assert "Regularisation" in run.report.read_text()


def test_features_are_computed_once_and_never_used_for_something_else(tmp_path: Path, weights: Path) -> None:
    one = probe(tmp_path / "one", weights)
    two = probe(tmp_path / "two", weights)
    assert (line_of(tmp_path / "one")["features/stored"], line_of(tmp_path / "two")["features/computed"]) == (0, 0)
    assert {k: v for k, v in one.metrics.items() if "timing" not in k} == {
        k: v for k, v in two.metrics.items() if "timing" not in k
    }
    # Another size, another layer, other weights: nothing that is stored is of use.
    other = tmp_path / "other.safetensors"
    network = create_model("lenet", 10, weights=weights)
    with torch.no_grad():
        next(network.parameters()).mul_(1.5)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, other)
    for name, own, options in (
        ("size", weights, {"size": 40}),
        ("layer", weights, {"layer": 0}),
        ("weights", other, {}),
    ):
        probe(tmp_path / name, own, **options)
        assert line_of(tmp_path / name)["features/stored"] == 0


def test_networks_that_the_same_weights_fit_share_no_features() -> None:
    encoder = create_probe("resnet20_cifar", 10)
    data: Any = SimpleNamespace(preprocessing=encoder.standard_preprocessing())
    for name, same in (("plain20_cifar", False), ("resnet20_cifar", True)):
        other = create_probe(name, 10)
        other.load_state_dict(encoder.state_dict())
        assert (_folder(other, data) == _folder(encoder, data)) == same


def test_a_run_can_be_probed_and_a_probe_gone_on_from(tmp_path: Path) -> None:
    digits = saccade.read("digits")
    few = digits.with_splits({name: split.take(range(0, len(split), 9)) for name, split in digits.splits.items()})
    options = {"workers": 0, "quiet": True}
    begun = saccade.fit(few, model="resnet20_cifar", out=tmp_path / "begun", epochs=1, **options)
    probed = saccade.fit(few, weights=begun.path, adapt="probe", out=tmp_path / "probed", **options)
    first, second = load_weights(begun.path), load_weights(probed.path)
    kept = [key for key in second if key.startswith("encoder.")]
    assert len(kept) == len(second) - 2 and all(torch.equal(first[key[8:]], second[key]) for key in kept)
    again = saccade.fit(few, weights=probed.path, adapt="freeze", out=tmp_path / "again", epochs=1, **options)
    third = load_weights(again.path)
    assert all(torch.equal(third[key[8:]], second[key]) for key in kept)


def test_a_store_cut_short_is_mended_and_said(
    tmp_path: Path, weights: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = probe(tmp_path / "one", weights)
    (store,) = (own_cache / "saccade" / "features").iterdir()
    content = (store / "features").read_bytes()
    (store / "features").write_bytes(content[: len(content) // 2 + 1])
    second = probe(tmp_path / "two", weights)
    assert "cut short or damaged, and left out" in capsys.readouterr().err
    assert 0 < line_of(tmp_path / "two")["features/computed"] < 1438
    assert first.metrics["loss"] == second.metrics["loss"]


def test_features_that_are_no_numbers_are_refused(tmp_path: Path, weights: Path, own_cache: Path) -> None:
    broken = tmp_path / "nan.safetensors"
    network = create_model("lenet", 10, weights=weights)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, broken)
    with pytest.raises(SaccadeError, match=r"are not finite numbers.*the weights are damaged"):
        probe(tmp_path / "run", broken)
    assert not (tmp_path / "run").exists(), "the same command can be given again"
    assert probe(tmp_path / "run", weights).metrics["top1_error"] < 60


def test_augmented_views_are_stored_too(tmp_path: Path, weights: Path) -> None:
    probe(tmp_path / "one", weights, augmented=2)
    assert line_of(tmp_path / "one")["features/computed"] == 3 * 1438
    probe(tmp_path / "two", weights, augmented=1)
    assert line_of(tmp_path / "two")["features/computed"] == 0


def test_settings_that_mean_nothing(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UsageError, match="epochs means nothing to a probe"):
        probe(tmp_path / "run", weights, epochs=3)
    with pytest.raises(UsageError, match="augmentation is for the augmented views of a probe"):
        probe(tmp_path / "run", weights, augmentation="glyph")
    with pytest.raises(UsageError, match="layer is for adapt=probe only"):
        saccade.fit("digits", model="lenet", out=tmp_path / "run", layer=1)
    with pytest.raises(UsageError, match="probe needs weights"):
        saccade.fit("digits", model="lenet", adapt="probe", out=tmp_path / "run")


@pytest.mark.parametrize("classes", [2, 3])
def test_the_support_vector_machine_is_scikit_learns(classes: int) -> None:
    """The same planes on standardised features as scikit-learn's own pipeline finds."""
    rng = np.random.default_rng(classes)
    labels = np.repeat(np.arange(classes), 30)
    features = (rng.normal(size=(len(labels), 6)) * 3 + 5 + 2 * np.eye(6)[labels]).astype(np.float32)
    found = fit_linear(features, labels, np.arange(len(labels)), classes, 0, "svm")
    assert found.chosen in STRENGTHS
    assert len(found.tried) == len(STRENGTHS)
    machine = LinearSVC(C=1 / (found.chosen * len(labels)), dual=False, intercept_scaling=100, max_iter=10_000)
    theirs = make_pipeline(StandardScaler(), machine).fit(features, labels)
    margins = features @ found.weight.T + found.bias
    expected = theirs.decision_function(features)
    assert np.allclose(margins[:, 1] if classes == 2 else margins, expected, atol=1e-3)
    assert np.array_equal(margins.argmax(1), theirs.predict(features))


def test_a_probe_by_support_vectors(tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    start = create_model("resnet20_cifar", 10)
    save_file({key: value.contiguous() for key, value in start.state_dict().items()}, path)
    run = saccade.fit(
        "digits", model="resnet20_cifar", weights=path, adapt="probe", out=tmp_path / "run", classifier="svm", workers=0
    )
    assert run.metrics["top1_error"] < 60, "random filters tell digits apart far better than chance, 90 %"
    with pytest.raises(UsageError, match="classifier: input should be 'logistic' or 'svm'"):
        saccade.fit("digits", model="lenet", weights=path, adapt="probe", out=tmp_path / "x", classifier="tree")


# --- freezing ---------------------------------------------------------------------------------------------------------


def test_frozen_means_frozen(tmp_path: Path) -> None:
    """Not a bit of the encoder changes, statistics of batch norm included, while the head learns."""
    start = create_model("resnet20_cifar", 10)
    for _ in range(3):  # statistics that are not those of the start
        start.train()(torch.randn(8, 3, 32, 32) * 2 + 1)
    path = tmp_path / "start.safetensors"
    save_file({key: value.contiguous() for key, value in start.state_dict().items()}, path)
    options = {"epochs": 2, "workers": 0, "ema": 0.9, "weight_decay": 0.5}
    saccade.fit("digits", model="resnet20_cifar", weights=path, adapt="freeze", out=tmp_path / "run", **options)
    after = load_weights(tmp_path / "run")
    same = {key for key, value in start.state_dict().items() if torch.equal(value, after[key])}
    assert after.keys() - same == {"fc.weight", "fc.bias"}
    saccade.fit(
        "digits",
        model="resnet20_cifar",
        weights=path,
        adapt="finetune",
        out=tmp_path / "other",
        norms="learn",
        **options,
    )
    moved = load_weights(tmp_path / "other")
    assert not torch.equal(moved["bn1.running_mean"], after["bn1.running_mean"])


def test_freezing_leaves_the_head_alone() -> None:
    network = create_model("mobilenet_v2", 5)
    plan(stages_of(network), "freeze", Config()).hold(network, 7)
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"classifier.1.weight", "classifier.1.bias"}
    assert not any(module.training for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == learning


# --- few and bad pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapt", ["probe", "freeze", "finetune"])
def test_one_picture_a_class_is_enough_to_begin_with(
    adapt: str, tmp_path: Path, weights: Path, class_folders: Callable[..., Path]
) -> None:
    data = class_folders(tmp_path / "photos", {"train/a": 1, "train/b": 1, "train/c": 1, "val/a": 2, "val/c": 1})
    options = {} if adapt == "probe" else {"epochs": 2}
    run = saccade.fit(data, model="lenet", weights=weights, adapt=adapt, out=tmp_path / "run", workers=0, **options)
    assert 0 <= run.metrics["top1_error"] <= 100
    if adapt == "probe":
        assert "nothing could be held out" in run.report.read_text()


BAD = {
    "fewer pictures than classes": ({"train/a": 1, "val/a": 1, "val/b": 1}, "the class 'b' has no images"),
    "one picture a class, none to hold out": ({"a": 1, "b": 1}, "'a' has 1 different image.*--set hold_out=0"),
    "a single class": ({"a": 4}, "only the class 'a'; telling classes apart needs two"),
}


@pytest.mark.parametrize("adapt", ["probe", "freeze", "finetune"])
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_learnt_from_is_said_before_anything_is_written(
    case: str, adapt: str, tmp_path: Path, weights: Path, class_folders: Callable[..., Path]
) -> None:
    counts, words = BAD[case]
    data = class_folders(tmp_path / "photos", counts)
    with pytest.raises(SaccadeError, match=words):
        saccade.fit(data, model="lenet", weights=weights, adapt=adapt, out=tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()
