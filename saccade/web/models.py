"""The models that a service has: loaded once, warmed, and replaced without a request being dropped."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from saccade.errors import SaccadeError, UsageError, unknown
from saccade.memory import keep_freed_memory
from saccade.predict import Predictor, load, weights_for
from saccade.progress import track
from saccade.recipes.neighbours import Neighbourhood, keep_neighbourhood, open_neighbourhood
from saccade.web.limits import Limits
from saccade.web.runner import Runner, Warm, warm_up

WARM_UP = 600.0  # seconds until a model that replaces another must have its turn


@dataclass(frozen=True)
class Run:
    """What to serve.

    path     a run directory; with `weights` a name of the catalogue
    weights  "imagenet" or another published name
    """

    path: str
    weights: str | None = None

    @property
    def name(self) -> str:
        return Path(self.path).resolve().name if self.weights is None else self.path


@dataclass(frozen=True, eq=False)
class Served:
    """One model.

    name        what requests call it
    neighbours  the pictures it was trained on, to be searched, where the run has them
    """

    name: str
    run: Run
    warm: Warm
    neighbours: Neighbourhood | None = None

    @property
    def predictor(self) -> Predictor:
        return self.warm.predictor


class Models:
    """What is served, by name. A request takes its model once, and keeps it whatever happens here meanwhile."""

    def __init__(
        self,
        runs: Sequence[Run],
        runner: Runner,
        limits: Limits,
        device: str | None = None,
        precision: str = "float32",
        neighbours: bool = False,
    ) -> None:
        """Raises UsageError where a run is none or two have one name, SaccadeError where one is damaged.

        neighbours  look through what each run was trained on, where that was not done before
        """
        self.runner, self.limits, self.device, self.precision = runner, limits, device, precision
        self.with_neighbours = neighbours
        names = [run.name for run in runs]
        if not names:
            raise UsageError("There is nothing to serve: name a run directory, or a network with --weights")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(
                f"Two of the runs are called {twice[0]!r}; a request could not tell them apart: rename one"
            )
        self._changing = threading.Lock()
        self._served = {run.name: self._loaded(run) for run in track(runs, "loading models", len(runs))}

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __getitem__(self, name: str | None) -> Served:
        """A model by its name; None is the first. Raises UsageError for one that is not served."""
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise unknown("model", name, self._served)
        return self._served[name]

    def reload(self) -> dict[str, str]:
        """Load all runs again, one after the other, while the old ones go on answering. What cannot be loaded stays as
        it was; returns why, by name."""
        failed = {}
        with self._changing:
            for name, served in list(self._served.items()):
                try:
                    self._served[name] = self._loaded(served.run)
                except SaccadeError as error:
                    failed[name] = str(error)
        return failed

    def _loaded(self, run: Run) -> Served:
        predictor = load(run.path, device=self.device, precision=self.precision, weights=run.weights)
        if predictor.device.type == "cpu":
            keep_freed_memory()
        warm = self.runner.call(lambda: warm_up(predictor, self.limits), WARM_UP).result()
        if run.weights is not None:
            return Served(run.name, run, warm)
        try:
            find = keep_neighbourhood if self.with_neighbours else open_neighbourhood
            return Served(run.name, run, warm, find(predictor, Path(run.path)))
        except SaccadeError as error:
            raise SaccadeError(
                f"{run.path} cannot show neighbours: {error}; start where its data lie, or without --neighbours"
            ) from None


def runs_of(paths: Sequence[str], weights: str | None) -> list[Run]:
    """What a person names."""
    return [Run(path, weights_for(path, weights)) for path in paths]
