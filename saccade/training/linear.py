"""A linear classifier on features, its regularisation chosen on held-out folds: logistic regression, or an SVM."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saccade import keyed
from saccade.progress import Progress

# How strongly large weights are punished: from hardly at all to so much that only the class means are left.
STRENGTHS = tuple(10.0**power for power in range(-6, 2))
FOLDS = 5
Solver = Callable[[Tensor, Tensor, int, float, Tensor | None], Tensor]


@dataclass(frozen=True)
class Linear:
    """logits = features @ weight.T + bias.

    weight  [K, D] float32
    bias    [K] float32
    tried   (strength, error in percent, loss: cross-entropy or hinge) on held-out folds; empty where there were too few
            to hold out
    chosen  the strength that was taken
    """

    weight: np.ndarray
    bias: np.ndarray
    tried: tuple[tuple[float, float, float], ...]
    chosen: float


def fit_linear(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, classes: int, seed: int, how: str = "logistic"
) -> Linear:
    """The mean loss plus strength / 2 times the sum of squared weights (not biases) made as small as it gets.

    The loss is the cross-entropy of the softmax ("logistic"), or for each class against all others the squared hinge
    ("svm", solved by scikit-learn's LinearSVC; its margins stand in place of logits, so its probabilities are but an
    order).

    features  [N, D] float
    labels    [N] int64, 0..K-1
    groups    [N] int64: rows of one image stay on one side when some are held out
    classes   K
    seed      of the folds

    Features are standardised first, and the result is for them as they came.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-6] = 1.0
    inputs = torch.from_numpy((features - mean) / deviation)
    targets = torch.from_numpy(labels)
    solver = {"logistic": _logistic, "svm": _svm}[how]
    tried = _tried(solver, inputs, targets, _folds(labels, groups, seed), classes)
    # The smallest loss: with few held-out images many strengths have the same error.
    chosen = min(tried, key=lambda row: row[2])[0] if tried else 1e-2
    solution = solver(inputs, targets, classes, chosen, None)
    weight = solution[:, :-1].numpy() / deviation
    bias = solution[:, -1].numpy() - weight @ mean
    return Linear(weight.astype(np.float32), bias.astype(np.float32), tried, chosen)


def _folds(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """[N] int64, the fold each row is held out in: every class spread over all of them as evenly as it goes.

    As many folds as the rarest class has images, at most FOLDS; no fold at all, -1, where a class has but one.
    """
    images, first = np.unique(groups, return_index=True)
    own = labels[first]
    count = min(FOLDS, int(np.bincount(own)[np.unique(own)].min()))
    if count < 2:
        return np.full(len(labels), -1)
    order = keyed.generator(seed, "folds").permutation(len(images))
    fold = np.empty(len(images), dtype=np.int64)
    start = 0
    for label in np.unique(own):
        mine = order[own[order] == label]
        # Each class begins where the last one stopped, so that the folds are of one size.
        fold[mine] = (start + np.arange(len(mine))) % count
        start += len(mine)
    return fold[np.searchsorted(images, groups)]


def _tried(
    solver: Solver, inputs: Tensor, targets: Tensor, folds: np.ndarray, classes: int
) -> tuple[tuple[float, float, float], ...]:
    """(strength, error in percent, loss) of every strength, each image predicted by what did not see it."""
    if folds.max() < 0:
        return ()
    wrong, loss = np.zeros(len(STRENGTHS)), np.zeros(len(STRENGTHS))
    with Progress("choosing the regularisation", int(folds.max()) + 1, "folds") as progress:
        for fold in range(folds.max() + 1):
            held = torch.from_numpy(folds == fold)
            solution = None
            # From strong to weak, each from where the last one ended: a short way every time.
            for place in reversed(range(len(STRENGTHS))):
                solution = solver(inputs[~held], targets[~held], classes, STRENGTHS[place], solution)
                logits = _logits(inputs[held], solution)
                wrong[place] += (logits.argmax(1) != targets[held]).sum().item()
                loss[place] += _loss(solver, logits, targets[held])
            progress.advance()
    count = len(targets)
    return tuple((s, 100 * w / count, v / count) for s, w, v in zip(STRENGTHS, wrong, loss, strict=True))


def _logits(inputs: Tensor, solution: Tensor) -> Tensor:
    return inputs @ solution[:, :-1].T + solution[:, -1]


def _loss(solver: Solver, logits: Tensor, targets: Tensor) -> float:
    """Of held-out rows together, as the solver counts it."""
    if solver is _logistic:
        return F.cross_entropy(logits, targets, reduction="sum").item()
    signs = 2 * F.one_hot(targets, logits.shape[1]) - 1
    return (1 - signs * logits).clamp(min=0).square().sum().item()


def _svm(inputs: Tensor, targets: Tensor, classes: int, strength: float, start: Tensor | None) -> Tensor:
    """[K, D + 1] float64, weights and last the biases; two classes have one plane, seen from either side."""
    from sklearn.svm import LinearSVC

    # scikit-learn adds C times the squared hinge losses to half of the sum of squared weights; the bias is a weight
    # too there, so it is made cheap by a large constant input.
    # The stubs want a word for `dual`.
    options: dict[str, Any] = {"intercept_scaling": 100, "dual": False, "max_iter": 10_000}
    machine = LinearSVC(C=1 / (strength * len(targets)), **options)
    machine.fit(inputs.numpy(), targets.numpy())
    planes = np.column_stack([machine.coef_, machine.intercept_])
    planes = np.concatenate([-planes, planes]) if len(machine.classes_) == 2 else planes
    solution = np.zeros((classes, planes.shape[1]))
    solution[machine.classes_] = planes
    return torch.from_numpy(solution)


def _logistic(inputs: Tensor, targets: Tensor, classes: int, strength: float, start: Tensor | None) -> Tensor:
    """[K, D + 1] float64, weights and last the biases, where the gradient vanishes (L-BFGS, Nocedal 1980)."""
    solution = torch.zeros(classes, inputs.shape[1] + 1, dtype=torch.float64) if start is None else start.clone()
    solution.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [solution],
        max_iter=300,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(_logits(inputs, solution), targets) + strength / 2 * solution[:, :-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)  # pyright: ignore[reportArgumentType]  (torch's own annotation asks for a float)
    return solution.detach()
