"""The many small trainings behind a learning curve: which there are, what is known already, and how one is done.

DIR/runs.jsonl   a line a finished training: who was wrong about which image
DIR/runs/        the one that is being trained; it is gone as soon as its line is written
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saccade import __version__, checkpoint, keyed
from saccade.data.source import Source, Split, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.progress import silent, track
from saccade.recipes.evaluate import Evaluation
from saccade.recipes.fit import fit
from saccade.training.config import FREE_TO_CHANGE, OF_A_PROBE, OF_STAGES, ONLY_PROBE, Config

SERIES = (1, 2, 5)  # and ten times as many, and so on
ALL = "all"
# An image that is evaluated costs about a third of one that is trained on: no way back through the network.
EVALUATED = 1 / 3


@dataclass(frozen=True)
class Size:
    """How much is trained on.

    name       "5", or "all"
    at_most    so many images of each class, or all that it has
    per_class  the mean over the classes of what that gives: where it stands on the plot
    """

    name: str
    at_most: int
    per_class: float


@dataclass(frozen=True)
class Plan:
    """One training to be done."""

    adapt: str
    size: Size
    repeat: int

    def __str__(self) -> str:
        return f"{self.adapt}, {self.size.name} a class, repeat {self.repeat + 1}"


@dataclass(frozen=True, eq=False)
class Trained:
    """One training that was done.

    wrong  by split, [V] bool: about which images, in their order, it is wrong
    """

    adapt: str
    size: str
    repeat: int
    wrong: dict[str, np.ndarray]

    @property
    def errors(self) -> dict[str, float]:
        """By split, in percent."""
        return {name: 100 * float(row.mean()) for name, row in self.wrong.items()}


@dataclass(frozen=True)
class Failed:
    """One training that could not be done, and why."""

    adapt: str
    size: str
    repeat: int
    reason: str


def options_of(adapt: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a meaning for this way: each goes to all that take it."""
    if adapt == "probe":
        unused = set() if options.get("augmented") else {"augmentation"}
        return {name: value for name, value in options.items() if name in OF_A_PROBE - unused}
    strangers = ONLY_PROBE | (frozenset() if adapt == "finetune" else OF_STAGES)
    return {name: value for name, value in options.items() if name not in strangers}


def sizes_of(labels: np.ndarray, classes: int, wanted: Iterable[int | str] | None) -> tuple[Size, ...]:
    """The sizes to train at, rising.

    labels   [M] int64, 0..K-1, of the training images
    classes  K
    wanted   images a class, and at the end perhaps "all"; None for 1, 2, 5, 10, 20, 50 ... and all

    Raises UsageError when they do not rise, or when there are not so many images.
    """
    counts = np.bincount(labels, minlength=classes)
    largest = int(counts.max())
    if wanted is None:
        series = [step * 10**power for power in range(len(str(largest))) for step in SERIES]
        # One that is nearly all would cost as much as all and show nothing else.
        wanted = [n for n in series if np.minimum(counts, n).sum() < 0.8 * counts.sum()] + [ALL]
    names = [str(size).strip() for size in wanted]
    if not names:
        raise UsageError("a learning curve needs sizes; give --sizes 1,2,5,10,all or leave it out")
    if strange := next((name for name in names if name != ALL and not (name.isdecimal() and int(name) > 0)), None):
        raise UsageError(f"sizes are whole numbers of images a class, from 1, or 'all' at the end, got {strange!r}")
    numbers = [largest if name == ALL else int(name) for name in names]
    if numbers != sorted(set(numbers)) or ALL in names[:-1]:
        raise UsageError(f"sizes must rise, each once, got {', '.join(names)} where all are {largest:,}")
    if numbers[-1] > largest:
        raise UsageError(f"no class has {numbers[-1]:,} images to train on, the largest has {largest:,}; use 'all'")
    return tuple(Size(name, n, float(np.minimum(counts, n).mean())) for name, n in zip(names, numbers, strict=True))


def subset(labels: np.ndarray, at_most: int, seed: int, repeat: int) -> np.ndarray:
    """[m] int64, rising: the images that a repeat trains on, each class's own.

    A keyed order of each class, of which the first so many are taken: what a smaller size has, a larger has too, and
    all ways have the same.
    """
    chosen = []
    for label in np.unique(labels).tolist():
        mine = np.flatnonzero(labels == label)
        order = keyed.generator(seed, "curve", repeat, label).permutation(len(mine))
        chosen.append(mine[order[:at_most]])
    return np.sort(np.concatenate(chosen))


