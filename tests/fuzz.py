"""Damages the annotation files of a small set in a thousand ways, and sees that each gets an answer in words.

    python tests/fuzz.py FORMAT COUNT SEED FOLDER

Prints a line of JSON: how many were read, how many were refused, what was wrong (nothing, if all is well), the slowest
one in seconds of processor time, and by how many bytes the memory grew.
"""

import json
import random
import re
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sets import everything

from saccade.data.check import check
from saccade.data.findings import Findings
from saccade.data.formats.catalogue import WRITABLE
from saccade.data.source import Source, read
from saccade.errors import SaccadeError
from saccade.geometry.masks import bitmap

SUFFIXES = {
    "coco": (".json",),
    "voc": (".xml", ".txt"),
    "yolo": (".txt", ".yaml"),
    "csv": (".csv",),
    "masks": (".txt", "masks/*.png"),
}
NASTY: list[Any] = [
    None, True, "", "x", "\u0000", "é" * 3, -1, 0, 1, 0.5, -0.0, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), [], [[]], {}, {"a": 1}, [1], [1, 2, 3], [None] * 4, ["1"] * 4, [1e9] * 4,
    [10**12, 10**12], {"size": [10**6, 10**6], "counts": "0" * 20}, {"size": [40, 60], "counts": [10**12]},
    {"size": [-1, 5], "counts": []}, "../../../../etc/passwd", "/etc/passwd", "a" * 5000, "1e999", "../..",
]  # fmt: skip
WORDS = [b"NaN", b"Infinity", b"-1", b"1e308", b"1e999", b"9" * 400, b"0x10", b"", b"null", b"\x00", b"\xff\xfe",
         b"]]>", b"<!--", b"&lt;", b"&bomb;", b"{", b"}", b"[" * 9, b",", b'"', b"\n", b"- ", b": ", b"*a",
         b"&a ", b"inf", b"nan", b"1 " * 2000, b"\xf0\x9f\x92\xa3", b"1_000", b"<object>" * 9, b"0.5 " * 7]  # fmt: skip


def xml_bomb(rng: random.Random) -> bytes:
    """Entities that unfold to 10 to the ninth letters, or one that reads a file."""
    if rng.random() < 0.3:
        return (
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>'
        )
    levels = b"".join(b'<!ENTITY b%d "%s">' % (i, b"&b%d;" % (i - 1) * 10) for i in range(1, 10))
    return b'<!DOCTYPE a [<!ENTITY b0 "lollollol">%s]><annotation><filename>&b9;</filename></annotation>' % levels


def yaml_bomb(rng: random.Random) -> bytes:
    """Aliases that unfold to 10 to the ninth entries."""
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)]
    return b"\n".join([*lines, b"names: *a9", b"train: *a9"])


def deep(rng: random.Random) -> bytes:
    """Brackets, or elements, a hundred thousand deep."""
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b'{"annotations":[', b"]}")])
    return opening * 100_000 + rng.choice([b"", closing * 100_000])


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """A few changes that know nothing of the format."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[place : place + rng.choice([1, 1, 10])] = rng.choice(WORDS)
            case 1:
                del data[place:]
            case 2:
                data[place:place] = data[max(0, place - rng.randrange(1, 200)) : place]
            case 3 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case _:
                tokens = list(re.finditer(rb"-?\d[\d.eE+-]*|[A-Za-z_]+", bytes(data)))
                if tokens:
                    token = rng.choice(tokens)
                    data[token.start() : token.end()] = rng.choice(WORDS)
    return bytes(data)


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """One or two values of a JSON document replaced, removed or doubled."""
    document = json.loads(content)
    for _ in range(rng.choice([1, 1, 2])):
        node, steps = document, rng.randrange(1, 6)
        for _ in range(steps):
            if not isinstance(node, dict | list) or not node:
                break
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            if rng.random() < 1 / steps or not isinstance(node[key], dict | list):
                change(node, key, rng)
                break
            node = node[key]
    return json.dumps(document).encode()


def change(node: Any, key: Any, rng: random.Random) -> None:
    what = rng.random()
    if what < 0.15:
        del node[key]
    elif what < 0.25 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = rng.choice(NASTY)


def damaged(path: Path, content: bytes, rng: random.Random) -> bytes:
    """The content of an annotation file after an accident, or an attack."""
    special: dict[str, Callable[[random.Random], bytes]] = {".xml": xml_bomb, ".yaml": yaml_bomb}
    if rng.random() < 0.02:
        return rng.choice([deep, special.get(path.suffix, deep)])(rng)
    if path.suffix == ".json" and rng.random() < 0.6:
        return damaged_json(content, rng)
    return damaged_bytes(content, rng)


def walk(source: Source) -> None:
    """Make everything that was read: masks as pixels, label maps."""
    for split in source.splits.values():
        for index in range(len(split)):
            if split.objects is not None:
                instances = split.objects[index]
                for mask in instances.masks or ():
                    if mask is not None and 0 not in instances.size:
                        bitmap(mask, instances.size)
            if split.label_maps is not None:
                _ = split.label_maps[index]


def answer(data: Path, path: Path) -> tuple[str, str]:
    """("read" or "refused", what is wrong with that)."""
    outcome, wrong = "read", ""
    try:
        walk(read(data))
    except SaccadeError as error:
        outcome = "refused"
        if not any(part in str(error) for part in (path.name, path.stem, str(data))):
            wrong = f"names no place: {error}"
        if len(str(error)) > 3000:
            wrong = f"is {len(str(error))} letters long: {str(error)[:200]}"
    except BaseException:
        wrong = traceback.format_exc()
    try:
        findings = Findings(strict=False)
        check(read(data, findings), findings.kept)
    except SaccadeError:
        pass
    except BaseException:
        wrong = traceback.format_exc()
    return outcome, wrong


def main(name: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    warnings.simplefilter("error")
    data = folder / "set"
    WRITABLE[name].write(everything(folder / "origin", images=3), data)
    files = sorted(
        path for pattern in SUFFIXES[name] for path in data.rglob(pattern if "*" in pattern else f"*{pattern}")
    )
    walk(read(data))
    rng = random.Random(seed)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally: dict[str, Any] = {"read": 0, "refused": 0, "wrong": [], "slowest": 0.0}
    for number in range(count):
        path = rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(damaged(path, content, rng))
        start = time.process_time()
        outcome, wrong = answer(data, path)
        seconds = time.process_time() - start
        tally[outcome] += 1
        tally["slowest"] = max(tally["slowest"], seconds)
        if wrong or seconds > 1:
            kept = folder / f"case{number}{path.suffix}"
            kept.write_bytes(path.read_bytes())
            tally["wrong"].append(f"{kept} as {path}: {wrong or f'took {seconds:.1f} s'}")
        path.write_bytes(content)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun
    return tally | {"grown": grown * 1024}


if __name__ == "__main__":
    format_name, amount, own_seed, where = sys.argv[1:]
    print(json.dumps(main(format_name, int(amount), int(own_seed), Path(where))))
