"""The text files that sets come with: lists, names of classes, YAML. Read within limits, since they may be hostile."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from saccade.data.findings import DataError

LARGEST = 1 << 26  # bytes of a text file
LARGEST_YAML = 1 << 17  # bytes: the names of some 6,000 classes
# What XML 1.0 cannot hold, and whatever ends a line.
UNFIT = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(file: Path) -> str:
    """The content of a file; raises DataError, naming it, when it is no text in UTF-8."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DataError(f"{file} has more than {LARGEST:,} bytes, which no list or annotation of one image has")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no text ({error}); save it as UTF-8") from None


def names_of(file: Path) -> tuple[str, ...]:
    """The names of classes that a file lists, a line each; raises DataError when one is there twice."""
    names = tuple(line.strip() for line in text_of(file).splitlines() if line.strip())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{file} names the class {twice!r} twice; remove or rename one")
    return names


def fit_names(names: Sequence[str], taken: re.Pattern[str] | None = None) -> tuple[tuple[str, ...], list[str]]:
    """Names of classes that stand on a line of a text file, all different; and in words, which ones were changed.

    taken  names that would mean something else in that file
    """
    fit: list[str] = []
    for name in names:
        plain = UNFIT.sub("_", name).strip() or "class"
        if taken is not None and taken.fullmatch(plain):
            plain = f"class {plain}"
        wanted, number = plain, 1
        while wanted in fit:
            number += 1
            wanted = f"{plain} {number}"
        fit.append(wanted)
    changed = [f"the class {old!r} became {new!r}" for old, new in zip(names, fit, strict=True) if old != new]
    return tuple(fit), changed


def yaml_of(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file, all of its values text, lists or mappings; raises DataError, naming the place."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_YAML + 1)
        if len(content) > LARGEST_YAML:
            raise DataError(f"{file} has more than {LARGEST_YAML:,} bytes; expected the description of a data set")
        found = yaml.load(content, Loader=_Loader)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        line = f": line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(f"{file}{line}: is no YAML that can be read here ({error.problem or error.context})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise DataError(f"{file}: is no YAML that can be read here ({reason})") from None
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected 'name: value' lines, as 'train: images/train' and 'names:'")
    return found


class _Loader(yaml.BaseLoader):
    """Makes only text, lists and mappings: the class "no" stays a word. Without aliases, which can repeat for ever."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="has an alias; write it out", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                problem = (
                    f"has {str(key.value)[:50]!r} twice" if isinstance(key, yaml.ScalarNode) else "has a list as a key"
                )
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