@dataclass(frozen=True, eq=False)
class Bench:
    """All that a training of the curve needs; made once.

    source   with "train" and "val", and perhaps "test"
    digests  by split, of each image's content
    weights  what ways other than scratch start from, with the SHA-256 of the file
    configs  by way; `options` are those that were given
    """

    folder: Path
    source: Source
    digests: dict[str, list[str]]
    model: str
    weights: tuple[str, str] | None
    configs: dict[str, Config]
    options: dict[str, Any]
    seed: int

    def images(self, plan: Plan) -> np.ndarray:
        """[m] int64: what is trained on."""
        return subset(labels_of(self.source.splits["train"]), plan.size.at_most, self.seed, plan.repeat)

    def work(self, plan: Plan) -> int:
        """What it will cost, in images that are trained on."""
        epochs = 1 if plan.adapt == "probe" else self.configs[plan.adapt].epochs
        looked = {name: len(split) for name, split in self.source.splits.items() if name != "train"}
        once = sum(looked.values()) + (looked["val"] * epochs if plan.adapt != "probe" else 0)
        return round(len(self.images(plan)) * epochs + EVALUATED * once)

    def key(self, plan: Plan) -> str:
        """Of everything that the outcome depends on: another key, another training."""
        chosen = self.images(plan)
        looked = {"train": chosen} | {n: np.arange(len(d)) for n, d in self.digests.items() if n != "train"}
        pictures = {
            name: _digest([self.digests[name][i] for i in places], labels_of(self.source.splits[name])[places].tolist())
            for name, places in looked.items()
        }
        config = self._config(plan).model_dump(mode="json", exclude=set(FREE_TO_CHANGE))
        weights = self.weights[1] if self.weights and plan.adapt != "scratch" else ""
        return _digest(__version__, self.model, weights, plan.adapt, self.source.classes, config, pictures)

    def train(self, plan: Plan, key: str) -> Trained:
        """Do it, going on from where it was interrupted; nothing but the outcome is kept.

        Raises what `fit` raises, and what torch does where a network cannot learn from so few.
        """
        folder = self.folder / "runs" / f"{plan.adapt}-{plan.size.name}-{plan.repeat}-{key[:8]}"
        train = self.source.splits["train"].take(self.images(plan))
        source = self.source.with_splits(self.source.splits | {"train": train})
        options: dict[str, Any] = options_of(plan.adapt, self.options) | {"seed": self._config(plan).seed}
        begun = (folder / "model.toml").exists()
        try:
            with silent():
                run = fit(
                    source,
                    model=self.model,
                    weights=self.weights[0] if self.weights and plan.adapt != "scratch" else None,
                    adapt=plan.adapt,
                    out=folder,
                    resume=begun,
                    quiet=True,
                    **options,
                )
        except (SaccadeError, ValueError, RuntimeError):
            shutil.rmtree(folder, ignore_errors=True)
            if begun:
                # Perhaps only what was left of it is damaged.
                return self.train(plan, key)
            raise
        return Trained(plan.adapt, plan.size.name, plan.repeat, {n: _wrong(e) for n, e in run.evaluations.items()})

    def forget(self) -> None:
        """Weights of dozens of trainings are large, and nobody asked for them."""
        shutil.rmtree(self.folder / "runs", ignore_errors=True)

    def _config(self, plan: Plan) -> Config:
        return self.configs[plan.adapt].model_copy(update={"seed": self.seed + plan.repeat})


def contents_of(split: Split, name: str) -> list[str]:
    """A digest of each image, by what stands in its file."""
    places = track(range(len(split)), f"reading {name}", len(split))
    return [hashlib.blake2b(split.content(i), digest_size=16).hexdigest() for i in places]


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_runs(path: Path) -> dict[str, Trained]:
    """What runs.jsonl knows, by key. A last line that was cut short is cut off, and whatever follows a bad one."""
    known: dict[str, Trained] = {}
    whole = 0
    content = path.read_bytes() if path.exists() else b""
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            values = json.loads(line)
            wrong = {name: _unpacked(*packed) for name, packed in values["wrong"].items()}
            known[values["key"]] = Trained(values["adapt"], values["size"], values["repeat"], wrong)
        except (ValueError, KeyError, TypeError):
            break
        whole += len(line)
    checkpoint.cut(path, whole)
    return known


def write_run(path: Path, key: str, trained: Trained) -> None:
    """Add one line, synced."""
    wrong = {name: (len(row), np.packbits(row).tobytes().hex()) for name, row in trained.wrong.items()}
    values = {"key": key, "adapt": trained.adapt, "size": trained.size, "repeat": trained.repeat}
    checkpoint.append_line(path, json.dumps(values | {"errors": trained.errors, "wrong": wrong}))


def _unpacked(count: int, packed: str) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), dtype=np.uint8), count=count)
    if not count or len(bits) != count:
        raise ValueError("as many images as there are bits")
    return bits.astype(bool)


def _wrong(evaluation: Evaluation) -> np.ndarray:
    outcomes = evaluation.metric.outcomes
    return np.array([outcomes[id].rank > 0 for id in evaluation.data.ids])


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
