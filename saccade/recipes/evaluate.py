"""How good is a trained model on these images?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from saccade.data import source as sources
from saccade.data.findings import DataError, Findings
from saccade.data.loader import Dataset, Loader
from saccade.data.looks import broken_images
from saccade.data.source import Source, Split, classes_of, labels_of
from saccade.predict import Predictor, load
from saccade.progress import Progress
from saccade.recipes.fit_checks import check_finds
from saccade.training.loop import evaluate as run_loop


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on one split.

    split      its name
    note       what should be known beside the numbers
    data       its images
    metric     every image's outcome
    result     the numbers, as in metrics.json
    predictor  what was measured, for whoever wants to look again
    skipped    images that could not be read, with the reason
    """

    split: str
    data: Split
    metric: Any
    result: dict[str, float]
    predictor: Predictor
    skipped: tuple[str, ...] = ()
    note: str = ""

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.result.items())
        return f"Evaluation({self.split!r}, {len(self.metric.outcomes)} images: {numbers})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images, skipped = len(self.metric.outcomes), list(self.skipped)
        return {"split": self.split, "images": images} | self.result | {"skipped": skipped, "note": self.note}


def evaluate(
    run: str | Path | Predictor,
    data: str | Path | Source,
    *,
    batch_size: int = 32,
    workers: int = 0,
    skip_broken: bool = False,
) -> Evaluation:
    """Measure a trained model. The numbers do not depend on batch size or workers.

    run          a run directory, or what `load` made of it
    data         of any format that says what the model is asked, or a built-in set, or what was read from one; of its
                 splits "test" if there is, else "val", else all of it
    skip_broken  leave out images that cannot be read, and list them, instead of stopping

    Raises UsageError when the classes are not the model's, SaccadeError when something cannot be read.
    """
    predictor = run if isinstance(run, Predictor) else load(run)
    findings = Findings(strict=not skip_broken)
    source = data if isinstance(data, Source) else sources.read(data, findings)
    name, split = _choose(source)
    check_finds(predictor.model, source.with_splits({name: split}))
    split = _relabelled(split, source, predictor)
    broken = broken_images(split, "reading", predictor.task.known)
    skipped = tuple(f"{split.ids[index]}: {reason}" for index, reason in broken.items())
    if skipped and not skip_broken:
        raise DataError(
            f"{len(skipped)} of the images cannot be read, the first: {skipped[0]}; mend them, or use --skip-broken"
        )
    if broken:
        split = split.take([index for index in range(len(split)) if index not in broken])
    if not len(split):
        raise DataError(f"{source.name} has no image that can be read")
    dataset = Dataset(split, predictor.card.preprocessing, known=predictor.task.known)
    loader = Loader(dataset, batch_size, shuffle=False, workers=workers)
    # `fit` measures on what it kept back; here all is measured, whatever it was used for.
    seen = name in ("all", "train") and predictor.card.data == source.name
    note = "the model was trained on images of this set; metrics.json has the error on those kept back" if seen else ""
    skipped = tuple(str(finding) for finding in findings.kept) + skipped
    return replace(evaluate_split(predictor, loader, name), skipped=skipped, note=note)


def evaluate_split(
    predictor: Predictor, loader: Loader, name: str, accelerator: Accelerator | None = None
) -> Evaluation:
    """Measure a model on what a loader gives."""
    with Progress(f"evaluating {name}", len(loader.dataset)) as progress:
        metric = run_loop(predictor.task, predictor.fused, predictor.preprocess, loader, accelerator, progress)
    return Evaluation(name, loader.dataset.split, metric, metric.result(), predictor)


def _choose(source: Source) -> tuple[str, Split]:
    for name in ("test", "val", "all", "train"):
        if name in source.splits:
            return name, source.splits[name]
    raise DataError(f"{source.name} has no images")


def _relabelled(split: Split, source: Source, predictor: Predictor) -> Split:
    """The labels as the model counts them, by the names of the classes."""
    classes, known = predictor.card.classes, predictor.task.known
    own = classes_of(source, known)
    if known == "targets" and split.targets is None:
        raise DataError(f"{source.name} does not say what its images should become; it takes inputs/ and targets/")
    unknown = [name for name in own if name not in classes]
    if unknown:
        raise DataError(
            f"{source.name} has classes that the model does not know: {', '.join(unknown[:5])}; "
            f"it knows {', '.join(classes[:10])}"
        )
    numbers = np.array([classes.index(name) for name in own], dtype=np.int64)
    if split.label_maps is not None and known == "label_maps":
        return replace(split, label_maps=split.label_maps.renamed(classes))
    if known == "targets":
        return split
    if known == "labels":
        return Split(split.images, split.ids, numbers[labels_of(split)])
    if split.objects is None:
        raise DataError(f"{source.name} does not say where things are, and {predictor.card.model} finds things")
    return replace(split, objects=replace(split.objects, labels=numbers[split.objects.labels]))
