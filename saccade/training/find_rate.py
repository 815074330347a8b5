"""A learning-rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3).

The rate rises from next to nothing, by the same factor every step, until the loss runs away. What is trained on the way
is thrown away: the network and the norms' averages are as they were, to the bit; random numbers start anew with every
step anyway.
"""

import copy
import math
from dataclasses import dataclass

from saccade.progress import Progress
from saccade.training.loop import Job, take_step, wrap

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9  # of the loss, a step
RUN_AWAY = 4.0  # so many times the lowest loss, and it will not come back
SHARE = 0.1  # of the rate at which the loss is lowest: there it is about to rise


@dataclass(frozen=True)
class RateTest:
    """What a range test saw.

    rates     one a step, rising
    losses    of these steps, as they were
    smoothed  their running average, without the bias of its start
    ended     why it stopped
    found     the rate to train at; None where no rate made the loss fall
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    ended: str
    found: float | None


def find_rate(job: Job) -> RateTest:
    """Try learning rates on training batches, with what learns in the first epoch learning.

    Takes the rate that is a tenth of the one with the lowest smoothed loss. A loss that is no number ends the test and
    nothing else.
    """
    weights, optimiser = copy.deepcopy(job.model.state_dict()), copy.deepcopy(job.optimiser.state_dict())
    network = wrap(job)
    rates, losses = [], []
    ended = f"all {STEPS} steps were taken"
    job.freeze.hold(job.model, 0)
    job.display.say(f"trying {STEPS} learning rates")
    try:
        with Progress("trying learning rates", STEPS, "steps") as progress:
            for step, batch in enumerate(_batches(job)):
                rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
                parts = take_step(job, network, batch, rate, epoch=0, step=step)
                value = sum(part.item() for part in parts.values())
                if not math.isfinite(value):
                    ended = f"the loss was no number any more at {rate:.2g}"
                    break
                rates.append(rate)
                losses.append(value)
                progress.advance()
                smoothed = smooth(losses)
                if smoothed[-1] > RUN_AWAY * min(smoothed):
                    ended = f"the loss had run away at {rate:.2g}"
                    break
    finally:
        job.model.load_state_dict(weights)
        job.optimiser.load_state_dict(optimiser)
        job.optimiser.zero_grad()
    return RateTest(rates, losses, smooth(losses), ended, suggest(rates, losses))


def _batches(job: Job):
    """As many training batches as the test may take, epoch after epoch."""
    step, epoch = 0, 0
    while True:
        for batch in job.train.epoch(epoch):
            yield batch
            step += 1
            if step == STEPS:
                return
        epoch += 1


def smooth(losses: list[float]) -> list[float]:
    """The running average of losses, divided by the weight it has gathered so far (Kingma and Ba 2015, section 3)."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**step))
    return smoothed


def suggest(rates: list[float], losses: list[float]) -> float | None:
    """A tenth of the rate with the lowest smoothed loss; None where it never fell by a hundredth below the first."""
    smoothed = smooth(losses)
    if not smoothed or min(smoothed) > 0.99 * smoothed[0]:
        return None
    return SHARE * rates[smoothed.index(min(smoothed))]
