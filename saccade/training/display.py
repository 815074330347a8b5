"""What a person sees while training: a line an epoch, and on a terminal a bar with loss, error, speed and time left."""

import sys
import time
from typing import Any

# What is said of an epoch, by its name in the log, and its unit.
RESULTS = {
    "val/top1_error": ("error", "%"),
    "val/box/AP": ("AP", "%"),
    "val/mask/AP": ("mask AP", "%"),
    "val/keypoint/AP": ("keypoint AP", "%"),
    "val/mean_iou": ("mean IoU", "%"),
    "val/psnr": ("PSNR", "dB"),
}


class Display:
    """Draws on stderr. `quiet` for all but the first of several processes."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._result = ""

    def say(self, text: str) -> None:
        """One line."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def begin_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """An epoch (counted from 0) begins at step `done` of `steps`."""
        self._epochs, self._steps = epochs, steps
        self._started, self._first = time.monotonic(), epoch * steps + done
        if self.quiet or not sys.stderr.isatty():
            return
        if self._bar is None:
            from rich import progress
            from rich.console import Console

            columns = ("{task.description}", progress.BarColumn(), "{task.fields[now]}")
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(f"epoch {epoch + 1}/{epochs}", total=steps, now="")
        self._bar.reset(self._task, total=steps, completed=done, description=f"epoch {epoch + 1}/{epochs}", now="")

    def step(self, loss: float, speed: float) -> None:
        """A step is done: the epoch's mean loss so far, and images a second."""
        if self._bar is None:
            return
        self._bar.advance(self._task)
        done = int(self._bar.tasks[0].completed)
        epoch_now = self._first // self._steps
        remaining = self._epochs * self._steps - (epoch_now * self._steps + done)
        advanced = max(1, epoch_now * self._steps + done - self._first)
        left = remaining * (time.monotonic() - self._started) / advanced
        now = f"loss {loss:.4f}  {self._result}{speed:.0f} images/s  {clock(left)} left"
        self._bar.update(self._task, now=now)

    def begin_validation(self, images: int) -> None:
        """So many images are looked at, and told of by `advance`."""
        if self._bar is not None:
            self._bar.reset(self._task, total=images, description="validating", now="")

    def advance(self, images: int) -> None:
        """So many more are done."""
        if self._bar is not None:
            self._bar.advance(self._task, images)

    def end_epoch(self, numbers: dict[str, float]) -> None:
        """An epoch's line of the log, in words."""
        known = {name: said for name, said in RESULTS.items() if name in numbers}
        results = [f"{word} {numbers[name]:.2f} {unit}" for name, (word, unit) in known.items()]
        self._result = "".join(f"{result}  " for result in results)
        parts = [f"epoch {int(numbers['epoch']) + 1}/{self._epochs}", f"loss {numbers['train/loss']:.4f}"]
        if "val/loss" in numbers:
            parts.append(f"val loss {numbers['val/loss']:.4f}")
        parts += results
        parts.append(f"{numbers['timing/images_per_second']:.0f} images/s")
        parts.append(clock(numbers["timing/seconds"]))
        if self._bar is not None:
            self._bar.console.print("  ".join(parts), highlight=False, soft_wrap=True)
        else:
            self.say("  ".join(parts))

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def clock(seconds: float) -> str:
    """1:02:03, or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
