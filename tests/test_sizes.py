"""How large files are, from their headers, against the one decoder; and that no pixels are decoded for it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from saccade.data.decode import FilePicture
from saccade.data.sizes import upright_size, upright_sizes


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 5, 6, 8])
def test_sizes_are_those_of_the_decoder(suffix: str, orientation: int | None, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    options = {"exif": exif} if suffix in (".jpg", ".png", ".webp", ".tif") else {}
    Image.fromarray(np.zeros((20, 33, 3), dtype=np.uint8)).save(path, **options)
    assert upright_size(path) == FilePicture(path).size
    assert upright_size(io.BytesIO(path.read_bytes())) == FilePicture(path).size


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "late.png"
    Image.fromarray(np.zeros((20, 33), dtype=np.uint8)).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    content, file = path.read_bytes(), io.BytesIO()
    PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes()[6:])
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:end] + file.getvalue() + content[end:])
    assert upright_size(path) == (33, 20)


def test_a_png_without_exif_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((20, 33), dtype=np.uint8)).save(path)

    def decode(*_: object) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", decode)
    assert upright_size(path) == (20, 33)


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    for name, content in (("text.png", b"no image"), ("empty.png", b""), ("cut.png", b"\x89PNG\r\n\x1a\n\x00\x00")):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in ("text.png", "empty.png", "cut.png", "gone.png")]
    assert upright_sizes(paths).tolist() == [[0, 0]] * 4
    assert upright_sizes([]).shape == (0, 2)


@pytest.mark.parametrize("kind", ["ImageMagick's", "XMP"])
def test_a_png_that_says_in_a_text_how_it_lies(kind: str, tmp_path: Path) -> None:
    """Both readers of a file must see it alike, or boxes are scaled by sides that are exchanged."""
    exif = Image.Exif()
    exif[0x0112] = 6
    about = PngImagePlugin.PngInfo()
    if kind == "XMP":
        xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
        about.add_itxt("XML:com.adobe.xmp", xmp)
    else:
        content = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
        about.add_text("Raw profile type exif", f"\nexif\n{len(content)}\n{content.hex()}\n")
    Image.new("RGB", (33, 20)).save(tmp_path / "a.png", pnginfo=about)
    assert upright_size(tmp_path / "a.png") == FilePicture(tmp_path / "a.png").size == (33, 20)
