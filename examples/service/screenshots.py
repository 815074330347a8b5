"""Pictures of the service's page for the documents, by Playwright, in Debian's Chromium.

saccade serve runs/digits runs/scenes runs/streets squeezenet1_0 --weights imagenet --neighbours &
python examples/service/screenshots.py http://127.0.0.1:8000 docs/images \
    classes digit things pixels film beside many phone

`runs/streets` is a segmenter (of CamVid, say), `runs/scenes` a detector of `scenes-128`.
"""

import argparse
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

SCHEMES = {"beside": "dark", "phone": "dark"}


def example(page: Any, model: str, name: str) -> None:
    """Choose a model and an example, and wait for the answer."""
    page.select_option("#model", model)
    page.click(f"[aria-label='Example: {name}']")
    page.locator(f".result[data-model='{model}'][aria-label^='{name}'] .panel").wait_for()


def why(page: Any, click: str) -> None:
    page.locator(click).first.click()
    page.wait_for_selector("#why .methods")
    page.mouse.move(0, 0)


def classes(page: Any) -> None:
    example(page, "squeezenet1_0", "temple.jpg")
    why(page, ".result .answer")


def digit(page: Any) -> None:
    example(page, "digits", "digit-1.png")
    why(page, ".result .answer")


def things(page: Any) -> None:
    example(page, "scenes", "scene-2.png")


def pixels(page: Any) -> None:
    example(page, "streets", "temple.jpg")


def film(page: Any) -> None:
    page.select_option("#model", "scenes")
    page.click("[aria-label='Example: ride.mp4']")
    page.wait_for_selector(".timeline .row")
    page.locator(".timeline .row button").first.click()


def beside(page: Any) -> None:
    page.select_option("#beside", "squeezenet1_0")
    example(page, "scenes", "scene-1.png")
    page.locator(".result[data-model='squeezenet1_0'] .panel").wait_for()


def many(page: Any) -> None:
    for name in ("scene-1.png", "scene-2.png", "temple.jpg", "flower.jpg"):
        example(page, "squeezenet1_0", name)
    page.click("#table th:nth-child(4) button")


def phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    example(page, "scenes", "scene-1.png")


VIEWS: dict[str, Callable[[Any], None]] = {
    view.__name__: view for view in (classes, digit, things, pixels, film, beside, many, phone)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("views", nargs="+", choices=VIEWS)
    asked = parser.parse_args()
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in asked.views:
            context = browser.new_context(
                viewport={"width": 1280, "height": 900},
                color_scheme=SCHEMES.get(name, "light"),
                has_touch=name == "phone",
            )
            page = context.new_page()
            page.goto(asked.url)
            page.wait_for_selector("html[data-ready]")
            page.wait_for_function(
                "() => [...document.querySelectorAll('.example')].filter(e => e.querySelector('img')).length >= 6"
            )
            VIEWS[name](page)
            page.wait_for_timeout(800)
            taken = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            taken.save(asked.out / f"serve-{name}.jpg", quality=82, optimize=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
