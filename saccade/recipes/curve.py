"""What would more labels bring, and which way of training is best with how many? Trained on subsets, not guessed."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from saccade import checkpoint, keyed
from saccade.backbones.weights import resolve
from saccade.data import source as sources
from saccade.data.findings import DataError
from saccade.data.hold_out import hold_out
from saccade.data.looks import broken_images
from saccade.data.source import Source, labels_of
from saccade.errors import SaccadeError, UsageError
from saccade.metrics.power_law import PowerLaw, deviations_of, fit_power_law
from saccade.models import task_of
from saccade.progress import Progress
from saccade.recipes.curve_advice import Advice, Measured, Verdict, advise, errors_at, verdicts
from saccade.recipes.curve_page import write_curve_report
from saccade.recipes.curve_runs import (
    Bench,
    Failed,
    Plan,
    Size,
    Trained,
    contents_of,
    digest_of,
    options_of,
    read_runs,
    sizes_of,
    write_run,
)
from saccade.recipes.fit_checks import check_adapt, check_task
from saccade.training.config import Config, configure
from saccade.wording import counted

WAYS = ("scratch", "probe", "finetune")
LEARNT = 0.1  # of the way from guessing to no error: from there on a law is fitted


@dataclass(frozen=True, eq=False)
class Curve:
    """What `curve` leaves behind.

    path     the folder
    data     the name of the data
    ways     the ways to adapt, as they were asked for
    sizes    rising; the last is today's
    runs     the trainings, by size, way and repeat
    failed   those that could not be done
    laws     by way, where two sizes at least could be trained; errors are those of the validation images
    advice   what they say
    found    how many of the trainings had been done before
    configs  the settings of each way
    """

    path: Path
    data: str
    model: str
    weights: str
    ways: tuple[str, ...]
    sizes: tuple[Size, ...]
    runs: list[Trained]
    failed: list[Failed]
    laws: dict[str, PowerLaw]
    advice: Advice
    found: int
    configs: dict[str, Config]

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def measured(self) -> Measured:
        """Who was wrong about which validation image."""
        return _measured(self.runs, "val")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and what curve.json holds: the same whether it was interrupted or not."""
        today = self.sizes[-1].per_class
        laws = {
            way: {"a": law.a, "b": law.b, "c": law.c, "free": law.free, "today": law.at(today)}
            for way, law in self.laws.items()
        }
        runs = [{"adapt": r.adapt, "size": r.size, "repeat": r.repeat, "errors": r.errors} for r in self.runs]
        return {
            "data": self.data,
            "model": self.model,
            "weights": self.weights,
            "ways": list(self.ways),
            "sizes": [asdict(size) for size in self.sizes],
            "runs": runs,
            "failed": [asdict(failed) for failed in self.failed],
            "laws": laws,
            "advice": asdict(self.advice),
            "tested": [asdict(verdict) for verdict in tested(self)],
            "settings": {way: config.model_dump(mode="json") for way, config in self.configs.items()},
        }


def curve(
    data: str | Path | Source,
    *,
    model: str,
    out: str | Path,
    weights: str | Path | None = None,
    adapt: Sequence[str] = WAYS,
    sizes: Sequence[int | str] | None = None,
    repeats: int = 3,
    **options: Any,
) -> Curve:
    """Train on more and more of a data set, in each way, and say what that shows.

    data     as for `fit`
    out      the folder; what was trained there before with the same data and settings is not trained again
    weights  what the ways other than "scratch" start from: a published name or a file
    adapt    ways to adapt, as for `fit`, each once
    sizes    images a class, rising, at the end perhaps "all"; None for 1, 2, 5, 10, 20, 50 ... and all
    repeats  how often each is done, with other images (but at "all") and other random numbers
    options  settings, as for `fit`; each goes to the ways for which it has a meaning

    Everything is validated on the same images: the data's own validation folder, else those that `fit` would hold out.
    What cannot be trained, say on one image a class, is listed with the reason, and tried again the next time.

    Raises UsageError before anything is trained for what has no meaning, DataError when the data cannot be used.
    """
    _check(adapt, repeats)
    configs = _configs(adapt, options)
    for way in adapt:
        check_adapt(way, None if way == "scratch" else weights)
    if set(adapt) == {"scratch"}:
        check_adapt("scratch", weights)
    if (task := task_of(model)) != "classify":
        raise UsageError(f"learning curves are of networks that tell classes apart so far; {model} is for {task}")
    found = resolve(model, weights) if weights else None
    folder = Path(out)
    _check_folder(folder)
    config = configs[adapt[0]]
    source = data if isinstance(data, Source) else sources.read(data)
    _check_broken(source)
    source = hold_out(source, config.hold_out, config.seed)
    check_task(model, "classify", source)
    if not len(source.splits.get("val", ())):
        raise UsageError("a learning curve needs images to validate on; leave hold_out as it is, or give a val folder")
    steps = sizes_of(labels_of(source.splits["train"]), len(source.classes), sizes)

    digests = {name: contents_of(split, name) for name, split in source.splits.items()}
    start = (str(weights), digest_of(found.path)) if found else None
    bench = Bench(folder, source, digests, model, start, configs, options, config.seed)
    plans = [Plan(way, size, repeat) for size in steps for way in adapt for repeat in range(repeats)]
    runs, failed, known = _done(bench, plans)
    if not runs:
        raise SaccadeError(f"nothing could be trained; {plans[0]}: {failed[0].reason}")
    laws = _laws(runs, adapt, steps, 100 * (1 - 1 / len(source.classes)))
    advice = advise(_measured(runs, "val"), laws, adapt, steps)
    result = Curve(
        folder, source.name, model, str(weights or ""), tuple(adapt), steps, runs, failed, laws, advice, known, configs
    )
    checkpoint.write(folder / "curve.json", json.dumps(result.as_dict(), indent=2) + "\n")
    write_curve_report(result, tested(result))
    return result


