"""The learning-rate range test: finds what is known by hand, survives NaN, leaves everything as it was."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import saccade
from saccade.errors import SaccadeError, UsageError
from saccade.recipes import fit as recipe
from saccade.training import find_rate
from saccade.training.find_rate import HIGHEST, LOWEST, STEPS, smooth, suggest


def fit(out: Path, **options: object) -> saccade.recipes.fit.Run:
    settings = {"model": "lenet", "epochs": 1, "batch_size": 64, "workers": 0} | options
    return saccade.fit("digits", out=out, **settings)


def test_smoothing_by_hand() -> None:
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([1.0, 2.0]) == pytest.approx([1.0, (0.09 * 1 + 0.1 * 2) / 0.19])


def test_a_tenth_of_the_lowest() -> None:
    rates = [10.0**power for power in range(-6, 2)]
    losses = [3.0, 2.9, 2.5, 2.0, 1.0, 30.0, 60.0, 90.0]
    assert suggest(rates, losses) == pytest.approx(1e-3)
    assert suggest(rates, [3.0] * 8) is None
    assert suggest(rates, [3.0, 4.0, 5.0]) is None
    assert suggest([], []) is None


def test_a_valley_of_which_the_best_rate_is_known() -> None:
    """Noisy gradient descent on w^2 / 2 diverges above a rate of 2: the loss is lowest before, and runs away after."""
    noise = np.random.default_rng(0)
    weight, rates, losses = 3.0, [], []
    for step in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        losses.append(1 + weight**2 / 2)
        rates.append(rate)
        weight -= rate * (weight + noise.normal(0, 0.3))
    found = suggest(rates, losses)
    assert found is not None
    assert 0.02 < found <= 0.2


def test_all_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained at the rate that was found: the same weights, to the bit, as if nobody had looked for it."""
    batch_norm = {"model": "resnet20_cifar", "size": 16, "batch_size": 128, "epochs": 1}
    run = fit(tmp_path / "found", find_rate=True, **batch_norm)
    assert "mathdefault" not in run.report.read_text(), "matplotlib's own notation is not for browsers"
    test = json.loads((run.path / "learning_rates.json").read_text())
    rate = test["found"]
    assert math.isclose(rate, 0.1 * test["rates"][test["smoothed"].index(min(test["smoothed"]))])
    assert "Loss by learning rate" in (run.path / "report.html").read_text()
    plain = fit(tmp_path / "plain", learning_rate=rate, **batch_norm)
    one, other = (load_file(path / "model.safetensors") for path in (run.path, plain.path))
    assert all(torch.equal(one[key], other[key]) for key in other)
    # Resumed, the run keeps what was found, and nothing is tried again.
    monkeypatch.setattr(recipe, "range_test", None)
    again = fit(run.path, find_rate=True, resume=True, **batch_norm)
    assert again.metrics["top1_error"] == run.metrics["top1_error"]


@pytest.mark.parametrize("when", [0, 40])
def test_a_loss_that_is_no_number(when: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the test; where something was learnt before, the run goes on."""
    steps = 0
    whole = find_rate.take_step

    def breaks(*arguments: object, **named: object) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        losses = whole(*arguments, **named)
        return {"classification": torch.tensor(math.nan)} if steps > when else losses

    monkeypatch.setattr(find_rate, "take_step", breaks)
    if when == 0:
        with pytest.raises(SaccadeError, match=r"no learning rate made the loss fall .*no number any more at 1e-06"):
            fit(tmp_path / "run", find_rate=True)
        assert not (tmp_path / "run").exists()
    else:
        monkeypatch.setattr(find_rate, "suggest", lambda rates, losses: 1e-3)
        run = fit(tmp_path / "run", find_rate=True)
        test = json.loads((run.path / "learning_rates.json").read_text())
        assert len(test["losses"]) == 40
        assert "no number any more" in test["ended"]
        assert all(map(math.isfinite, test["losses"]))


def test_where_it_has_no_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no use here: 0\.1 was given already"):
        fit(tmp_path / "run", find_rate=True, learning_rate=0.1)
    assert not (tmp_path / "run").exists()
