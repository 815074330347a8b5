"""What several test files share: where the real data lies, and how to make tiny folders of images."""

import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the repository; tests that need it are skipped without it."""
    folder = Path(os.environ.get("SACCADE_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs the shared data: there is no {folder} (SACCADE_SHARED names another place)")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> tuple[ModuleType, dict[str, Any]]:
    """What fills a network with values that follow from its keys, and what published ones then gave."""
    spec = importlib.util.spec_from_file_location("fill", shared / "golden" / "fill.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, json.loads((shared / "golden" / "reference.json").read_text())


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """scikit-learn's two sample photographs, [427, 640, 3] uint8."""
    from sklearn.datasets import load_sample_images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own affair
        return [np.ascontiguousarray(image) for image in load_sample_images().images]


def _paint(path: Path, key: int, size: tuple[int, int] = (20, 24)) -> Path:
    """An image file that no other key gives: noise on a ground whose brightness differs from key to key."""
    rng = np.random.default_rng(key)
    pixels = np.clip(rng.normal(40 + key * 37 % 180, 25, (*size, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def paint() -> Callable[..., Path]:
    """paint(path, key, size=(20, 24)) writes a small image; different keys give different pixels."""
    return _paint


@pytest.fixture(scope="session")
def class_folders() -> Callable[..., Path]:
    """class_folders(root, {"train/cats": 3}, size=(20, 24), suffix=".png") writes that many different images each."""

    def make(root: Path, counts: dict[str, int], size: tuple[int, int] = (20, 24), suffix: str = ".png") -> Path:
        key = 0
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                key += 1
                _paint(root / name / f"{number}{suffix}", key, size)
        return root

    return make
