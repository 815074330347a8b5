"""A thousand damaged annotation files a format: an answer in words, in a second, in a gigabyte; never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"


def fuzzed(name: str, count: int, seed: int, folder: Path) -> dict:
    arguments = [sys.executable, str(FUZZ), name, str(count), str(seed), str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "csv", "masks"])
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_annotations_get_an_answer(name: str, count: int, tmp_path: Path) -> None:
    tally = fuzzed(name, count, count, tmp_path)
    assert tally["wrong"] == []
    assert tally["grown"] < 2**30
    # The damage is neither so slight that all is read, nor so coarse that nothing is.
    assert tally["read"] >= count // 50
    assert tally["refused"] >= count // 10
