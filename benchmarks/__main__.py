"""python -m benchmarks [NAME ...]: measure the claims, all or some, and say which hold on this machine."""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import annotations, machine, pictures
from benchmarks.claims import CLAIMS, Claim
from benchmarks.rounds import ROOT, BenchmarkError, Measured, measure

ANNOTATIONS = "annotations.json"
RESULTS = ROOT / "runs" / "bench.json"


def main() -> int:
    """Exit code 0 when all could be measured, whether the targets were met or not."""
    options = _options()
    here = machine.describe()
    print(f"{here['processor']}, {here['cores']} cores, load {here['load']}, {here['system']}")
    print("flags: " + ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in here["flags"].items()))
    if here["load"] > 0.5:
        print("The machine is busy with other things: expect wide ranges.")
    results = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            _fill(Path(folder), options.data, options.names)
            for name in options.names:
                results.append(_run(name, CLAIMS[name], options.rounds, folder))
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print()
    _print_table(results)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": here, "results": results}, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(ROOT)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(CLAIMS)}; all when none is given")
    parser.add_argument("--rounds", type=int, help="how often each side is measured; each claim has its own default")
    parser.add_argument("--data", type=Path, help="a folder of .jpg files to augment, in place of the built-in ones")
    options = parser.parse_args()
    options.names = options.names or list(CLAIMS)
    for name in options.names:
        if name not in CLAIMS:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(CLAIMS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    return options


def _fill(folder: Path, data: Path | None, names: list[str]) -> None:
    """Put the pictures and annotations where both sides will look for them."""
    if any(CLAIMS[name].annotations for name in names):
        annotations.write(folder / ANNOTATIONS)
    if not any(CLAIMS[name].pictures for name in names):
        return
    if data is None:
        pictures.write(folder)
        return
    found = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:256]
    if not found:
        raise BenchmarkError(f"{data} holds no .jpg files")
    for index, path in enumerate(found):
        shutil.copyfile(path, folder / f"{index:03}.jpg")


def _run(name: str, claim: Claim, rounds: int | None, folder: str) -> dict[str, Any]:
    """Measure one claim, and print it."""
    print(f"\n{name}: {claim.what}, against {claim.peer}", flush=True)
    extra = (folder,) if claim.pictures else (f"{folder}/{ANNOTATIONS}",) if claim.annotations else ()
    theirs = None if claim.theirs is None else (*claim.theirs, *extra)
    measured = measure((*claim.ours, *extra), theirs, rounds or claim.rounds, claim.one_core)
    result = _judge(name, claim, measured)
    for side in ("ours", "peer"):
        speeds = result[side]
        print(f"  {side}  {median(speeds['images_per_second']):7.1f} {claim.unit}  ({speeds['about']})")
    print(f"  {result['ratio']}, range {result['range']} over {len(measured.ours)} rounds", flush=True)
    return result


def _judge(name: str, claim: Claim, measured: Measured) -> dict[str, Any]:
    """The one number, in words, and whether it is what was promised."""
    low, high = measured.range
    if claim.overhead is not None:
        percent, most, least = (100 * (1 / ratio - 1) for ratio in (measured.ratio, low, high))
        words = (f"{percent:+.1f} % time", f"{least:+.1f} to {most:+.1f} %", f"at most {claim.overhead:g} %")
        met, clear = percent <= claim.overhead, (most <= claim.overhead) == (least <= claim.overhead)
    else:
        at_least = claim.at_least or 0.0
        words = (f"{measured.ratio:.2f} x", f"{low:.2f} to {high:.2f} x", f"at least {at_least:g} x")
        met, clear = measured.ratio >= at_least, (low >= at_least) == (high >= at_least)
    return {
        "name": name,
        "what": claim.what,
        "against": claim.peer,
        "ratio": words[0],
        "range": words[1],
        "target": words[2],
        "met": met,
        "clear": clear,
        "speed_ratio": measured.ratio,
        "ours": {"about": measured.about_ours, "images_per_second": [round(speed, 2) for speed in measured.ours]},
        "peer": {"about": measured.about_peer, "images_per_second": [round(speed, 2) for speed in measured.peer]},
    }


def _print_table(results: list[dict[str, Any]]) -> None:
    rows = [("name", "ratio", "range", "target", "")]
    for r in results:
        verdict = ("met" if r["met"] else "NOT MET") + ("" if r["clear"] else ", but rounds lie on both sides of it")
        rows.append((r["name"], r["ratio"], r["range"], r["target"], verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if missed := [r["name"] for r in results if not r["met"]]:
        print(f"\n{len(missed)} of {len(results)} targets NOT met on this machine: {', '.join(missed)}")


if __name__ == "__main__":
    sys.exit(main())
