"""What the documents tell a person to type is typed here."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]


def commands(document: str) -> list[str]:
    """The lines of `console` blocks that begin with a dollar."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documents take for granted: photos/ of two classes, a digit, a cat."""
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    for name, tint in (("ants", (50, 0, 0)), ("bees", (0, 50, 0))):
        for split in ("train", "val", "test"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = (rng.integers(0, 200, (40, 50, 3)) + tint).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / split / name / f"{i}.png")
    Image.fromarray(pixels).save(folder / "cat.jpg")
    digits = load_digits().images
    Image.fromarray((digits[7] * 255 / 16).astype(np.uint8)).save(folder / "digit.png")
    return folder


def test_readme_commands_work_in_order(desk: Path) -> None:
    """Those that need the network are listed here, with why; all others must end well."""
    typed = [line for line in commands("README.md") if not line.startswith(("git clone", "cd ", "make "))]
    needs_network = [line for line in typed if "--weights imagenet" in line]
    assert len(typed) - len(needs_network) >= 5
    for line in typed:
        if line in needs_network:
            continue
        program, *arguments = shlex.split(line)
        assert program == "saccade"
        done = subprocess.run([sys.executable, "-m", "saccade", *arguments], cwd=desk, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_readme_shows_what_is_really_printed(desk: Path) -> None:
    """Of the commands whose answer is the same on every machine."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"\$ saccade models 'densenet\*'\n(.*?)\n\$ saccade", text, re.DOTALL)
    assert shown
    done = subprocess.run(
        [sys.executable, "-m", "saccade", "models", "densenet*"], capture_output=True, text=True, check=True,
        env={key: value for key, value in os.environ.items() if key != "SACCADE_WEIGHTS"} | {"XDG_CACHE_HOME": "/none"},
    )  # fmt: skip
    assert [line.split() for line in shown[1].splitlines()] == [line.split() for line in done.stdout.splitlines()]


def test_python_page_runs(desk: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PAGES = {
    "networks": "0 (16, 31, 31) 432",
    "curves": "[True, True, True]",
    "augmentation": "",
}


@pytest.mark.parametrize("page", PAGES)
def test_pages_run(page: str, desk: Path) -> None:
    """Their commands, then their Python, which prints what is expected."""
    typed = commands(f"docs/{page}.md")
    assert typed
    for line in typed:
        program, *arguments = shlex.split(line, comments=True)
        assert program == "saccade"
        done = subprocess.run([sys.executable, "-m", "saccade", *arguments], cwd=desk, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PAGES[page] in done.stdout


@pytest.mark.parametrize("page", ["detection", "segmentation", "explain"])
def test_the_python_of_a_page_runs(desk: Path, page: str) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], cwd=desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_of_explanations_names_every_method() -> None:
    from saccade.recipes.explain import CHOSEN, NAMES

    text = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `{name}` |" not in text] == []
    assert ", ".join(f"`{name}`" for name in CHOSEN[:-1]) + f" and `{CHOSEN[-1]}`" in text


def test_the_page_of_explanations_names_every_option() -> None:
    """Each method's row has each of its options, and what it is unless told."""
    import inspect

    from saccade.recipes.explain_data import show_embedding_map, show_top_patches
    from saccade.recipes.explain_methods import METHODS
    from saccade.recipes.neighbours import show_neighbours
    from saccade.recipes.pointing import show_pointing

    text = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    table = text.split("## Options")[1].split("\n## ")[0]
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    more = [show_pointing, show_top_patches, show_neighbours, show_embedding_map]
    shown = {name: method.run for name, method in METHODS.items()} | {
        show.__name__.removeprefix("show_"): show for show in more
    }
    for name, show in shown.items():
        for option in inspect.signature(show).parameters.values():
            if option.name in ("question", "predictor", "looked", "trust", "image", "data") or name == "cam":
                continue
            if option.name == "layer" and name in ("top_patches", "neighbours", "embedding_map"):
                continue  # is --layer
            told = option.name if option.default is None else f"{option.name}={option.default}"
            assert f"`{told}`" in rows[name], f"{name}: {told}"


def test_settings_file_of_the_data_page_is_understood(tmp_path: Path) -> None:
    from saccade.cli.options import read_settings
    from saccade.training.config import configure

    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "settings.toml").write_text(blocks[0])
    config = configure("scratch", read_settings(tmp_path / "settings.toml", []))
    assert config.epochs == 60
    assert config.augmentation.erase == 0.25


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))]
    assert len(links) > 5
    assert [
        f"{page.name}: {link}" for page, link in links if "://" not in link and not (page.parent / link).exists()
    ] == []


def test_architecture_names_files_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    files = set(re.findall(r"`((?:[a-z]+/)+[a-z_]+\.py)`", text))
    assert len(files) > 10
    assert [name for name in files if not (ROOT / name).exists() and not (ROOT / "saccade" / name).exists()] == []
