"""The run directory: weights, what they are, and where training stood. Safe to kill at any moment, safe to load.

    model.safetensors   the weights
    model.toml          name, task, classes, preprocessing, settings
    state.pt            optimiser and position, only to resume; tensors and plain values, never unpickled otherwise
    log.jsonl           one line an epoch
    metrics.json        the result
    report.html         the page

Each file but the log is written under another name, synced and renamed: a reader sees the old one or the new one.
"""

import errno
import io
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w
import torch
from pydantic import TypeAdapter
from torch import Tensor

from saccade.errors import SaccadeError, UsageError
from saccade.structures import Preprocessing, Skeleton

FORMAT = 1

# What a kill can leave in a run directory before its first file, model.toml, is whole.
BEFORE_THE_CARD = frozenset({".writable", ".running", "model.toml.part"})


@dataclass(frozen=True)
class Card:
    """What a file of weights is.

    model    its name in the catalogue
    task     what is asked of it
    classes  K names, in the order of its outputs
    adapt    how it was trained
    config   the settings it was trained with, as plain values
    data     the name of the data it was trained on
    options  what its builder was told besides the number of classes
    skeleton what its keypoints are, where it finds some
    """

    model: str
    task: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    adapt: str = "scratch"
    weights: str = ""
    data: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    skeleton: Skeleton | None = None


def write(path: Path, content: bytes | str) -> None:
    """Put a file in place, whole or not at all.

    Raises SaccadeError when it cannot be written; what stood there before still does.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SaccadeError(_why(path, error)) from None


def _why(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{path} cannot be saved: no space left. What was saved before is intact; free some space "
            f"(training goes on with --resume)"
        )
    return f"{path} cannot be written ({error.strerror}); choose another folder with --out"


def check_writable(path: Path) -> None:
    """Raise SaccadeError, before the work and without leaving a trace, where a folder clearly cannot be made."""
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    code = None if there.is_dir() else errno.ENOTDIR
    if code is None and not os.access(there, os.W_OK | os.X_OK):
        code = errno.EACCES
    if code is not None:
        raise SaccadeError(_why(path, OSError(code, os.strerror(code))))


def make_folder(path: Path) -> None:
    """The run directory, made if need be and found writable.

    Raises SaccadeError when it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / ".writable").write_bytes(b"")
        (path / ".writable").unlink()
    except OSError as error:
        raise SaccadeError(_why(path, error)) from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder at the same time; a process that is killed lets go.

    Raises SaccadeError when another one does.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    mark = folder / ".running"
    with mark.open("ab") as file:
        try:
            # Of the process, not of the file: those that load images must not hold it when this one is killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise SaccadeError(
                    f"{folder} is being written by another training; wait for its end, or choose another --out"
                ) from None
            # Some shared disks know no locks; then nobody is kept away.
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def is_untouched(folder: Path) -> bool:
    """Whether nothing stands in the folder but what a run killed at its very beginning leaves there."""
    return not folder.is_dir() or {path.name for path in folder.iterdir()} <= BEFORE_THE_CARD


def forget_beginning(folder: Path) -> None:
    """Take away the card of a run that ended before anything else was written, so that it can be begun anew."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - {".running"} == {"model.toml"}:
        (folder / ".running").unlink(missing_ok=True)
        (folder / "model.toml").unlink()
        folder.rmdir()


def save_weights(folder: Path, state: dict[str, Tensor]) -> None:
    """model.safetensors."""
    from safetensors.torch import save

    write(folder / "model.safetensors", save({key: value.contiguous() for key, value in state.items()}))


def save_card(folder: Path, card: Card) -> None:
    """model.toml."""
    from saccade import __version__

    values = {"format": FORMAT, "saccade": __version__} | asdict(card)
    write(folder / "model.toml", tomli_w.dumps(without_none(values)))


def load_card(folder: Path) -> Card:
    """What model.toml says.

    Raises UsageError when there is no run directory, SaccadeError when it is damaged or from a newer saccade.
    """
    path = folder / "model.toml"
    if not path.is_file():
        raise UsageError(f"{folder} is not a run directory: it has no model.toml")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        version = values.pop("format")
        made_by = values.pop("saccade")
        if not isinstance(version, int):
            raise ValueError(f"its format must be a whole number, not {version!r}")
        if version > FORMAT:
            raise SaccadeError(
                f"{folder} was written by saccade {made_by} in format {version}, this one reads up to {FORMAT}; "
                f"update saccade"
            )
        if unknown := values.keys() - {field.name for field in fields(Card)}:
            raise ValueError(f"it has the unknown entries {', '.join(sorted(unknown))}")
        return TypeAdapter(Card).validate_python(values)
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SaccadeError(f"{path} is damaged ({reason}); train again, or restore it from a copy") from None


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors.

    Raises SaccadeError when there are none yet, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        raise SaccadeError(f"{folder} has no model.safetensors yet: its first epoch was not finished; --resume it")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SaccadeError(f"{path} is damaged ({error}); train again, or restore it from a copy") from None


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """state.pt: tensors and plain values."""
    content = io.BytesIO()
    torch.save({"format": FORMAT} | state, content)
    write(folder / "state.pt", content.getvalue())


def load_state(folder: Path) -> dict[str, Any] | None:
    """What state.pt holds; None when there is none.

    Raises SaccadeError when it is damaged, from a newer saccade, or holds anything that would run code.
    """
    path = folder / "state.pt"
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = int(state["format"])
    except Exception as error:  # torch raises many kinds on damaged and on hostile files
        reason = str(error).strip().split("\n")[0][:200]
        raise SaccadeError(
            f"{path} was not loaded: it is damaged, or holds more than tensors and plain values ({reason}). "
            f"Delete it to start this run afresh"
        ) from None
    if version > FORMAT:
        raise SaccadeError(f"{path} has format {version}, this saccade reads up to {FORMAT}; update saccade")
    return state


def append_line(path: Path, line: str) -> int:
    """Add a line to a log, synced; returns the length of the log in bytes."""
    try:
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except OSError as error:
        raise SaccadeError(_why(path, error)) from None


def cut(path: Path, length: int) -> None:
    """Forget what a log says beyond `length` bytes."""
    if path.exists() and path.stat().st_size > length:
        os.truncate(path, length)


def without_none(values: Any) -> Any:
    """TOML has no null: what is None is left out."""
    if isinstance(values, dict):
        return {key: without_none(value) for key, value in values.items() if value is not None}
    return list(values) if isinstance(values, tuple) else values
