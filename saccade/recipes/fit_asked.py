"""What `fit` is asked for, with all that nobody said chosen: a network, where it starts, the way, the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saccade.backbones.probed import without_probe
from saccade.backbones.weights import Weights
from saccade.checkpoint import load_card
from saccade.data import source as sources
from saccade.data.findings import Findings
from saccade.data.source import Source
from saccade.errors import UsageError
from saccade.models import check_options, class_of, find_weights, task_of
from saccade.recipes.choose import Choice, choose
from saccade.recipes.fit_checks import check_adapt, network_of
from saccade.training.config import Config, configure, of_steps


@dataclass(frozen=True)
class Asked:
    """One training, as it is to be.

    data     as it was given, or read where it had to be looked at to choose
    weights  what was given or chosen, as a card names it; None for none
    found    the file of these
    why      what was chosen, in words on one line; "" where the network was named
    """

    data: str | Path | Source
    model: str
    weights: str | Path | None
    found: Weights | None
    adapt: str
    config: Config
    why: str

    @property
    def task(self) -> str:
        return task_of(self.model)


def ask(
    data: str | Path | Source,
    folder: Path,
    model: str | None,
    weights: str | Path | None,
    adapt: str | None,
    resume: bool,
    find_rate: bool,
    options: Mapping[str, Any],
    findings: Findings,
) -> Asked:
    """Arguments and errors as of `fit`.

    findings  where what is wrong with the data is put
    """
    options, chosen = dict(options), None
    begun = load_card(Path(weights)) if weights and (Path(weights) / "model.toml").is_file() else None
    if begun is not None and model in (None, begun.model):
        model = begun.model
        if network := begun.options | network_of(options):
            options["network"] = network
    if adapt == "scratch":
        check_adapt(adapt, weights)  # what is chosen for it has no weights, and would leave out those that were given
    if model is None:
        data = data if isinstance(data, Source) else sources.read(data, findings)
        chosen = _begun(folder) if resume else None
        chosen = chosen or choose(data, weights, adapt, "find_rate" if find_rate else of_steps(options))
        model, weights, adapt = chosen.model, chosen.weights, chosen.adapt
        if chosen.network:
            options["network"] = chosen.network | network_of(options)
    adapt = adapt or ("finetune" if weights else "scratch")
    config = configure(adapt, options, task_of(model), getattr(class_of(model), "recipe", None))
    check_adapt(adapt, weights)
    if find_rate and (adapt == "probe" or options.get("learning_rate") is not None):
        why = "a probe takes no steps" if adapt == "probe" else f"{options['learning_rate']} was given already"
        raise UsageError(f"trying learning rates has no use here: {why}; leave one of the two out")
    check_options(model, dict(config.network))
    if begun is None:
        found = find_weights(model, weights, **config.network) if weights else None
    else:
        convert = without_probe if begun.adapt == "probe" else None
        found = Weights(Path(str(weights)) / "model.safetensors", begun.preprocessing, begun.classes, convert)
    return Asked(data, model, weights, found, adapt, config, _in_words(chosen, config) if chosen else "")


def _begun(folder: Path) -> Choice | None:
    """What a run was begun with; None where it has not begun."""
    if not (folder / "model.toml").exists():
        return None
    card = load_card(folder)
    return Choice(card.model, card.weights or None, card.adapt, "what was begun", card.config.get("network", {}))


def _in_words(chosen: Choice, config: Config) -> str:
    on = f" on {config.network['backbone']}" if "backbone" in config.network else ""
    return f"chosen: {chosen.adapt} with {chosen.model}{on}. {chosen.why}"
