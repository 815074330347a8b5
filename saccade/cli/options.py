"""Options that several verbs share, and how a setting is read from `--set name=value` or a TOML file."""

import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
SkipBroken = Annotated[bool, typer.Option("--skip-broken", help="Go on without what cannot be read; list it.")]
Data = Annotated[str, typer.Argument(help="A folder or file of any format, or: digits, scenes, photos.")]


def read_settings(config: Path | None, assignments: list[str]) -> dict[str, Any]:
    """Settings of a TOML file, then those of `name=value` strings, which win."""
    settings: dict[str, Any] = {}
    if config is not None:
        try:
            settings = tomllib.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{config} cannot be read ({error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{config} is not TOML: {error}") from None
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set takes name=value, got {assignment!r}")
        settings[name.strip()] = _value(value.strip())
    return settings


def refuse_arguments(settings: Mapping[str, Any], recipe: Callable[..., Any]) -> None:
    """Raise UsageError for what is no setting but an argument of the recipe itself, which has an option of its own."""
    own = inspect.signature(recipe).parameters
    for name in settings:
        if name in own and name != "options":
            raise UsageError(f"{name} is no setting of a training; --help lists the options beside --set")


def _value(text: str) -> Any:
    """A TOML value; what is none is a word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