def tested(curve: Curve) -> list[Verdict]:
    """The recommendation of every size, tried on images that had no part in it.

    Where the data has a test folder, what validation recommends is tried on it. Else one half of the validation images
    recommends, the other half is what it is tried on.
    """
    if "test" in curve.runs[0].wrong:
        return verdicts(curve.measured, _measured(curve.runs, "test"), curve.ways, curve.sizes)
    images = len(curve.runs[0].wrong["val"])
    order = keyed.generator(curve.configs[curve.ways[0]].seed, "halves").permutation(images)
    one, other = (_measured(curve.runs, "val", np.sort(half)) for half in np.array_split(order, 2))
    return verdicts(one, other, curve.ways, curve.sizes)


def _measured(runs: Sequence[Trained], split: str, images: np.ndarray | slice = slice(None)) -> Measured:
    """Who was wrong about which of these images."""
    found: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for run in runs:
        found.setdefault((run.adapt, run.size), {})[run.repeat] = run.wrong[split][images]
    return found


def _done(bench: Bench, plans: list[Plan]) -> tuple[list[Trained], list[Failed], int]:
    """Every training, the cheapest first, so that there is something to see early; and how many were there already."""
    checkpoint.make_folder(bench.folder)
    path = bench.folder / "runs.jsonl"
    known = read_runs(path)
    keys = {plan: bench.key(plan) for plan in plans}
    work = {plan: bench.work(plan) for plan in plans}
    missing = sorted((plan for plan in plans if keys[plan] not in known), key=lambda plan: work[plan])
    _say(f"{counted(len(plans), 'training', 'trainings')}, {len(plans) - len(missing):,} of them done before")
    failed: list[Failed] = []
    with Progress("learning curve", sum(work[plan] for plan in missing)) as progress:
        for plan in missing:
            try:
                trained = bench.train(plan, keys[plan])
            except UsageError:
                raise
            except (SaccadeError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                failed.append(Failed(plan.adapt, plan.size.name, plan.repeat, reason))
                told = f"could not be trained: {reason}"
            else:
                write_run(path, keys[plan], trained)
                known[keys[plan]] = trained
                told = f"error {trained.errors['val']:.2f} %"
            bench.forget()
            progress.advance(work[plan])
            if not sys.stderr.isatty():
                _say(f"{plan}: {told}")
    runs = [known[keys[plan]] for plan in plans if keys[plan] in known]
    return runs, failed, len(plans) - len(missing)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _laws(runs: Sequence[Trained], ways: Sequence[str], sizes: Sequence[Size], guessing: float) -> dict[str, PowerLaw]:
    """By way, fitted to the sizes at which it learnt something.

    With very few images a network trained from scratch does no better than guessing, and the power law only begins
    where it does (Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017, section 5).
    """
    measured, laws = _measured(runs, "val"), {}
    images = len(runs[0].wrong["val"])
    for number, way in enumerate(ways):
        named = [(size, errors_at(measured, way, size.name)) for size in sizes if (way, size.name) in measured]
        there = list(dropwhile(lambda entry: entry[1].mean() > (1 - LEARNT) * guessing, named))
        if len(there) < 2:
            continue
        places = np.array([size.per_class for size, _ in there])
        errors = [row for _, row in there]
        means = np.array([row.mean() for row in errors])
        # Other draws for another way: what is not known of one has nothing to do with the other.
        laws[way] = fit_power_law(places, means, deviations_of(places, errors, images), seed=number)
    return laws


def _check(adapt: Sequence[str], repeats: int) -> None:
    if isinstance(adapt, str) or not adapt or len(set(adapt)) < len(adapt):
        raise UsageError(f"expected ways to adapt, each once, such as scratch,probe,finetune, got {adapt!r}")
    if repeats < 1:
        raise UsageError(f"repeats must be at least 1, got {repeats}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a learning curve is made by one process; start it without torchrun and accelerate")


def _configs(adapt: Sequence[str], options: dict[str, Any]) -> dict[str, Config]:
    """The settings of each way.

    Raises UsageError for a way or a setting that is unknown, or has a meaning for none of them.
    """
    configs = {way: configure(way, options_of(way, options)) for way in adapt}
    for name in options:
        if not any(name in options_of(way, options) for way in adapt):
            # It says why.
            configure(adapt[0], {name: options[name]})
    return configs


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out needs a folder")
    if not checkpoint.is_untouched(folder) and not (folder / "runs.jsonl").exists():
        begun = [path.name for path in folder.iterdir()] == ["runs"]
        if not begun:
            raise UsageError(f"{folder} is not empty and holds no learning curve (no runs.jsonl); choose another --out")


def _check_broken(source: Source) -> None:
    """All images are looked at once before the first of many trainings, not during it."""
    for name, split in source.splits.items():
        if broken := broken_images(split, f"reading {name}"):
            index, reason = next(iter(broken.items()))
            raise DataError(
                f"{counted(len(broken), 'image', 'images')} of {source.name} cannot be read, the first: "
                f"{name}/{split.ids[index]}: {reason}; saccade check --fix makes a copy without them"
            )
