"""The one training loop, for every task: read it from top to bottom.

A run that is killed at any moment goes on from its last checkpoint and ends with the weights, to the bit, of a run that
was never killed: what is random is keyed by the step, and all else is in the checkpoint.
"""

import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from saccade import checkpoint, keyed, precision
from saccade.data.loader import Loader
from saccade.errors import SaccadeError
from saccade.layers.preprocess import Preprocess
from saccade.memory import keep_freed_memory
from saccade.progress import Progress
from saccade.structures import Batch
from saccade.tasks.contract import Metric, Task
from saccade.training.config import Config
from saccade.training.display import Display
from saccade.training.freeze import Freeze
from saccade.training.mixing import mix, mix_objects
from saccade.training.optim import rate_at, rates_of, set_rates


class Network(nn.Module):
    """What a step computes, as one module, so that data-parallel training sees every call into the model."""

    def __init__(self, task: Task, model: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        self.task, self.model, self.preprocess = task, model, preprocess
        self.dtype: torch.dtype = dtype

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # accelerate's own switch holds for the whole process; two runs in one may want different ones.
        with torch.autocast(batch.images.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.task.loss(self.model, self.preprocess(batch.images), batch)


@dataclass
class Position:
    """Where a run stands. Everything here is in the checkpoint.

    step      batches of this epoch that are done
    loss      their losses, added up
    seconds   spent so far, in all lives of the run
    best      the lowest objective so far, and the epoch that had it
    log       length of log.jsonl in bytes
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    best: float = math.inf
    best_epoch: int = -1
    log: int = 0


@dataclass
class Job:
    """All that a training needs. It is handed a model, it never makes one.

    fingerprint  of the data: a checkpoint made with other data is refused
    freeze       what does not learn, or not yet
    """

    model: nn.Module
    task: Task
    preprocess: Preprocess
    optimiser: torch.optim.Optimizer
    train: Loader
    val: Loader | None
    config: Config
    folder: Path
    accelerator: Accelerator
    fingerprint: str
    display: Display = field(default_factory=Display)
    freeze: Freeze = field(default_factory=Freeze)


@dataclass
class _Session:
    """A run while it runs.

    network  computes the losses of a batch, on every process; None before the first epoch
    kept     what is evaluated and saved: the average of the weights where there is one, else the model
    begun    when the run began, by the clock of this process; earlier lives count
    saved    when it was last saved
    """

    job: Job
    network: nn.Module | None
    average: nn.Module | None
    position: Position
    begun: float
    saved: float

    @property
    def kept(self) -> nn.Module:
        return self.job.model if self.average is None else self.average

    def save(self) -> None:
        """Write the checkpoint, if this is the process that does."""
        self.position.seconds = time.monotonic() - self.begun
        if self.job.accelerator.is_main_process:
            _save(self.job, self.average, self.position)
        self.saved = time.monotonic()


def train(job: Job, resume: bool) -> Position:
    """Train, and leave the weights to use in `job.folder`. With `resume`, go on from the checkpoint there."""
    if job.accelerator.device.type == "cpu":
        keep_freed_memory()
    average = copy.deepcopy(job.model) if job.config.ema else None
    position = _restore(job, average) if resume else Position()
    now = time.monotonic()
    session = _Session(job, None, average, position, begun=now - position.seconds, saved=now)
    try:
        while position.epoch < job.config.epochs and not _patience_is_over(position, job.config):
            speed = _train_epoch(session)
            _close_epoch(session, speed)
    except KeyboardInterrupt:
        job.display.end()
        job.display.say(f"stopped in epoch {position.epoch + 1}; --resume goes on from the last checkpoint")
        raise
    finally:
        job.display.end()
    job.accelerator.wait_for_everyone()
    return position


def _train_epoch(session: _Session) -> float:
    """The steps of one epoch, from where the position is; returns images a second."""
    job, position, config = session.job, session.position, session.job.config
    job.freeze.hold(job.model, position.epoch)
    if session.network is None or position.epoch in job.freeze.begins.values():
        # Data-parallel training asks once which parameters have gradients.
        session.network = None
        job.accelerator.free_memory()
        session.network = wrap(job)
    job.display.begin_epoch(position.epoch, config.epochs, len(job.train), position.step)
    begun, images = time.monotonic(), 0
    for batch in job.train.epoch(position.epoch, position.step):
        step = position.epoch * len(job.train) + position.step
        rate = rate_at(step, len(job.train), config)
        losses = take_step(job, session.network, batch, rate, position.epoch, step)
        value = sum(part.item() for part in losses.values())
        if not math.isfinite(value):
            raise _not_finite(losses, batch, position, step, rate)
        if session.average is not None:
            _move_average(session.average, job.model, config.ema or 0.0, step)

        position.step += 1
        position.loss += value
        images += len(batch) * job.accelerator.num_processes
        job.display.step(position.loss / position.step, images / (time.monotonic() - begun))
        if time.monotonic() - session.saved > config.checkpoint_seconds:
            session.save()
    return images / (time.monotonic() - begun)


def wrap(job: Job) -> nn.Module:
    """The computation of a step, on as many processes as there are."""
    dtype = precision.choose(job.config.precision, job.accelerator.device)
    return job.accelerator.prepare(Network(job.task, job.model, job.preprocess, dtype))


def take_step(job: Job, network: nn.Module, batch: Batch, rate: float, epoch: int, step: int) -> dict[str, Tensor]:
    """One step of the optimiser at this learning rate; none where the loss is not a number.

    step  counted over the whole run

    Returns the losses, whose sum is what was made smaller.
    """
    set_rates(job.optimiser, rate, epoch)
    # Dropout and whatever else draws from torch repeats when the step is repeated.
    torch.manual_seed(keyed.seed(job.config.seed, step, job.accelerator.process_index))
    batch, config = batch.to(job.accelerator.device), job.config
    if (config.mixup or config.cutmix) and epoch < config.epochs - config.close_mosaic:
        rng = keyed.generator(config.seed, "mix", step, job.accelerator.process_index)
        if job.task.known == "objects":
            batch = mix_objects(batch, config.mixup, rng)
        else:
            batch = mix(batch, len(job.task.classes), config.mixup, config.cutmix, rng)
    losses = network(batch)
    loss = torch.stack(list(losses.values())).sum()
    if math.isfinite(loss.item()):
        job.accelerator.backward(loss)
        if config.clip:
            nn.utils.clip_grad_norm_(job.model.parameters(), config.clip)
        job.optimiser.step()
        job.optimiser.zero_grad()
    return losses


def _close_epoch(session: _Session, speed: float) -> None:
    """Validate, write a line of the log, keep the weights that are to be kept, and save."""
    job, position = session.job, session.position
    numbers = {"train/loss": position.loss / max(1, position.step)}
    last = position.epoch + 1 == job.config.epochs
    due = last or (position.epoch + 1) % job.config.validate_every == 0
    # Without validation the latest is the best; in an epoch without one nothing is known.
    objective = math.inf if job.val is not None else -position.epoch
    if job.val is not None and due:
        _share_buffers(session.kept, job.accelerator)
        job.display.begin_validation(len(job.val.dataset))
        result = evaluate(job.task, session.kept, job.preprocess, job.val, job.accelerator, job.display).result()
        numbers |= {f"val/{name}": number for name, number in result.items() if math.isfinite(number)}
        objective = job.task.objective(result)
    position.seconds = time.monotonic() - session.begun
    _log(job, position, numbers, speed)
    if objective < position.best:
        position.best, position.best_epoch = objective, position.epoch
    # With patience the best epoch's weights are the ones to use, without it the last ones. They are written before the
    # checkpoint: killed in between, the run does this epoch's end again and writes the same.
    if job.accelerator.is_main_process and (job.config.patience is None or position.best_epoch == position.epoch):
        checkpoint.save_weights(job.folder, session.kept.state_dict())
    position.epoch, position.step, position.loss = position.epoch + 1, 0, 0.0
    session.save()


@torch.no_grad()
def evaluate(
    task: Task,
    model: nn.Module,
    preprocess: Preprocess,
    loader: Loader,
    accelerator: Accelerator | None = None,
    progress: Progress | Display | None = None,
) -> Metric:
    """Every image of the loader, once, in float32 (in bfloat16 the last digits would depend on the batch size).

    accelerator  with several processes, each has its share and all get the whole result
    progress     is told of every image
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    metric = task.metric()
    for batch in loader.epoch():
        batch = batch.to(device)
        predictions = task.predict(model, preprocess, batch)
        for prediction, truth, id in zip(predictions, batch.truths, batch.ids, strict=True):
            metric.update(prediction, truth, id)
        if progress is not None:
            progress.advance(len(batch))
    model.train(was_training)
    if accelerator is not None and accelerator.num_processes > 1:
        merged = task.metric()
        for share in gather_object([metric]):
            merged.merge(share)
        return merged
    return metric


def _patience_is_over(position: Position, config: Config) -> bool:
    return config.patience is not None and position.epoch - 1 - position.best_epoch >= config.patience


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """average <- decay * average + (1 - decay) * model; early on it follows faster, so that the start is forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    for mine, other in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(other, 1 - decay)
    for mine, other in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _share_buffers(model: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the first one's batch-norm statistics, so that all evaluate the network that is saved."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)


def _not_finite(losses: dict[str, Tensor], batch: Batch, position: Position, step: int, rate: float) -> SaccadeError:
    named = ", ".join(f"{name} {value.item():g}" for name, value in losses.items())
    return SaccadeError(
        f"The loss is not a number any more ({named}) at step {step}, batch {position.step} of epoch "
        f"{position.epoch + 1}, learning rate {rate:g}. The images of this batch: {', '.join(batch.ids)}. "
        + (
            "Try a smaller learning rate, or --set clip=1; the last checkpoint is intact"
            if step
            else "It was none at once: the weights it starts from are damaged, or far from what this network expects"
        )
    )


def _log(job: Job, position: Position, numbers: dict[str, float], speed: float) -> None:
    rate = rate_at(position.epoch * len(job.train) + max(0, position.step - 1), len(job.train), job.config)
    timing = {"timing/seconds": round(position.seconds, 3), "timing/images_per_second": round(speed, 2)}
    rates = {f"rate/{part}": own for part, own in rates_of(job.optimiser).items()}
    line = {"epoch": position.epoch, "learning_rate": rate} | (rates if len(rates) > 1 else {}) | numbers | timing
    job.display.end_epoch(line)
    if job.accelerator.is_main_process:
        position.log = checkpoint.append_line(job.folder / "log.jsonl", json.dumps(line))


def _save(job: Job, average: nn.Module | None, position: Position) -> None:
    state = {
        "fingerprint": job.fingerprint,
        "model": job.model.state_dict(),
        "optimiser": job.optimiser.state_dict(),
        "average": average.state_dict() if average is not None else None,
        "position": vars(position),
    }
    checkpoint.save_state(job.folder, state)


def _restore(job: Job, average: nn.Module | None) -> Position:
    """Take everything from the checkpoint; without one, start afresh and say so."""
    log = job.folder / "log.jsonl"
    state = checkpoint.load_state(job.folder)
    if state is None:
        job.display.say(f"{job.folder} has no checkpoint: starting afresh")
        if job.accelerator.is_main_process:
            checkpoint.cut(log, 0)
        return Position()
    if state.get("fingerprint", job.fingerprint) != job.fingerprint:
        raise SaccadeError(
            f"{job.folder} was trained on other images or labels than these; resume with the same data, "
            f"or train into another folder with --out"
        )
    try:
        job.model.load_state_dict(state["model"])
        job.optimiser.load_state_dict(state["optimiser"])
        if average is not None:
            average.load_state_dict(state["average"])
        position = Position(**state["position"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SaccadeError(
            f"{job.folder / 'state.pt'} does not fit this run ({error}); delete it to start afresh"
        ) from None
    if job.accelerator.is_main_process:
        checkpoint.cut(log, position.log)
    if position.epoch >= job.config.epochs:
        job.display.say(f"all {position.epoch} epochs are done already; evaluating again")
    else:
        job.display.say(f"resuming at epoch {position.epoch + 1}, step {position.step}")
    return position
