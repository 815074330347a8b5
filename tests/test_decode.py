"""The decoder: every odd image, against Pillow; every broken one gives a DecodeError and nothing else."""

import io
import os
import random
import re
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from saccade.data import decode, jpeg
from saccade.data.decode import ArrayPicture, DecodeError, FilePicture, pixel_limit, render, to_picture
from saccade.errors import SaccadeError
from saccade.geometry.view import View
from saccade.structures import Preprocessing

ORIENTATION = 0x0112


def noise(height: int, width: int, channels: int = 3, key: int = 0) -> np.ndarray:
    return np.random.default_rng(key).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """[h, w, 3] uint8 that JPEG keeps almost as it is, and in which every shift shows: broad waves, one a channel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 37), np.cos(y / 29), np.sin((x + 2 * y) / 53)]
    return np.round(127.5 + 110 * np.stack(waves, axis=-1)).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rgb(content: bytes) -> np.ndarray:
    return FilePicture(content).pixels("RGB")[0]


def turned(image: Image.Image, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95, **options)


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_as_pillow_does(orientation: int, mode: str) -> None:
    # All four corners differ, so that no turn can be taken for another.
    content = turned(Image.fromarray(smooth(30, 47)).convert(mode), orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    picture = FilePicture(content)
    assert picture.size == expected.size[::-1]
    pixels, reduced = picture.pixels(mode)
    assert reduced == 1
    assert np.array_equal(pixels.squeeze(), np.asarray(expected))
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_exif_turns_in_other_formats(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(noise(7, 11))
    content = encoded(image, format, exif=exif, lossless=True)
    # The oracle works on a PNG: Pillow turns a TIFF by itself while it loads, and no other format.
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(image, "PNG", exif=exif)))))
    picture = FilePicture(content)
    assert picture.size == expected.shape[:2]
    assert np.array_equal(picture.pixels("RGB")[0], expected)


@pytest.mark.parametrize("nonsense", [0, 9, 255, 65535])
def test_an_orientation_that_is_none_is_upright(nonsense: int) -> None:
    content = turned(Image.fromarray(smooth(16, 24)), nonsense)
    assert np.array_equal(rgb(content), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("entry", [(2, 2, b"6\0\0\0"), (5, 1, b"\x1a\0\0\0"), (11, 1, b"\0\0\xd0\x40")])
def test_an_orientation_of_the_wrong_type_is_upright(entry: tuple[int, int, bytes]) -> None:
    """Whoever writes a text or a fraction there has said nothing; the picture is whole."""
    kind, count, value = entry
    tag = struct.pack("<HHI", ORIENTATION, kind, count) + value
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0" + tag + bytes(4) + struct.pack("<II", 13, 2)
    content = encoded(Image.fromarray(smooth(16, 24)), "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow has something to say about some of them
        assert Image.open(io.BytesIO(content)).getexif().get(ORIENTATION) is not None
        assert FilePicture(content).size == (16, 24)
        assert rgb(content).shape == (16, 24, 3)


# --- modes ------------------------------------------------------------------------------------------------------------


def test_grey_is_every_channel() -> None:
    grey = noise(9, 7, 1)[..., 0]
    content = encoded(Image.fromarray(grey), "PNG")
    assert np.array_equal(rgb(content), np.stack([grey] * 3, axis=-1))
    assert np.array_equal(FilePicture(content).pixels("L")[0], grey[..., None])


def test_colour_in_grey() -> None:
    pixels = noise(9, 7)
    content = encoded(Image.fromarray(pixels), "PNG")
    assert np.array_equal(rgb(content), pixels)
    by_hand = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(FilePicture(content).pixels("L")[0][..., 0] - by_hand).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    image = Image.fromarray(smooth(24, 40)).convert("CMYK")
    content = encoded(image, format)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(rgb(content), expected)
    assert np.abs(rgb(content).astype(int) - smooth(24, 40)).mean() < 4


def test_sixteen_bits_by_hand() -> None:
    deep = np.array([[0, 1, 128, 129], [257, 32767, 32768, 65535], [256, 65407, 65406, 12345]], dtype=np.uint16)
    content = encoded(Image.fromarray(deep), "PNG")
    assert Image.open(io.BytesIO(content)).mode.startswith("I")
    expected = np.floor(deep.astype(np.float64) * 255 / 65535 + 0.5)  # to the nearest, not cut off
    assert np.array_equal(FilePicture(content).pixels("L")[0][..., 0], expected)
    assert np.array_equal(rgb(content)[..., 1], expected)


@pytest.mark.parametrize("values", [(-1, 5), (0, 65536)])
def test_more_than_sixteen_bits_is_refused(values: tuple[int, int]) -> None:
    content = encoded(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
    with pytest.raises(DecodeError, match="8 or 16 bits are expected"):
        rgb(content)


def on_white(pixels: np.ndarray) -> np.ndarray:
    """[h, w, 4] laid on white, the slow and certain way."""
    alpha = pixels[..., 3:].astype(np.float64) / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


def test_transparency_lies_on_white() -> None:
    pixels = noise(16, 16, 4)
    assert np.abs(rgb(encoded(Image.fromarray(pixels), "PNG")) - on_white(pixels)).max() <= 1
    pixels[..., 3] = 0
    assert (rgb(encoded(Image.fromarray(pixels), "PNG")) == 255).all()


def test_grey_with_transparency() -> None:
    pixels = noise(16, 16, 2)
    content = encoded(Image.fromarray(pixels), "PNG")
    assert Image.open(io.BytesIO(content)).mode == "LA"
    expected = on_white(pixels[..., [0, 0, 0, 1]])
    assert np.abs(rgb(content) - expected).max() <= 1
    assert np.abs(FilePicture(content).pixels("L")[0] - expected[..., :1]).max() <= 1


def test_a_palette_with_transparency() -> None:
    palette = [255, 0, 0, 0, 255, 0, 0, 0, 255]
    image = Image.new("P", (3, 1))
    image.putpalette(palette)
    image.putdata([0, 1, 2])
    content = encoded(image, "PNG", transparency=bytes([255, 0, 128]))
    assert Image.open(io.BytesIO(content)).mode == "P"
    assert rgb(content).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 255]]]


def test_one_transparent_colour() -> None:
    image = Image.fromarray(np.array([[[9, 9, 9], [10, 20, 30]]], dtype=np.uint8))
    content = encoded(image, "PNG", transparency=(9, 9, 9))
    assert rgb(content).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_a_plain_palette() -> None:
    image = Image.fromarray(smooth(20, 20)).quantize(16)
    assert np.array_equal(rgb(encoded(image, "PNG")), np.asarray(image.convert("RGB")))
    assert np.array_equal(rgb(encoded(image, "GIF")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit(format: str) -> None:
    bits = noise(13, 21, 1)[..., 0] > 127
    content = encoded(Image.fromarray(bits), format)
    assert np.array_equal(rgb(content), np.repeat(bits[..., None], 3, axis=2) * 255)
    assert np.array_equal(FilePicture(content).pixels("L")[0][..., 0], bits * 255)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "HSV"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    image = Image.fromarray(smooth(8, 8)).convert("RGB")
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        content = encoded(lab, "TIFF")
    else:
        assert np.array_equal(
            to_picture(image.convert(mode)).pixels("RGB")[0], np.asarray(image.convert(mode).convert("RGB"))
        )
        return
    pixels = FilePicture(content).pixels("RGB")[0]
    # Pillow converts LAB by colour profiles; a tenth of the range is what its rounding may cost.
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 26


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime", "blue")]
    content = encoded(
        frames[0], format, save_all=True, append_images=frames[1:], **({"lossless": True} if format == "WEBP" else {})
    )
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert (rgb(content) == (255, 0, 0)).all()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_one_single_pixel(format: str) -> None:
    content = encoded(Image.new("RGB", (1, 1), (255, 255, 255)), format)
    picture = FilePicture(content)
    assert picture.size == (1, 1)
    image = render(picture, Preprocessing().view((1, 1)), Preprocessing())
    assert image.shape == (224, 224, 3)
    assert (image == 255).all()


# --- what is no image -------------------------------------------------------------------------------------------------


def refused(source: bytes | Path) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        FilePicture(source).pixels("RGB")
    return caught.value


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, format: str, part: float) -> None:
    content = encoded(Image.fromarray(noise(60, 60)), format)
    path = tmp_path / "half.jpg"
    path.write_bytes(content[: int(part * len(content))])
    error = refused(path)
    assert str(path) in str(error)
    assert "Traceback" not in str(error)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nothing.jpg"
    path.write_bytes(b"")
    assert str(refused(path)) == f"{path}: is empty (0 bytes)"
    with pytest.raises(DecodeError, match=r"empty|not an image"):
        FilePicture(b"")


def test_text_called_jpg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir or Madam")
    error = refused(path)
    assert str(path) in str(error)
    assert "Dear Sir" in error.reason  # what came


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "gone.png").reason
    assert "directory" in refused(tmp_path).reason


def test_errors_use_the_given_name(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"junk")
    with pytest.raises(DecodeError) as caught:
        FilePicture(path, "cats/x.png")
    assert caught.value.id == "cats/x.png"


# --- too many pixels --------------------------------------------------------------------------------------------------


def png_bomb(width: int, height: int) -> bytes:
    """A whole PNG of black 1-bit pixels, made row by row: kilobytes that unpack to width x height pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """30,000 x 30,000 pixels are 900 MB as grey and 2.7 GB as colour: refused without so much as 20 MB."""
    content = png_bomb(30_000, 30_000)
    assert len(content) < 200_000
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for source in (path, content):
        error = refused(source)
        assert "pixels" in error.reason
        assert "256,000,000" in error.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes


@pytest.mark.parametrize("size", [(17_000, 17_000), (60_000, 60_000), (2_000_000_000, 2_000_000_000)])
def test_any_number_of_pixels_beyond_the_limit_is_refused(size: tuple[int, int]) -> None:
    """Only the header says so here: just above the limit, above Pillow's own error, and beyond 64 bits of bytes."""
    assert "pixels" in refused(png_header(*size)).reason


@pytest.mark.parametrize(("millions", "good"), [("0.001", False), ("0.0025", True), ("1", True)])
def test_the_limit_can_be_set(monkeypatch: pytest.MonkeyPatch, millions: str, good: bool) -> None:
    monkeypatch.setenv("SACCADE_PIXEL_LIMIT", millions)
    content = encoded(Image.fromarray(noise(50, 50)), "PNG")  # 2,500 pixels, at 0.0025 exactly the limit
    if good:
        assert rgb(content).shape == (50, 50, 3)
    else:
        error = refused(content)
        assert "50 x 50" in error.reason
        assert "1,000" in error.reason
        assert "SACCADE_PIXEL_LIMIT" in error.reason


def png_header(width: int, height: int) -> bytes:
    """All of a PNG but its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return content + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("nonsense", ["lots", "", "nan", "inf"])
def test_a_limit_that_is_no_number_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    monkeypatch.setenv("SACCADE_PIXEL_LIMIT", nonsense)
    with pytest.raises(SaccadeError, match="SACCADE_PIXEL_LIMIT"):
        FilePicture(encoded(Image.new("L", (2, 2)), "PNG"))


def test_the_limit_is_set_where_pillow_would_warn_and_no_warning_is_shown() -> None:
    """In another process, because Pillow's own limit is set on import, and because pytest has its own warnings."""
    code = """if True:
        import contextlib, importlib, os, sys
        sys.path.insert(0, sys.argv[1])
        import test_decode as tests
        decode = tests.decode

        bmp = b"BM" + bytes(8) + b"\\x36\\0\\0\\0" + b"\\x28\\0\\0\\0" + (30_000).to_bytes(4, "little") * 2
        bmp += b"\\1\\0\\x18\\0" + bytes(24)
        print(decode.FilePicture(bmp).size)

        os.environ["SACCADE_PIXEL_LIMIT"] = "4"
        for kind, content in tests.originals().items():
            rng = tests.random.Random(kind)
            for _ in range(40):
                with contextlib.suppress(decode.DecodeError):
                    decode.FilePicture(tests.mutated(content, rng)).pixels("RGB")

        os.environ["SACCADE_PIXEL_LIMIT"] = "lots"
        try:
            importlib.reload(decode).pixel_limit()
        except tests.SaccadeError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        env=os.environ | {"SACCADE_PIXEL_LIMIT": "1000"},
        check=False,
        text=True,
    )
    assert done.stdout.splitlines()[:1] == ["(30000, 30000)"], done.stderr
    assert not re.search(r"\w+Warning\b", done.stderr)
    assert "SACCADE_PIXEL_LIMIT" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr  # what libtiff itself prints is beyond our reach


# --- fuzz -------------------------------------------------------------------------------------------------------------


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few of: bytes changed, a stretch cut out, doubled, zeroed, or the end lost."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data)), rng.randint(1, 12)
        match rng.randrange(6):
            case 0 | 1:
                data[at] = rng.randrange(256)
            case 2:
                data[at : at + length] = bytes(rng.choice((0, 255)) for _ in range(length))
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                del data[max(1, at) :]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def originals() -> dict[str, bytes]:
    image = Image.fromarray(smooth(20, 27))
    frames = [Image.fromarray(noise(9, 9, key=key)) for key in range(2)]
    return {
        "JPEG": turned(image, 6),
        "progressive JPEG": turned(image, 3, progressive=True),
        "CMYK JPEG": encoded(image.convert("CMYK"), "JPEG"),
        "PNG": encoded(image, "PNG"),
        "palette PNG": encoded(image.quantize(8), "PNG", transparency=bytes(range(0, 256, 32))),
        "16-bit PNG": encoded(Image.fromarray(noise(8, 8, 2).view(np.uint16)[..., 0]), "PNG"),
        "GIF": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "WEBP": encoded(image, "WEBP", exif=_exif(8)),
        "animated WEBP": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "BMP": encoded(image, "BMP"),
        "TIFF": encoded(image, "TIFF"),
        "LZW TIFF": encoded(image, "TIFF", compression="tiff_lzw"),
        "JPEG TIFF": encoded(image, "TIFF", compression="jpeg"),
        "PPM": encoded(image, "PPM"),
    }


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("kind", list(originals()))
def test_damage_gives_pixels_or_a_decode_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decodes has the size it promised."""
    monkeypatch.setenv("SACCADE_PIXEL_LIMIT", "4")  # a size of the fuzz's own making must not eat the memory
    content, rng = originals()[kind], random.Random(kind)
    good = 0
    for _ in range(120):
        damaged = mutated(content, rng)
        mode, shrink = rng.choice(("RGB", "L")), rng.choice((1.0, 4.0, 16.0))
        # As on a user's machine: were warnings errors here, the decoder would turn them into DecodeErrors.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = FilePicture(damaged)
                pixels, reduced = picture.pixels(mode, shrink)
            except DecodeError:
                continue
        good += 1
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == (1 if mode == "L" else 3)
        if reduced == 1:
            assert pixels.shape[:2] == picture.size
    assert good < 120, "no mutation did any damage"


# --- decoding at reduced size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(640, 800), (643, 805), (801, 637), (519, 1030), (1279, 401)])
def test_a_reduced_jpeg_lines_up_with_the_whole(size: tuple[int, int], orientation: int) -> None:
    """The same view rendered from the whole image and from whatever the decoder thought it could get away with."""
    image = Image.fromarray(smooth(*size))
    content = turned(image, orientation)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    for target in (24, 48, 100):
        preprocessing = Preprocessing((target, target), round(target * 8 / 7))
        plain = preprocessing.view(upright.shape[:2])
        # Turned and so much enlarged that no corner is filled: at a fill's edge the two may differ by a pixel.
        for view in (plain, plain.flipped(horizontal=True), plain.turned(20, factor=1.5)):
            quick = render(FilePicture(content), view, preprocessing).astype(int)
            slow = render(ArrayPicture(upright), view, preprocessing).astype(int)
            assert np.abs(quick - slow).mean() <= 1
            assert np.abs(quick - slow).max() <= 5


def test_a_reduced_jpeg_is_indeed_reduced() -> None:
    """Otherwise the test above would compare a thing with itself."""
    content = turned(Image.fromarray(smooth(643, 805)), 1)
    for shrink, expected in ((1, 1), (3.9, 1), (4, 2), (8, 4), (15.9, 4), (16, 8), (1000, 8)):
        pixels, reduced = FilePicture(content).pixels("RGB", shrink)
        assert reduced == expected
        assert pixels.shape[:2] == (-(-643 // expected), -(-805 // expected))  # the last pixel may be ragged


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (7, 9), (8, 8), (17, 300)])
def test_a_sliver_of_a_jpeg_lines_up_too(size: tuple[int, int]) -> None:
    content = turned(Image.fromarray(smooth(*size)), 1, subsampling=0)
    whole = np.asarray(Image.open(io.BytesIO(content)))
    for target in ((1, 1), (2, 2), (3, 40)):
        view = View.identity(size).resized(target)
        quick = render(FilePicture(content), view, Preprocessing()).astype(int)
        slow = render(ArrayPicture(whole), view, Preprocessing()).astype(int)
        assert np.abs(quick - slow).max() <= 12


def test_grey_is_reduced_alike() -> None:
    content = turned(Image.fromarray(smooth(640, 800)), 1)
    colour, reduced = FilePicture(content).pixels("RGB", 8)
    assert reduced == 4
    grey = FilePicture(content).pixels("L", 8)[0][..., 0]
    assert np.abs(grey - colour @ np.array([0.299, 0.587, 0.114])).mean() <= 1.5
    # A JPEG's own brightness plane is its grey: nothing but rounding may tell it from the colour at full size.
    whole = FilePicture(content).pixels("L")[0][..., 0].astype(int)
    assert np.abs(whole - FilePicture(content).pixels("RGB")[0] @ np.array([0.299, 0.587, 0.114])).mean() <= 1.5


# --- other sources ----------------------------------------------------------------------------------------------------


def test_every_source_gives_the_same_pixels(tmp_path: Path) -> None:
    pixels = noise(12, 9)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    sources: list[str | Path | bytes | np.ndarray | Image.Image] = [
        str(path),
        path,
        path.read_bytes(),
        pixels,
        Image.fromarray(pixels),
        Image.open(path),
    ]
    for source in sources:
        picture = to_picture(source)
        assert picture.size == (12, 9)
        assert np.array_equal(picture.pixels("RGB")[0], pixels)


def test_a_grey_array() -> None:
    grey = noise(5, 6, 1)[..., 0]
    assert np.array_equal(to_picture(grey).pixels("RGB")[0], np.stack([grey] * 3, axis=-1))
    assert np.array_equal(to_picture(grey).pixels("L")[0], grey[..., None])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_a_pillow_image_is_treated_as_its_file_would_be(mode: str) -> None:
    if mode.startswith("I"):
        image = Image.fromarray(
            np.arange(0, 60_000, 1000, dtype=np.uint16 if mode == "I;16" else np.int32).reshape(6, 10)
        )
        assert image.mode == mode
    else:
        image = Image.fromarray(noise(8, 8, 4)).convert("RGB" if mode == "P" else mode).convert(mode)
    content = encoded(image, "TIFF" if mode in ("CMYK", "I") else "PNG")
    assert np.array_equal(to_picture(image).pixels("RGB")[0], rgb(content))


def test_a_pillow_palette_that_holds_transparency_is_laid_on_white() -> None:
    """Pillow keeps the transparency in the palette here, where a file keeps it beside it."""
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0)).convert("P")
    assert image.palette is not None
    assert image.palette.mode == "RGBA"
    assert (rgb(encoded(image, "PNG")) == 255).all()
    assert (to_picture(image).pixels("RGB")[0] == 255).all()


def test_a_pillow_image_is_turned_upright_as_its_file_would_be() -> None:
    """Orientation is applied here and nowhere else: a photograph opened with Pillow must not lie on its side."""
    content = turned(Image.fromarray(smooth(16, 24)), 6)
    picture = to_picture(Image.open(io.BytesIO(content)))
    assert picture.size == (24, 16)
    assert np.array_equal(picture.pixels("RGB")[0], rgb(content))


def test_a_damaged_pillow_image_is_a_decode_error() -> None:
    """Pillow reads lazily: the damage shows only when the pixels are asked for."""
    content = encoded(Image.fromarray(noise(60, 60)), "PNG")
    image = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(DecodeError):
        to_picture(image).pixels("RGB")


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4, 3), np.float64), "float64"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 4), np.uint8), "4, 4, 4"),
        (np.zeros((3, 4, 4, 3), np.uint8), "3, 4, 4, 3"),
        (np.zeros(4, np.uint8), "uint8"),
        (np.zeros((0, 4, 3), np.uint8), "pixels"),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray, word: str) -> None:
    with pytest.raises(DecodeError) as caught:
        to_picture(array)
    assert "array must" in caught.value.reason
    assert word in caught.value.reason


def test_floating_point_images_are_refused_with_advice(tmp_path: Path) -> None:
    image = Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    assert image.mode == "F"
    path = tmp_path / "depth.tiff"
    image.save(path)
    sources: list[Callable[[], object]] = [lambda: to_picture(image), lambda: to_picture(path).pixels("RGB")]
    for source in sources:
        with pytest.raises(DecodeError, match="floating-point pixels; save it with 8 or 16 bits"):
            source()


@pytest.mark.parametrize("thing", [None, 7, ["a.png"], {"path": 1}])
def test_what_is_no_picture_is_refused(thing: object) -> None:
    with pytest.raises(DecodeError, match=f"got {type(thing).__name__}"):
        to_picture(thing)  # type: ignore[arg-type]


# --- render -----------------------------------------------------------------------------------------------------------


def test_beyond_the_image_is_the_mean() -> None:
    preprocessing = Preprocessing((10, 10), 10, "RGB", (0.5, 0.25, 0.1), (1, 1, 1))
    view = View.identity((4, 4)).cropped(-50, -50, (10, 10))
    assert (render(ArrayPicture(noise(4, 4)), view, preprocessing) == (128, 64, 26)).all()
    grey = Preprocessing((10, 10), 10, "L", (0.5,), (1,))
    assert render(ArrayPicture(noise(4, 4)), view, grey).shape == (10, 10, 1)


def test_the_default_limit() -> None:
    assert "SACCADE_PIXEL_LIMIT" not in os.environ
    assert pixel_limit() == 256_000_000
    assert decode.Image.MAX_IMAGE_PIXELS >= 256_000_000


# --- the quick road ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["colour", "grey", "progressive", "4:4:4", "4:2:2", "odd size"])
def test_plain_jpeg_is_what_pillow_decodes_to_the_bit(kind: str) -> None:
    image = Image.fromarray(smooth(67, 83) if kind == "odd size" else smooth(64, 80))
    options: dict = {
        "progressive": {"progressive": True},
        "4:4:4": {"subsampling": 0},
        "4:2:2": {"subsampling": 1},
    }.get(kind, {})
    content = encoded(image.convert("L") if kind == "grey" else image, "JPEG", **options)
    assert jpeg.plain_size(content) == image.size[::-1]
    with Image.open(io.BytesIO(content)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(FilePicture(content).pixels("RGB")[0], expected)
    for cut in (3, 20, len(content) // 2):
        with pytest.raises(DecodeError):
            FilePicture(content[:cut]).pixels("RGB")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("shrink", [1.0, 1.01, 1.6, 3.0])
def test_rough_decoding_is_lost_in_the_shrinking(
    shrink: float, subsampling: int, photographs: list[np.ndarray]
) -> None:
    """A quick JPEG, shrunk, against all of Pillow: decoded in full and resized with its antialiased filter."""
    for photograph in photographs:
        side = min(photograph.shape[:2])
        content = encoded(Image.fromarray(photograph[:side, :side]), "JPEG", quality=90, subsampling=subsampling)
        target = round(side / shrink)
        preprocessing = Preprocessing((target, target), target)
        picture = FilePicture(content)
        got = render(picture, preprocessing.view(picture.size), preprocessing).astype(int)
        with Image.open(io.BytesIO(content)) as opened:
            expected = np.asarray(opened.convert("RGB").resize((target, target), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(got - expected).mean() <= (2 if shrink > 1 else 0)


def test_a_damaged_middle_is_read_as_pillow_reads_it() -> None:
    """Neither road makes up its own pixels for bytes that make no sense."""
    content = bytearray(encoded(Image.fromarray(smooth(128, 128)), "JPEG"))
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(range(40))
    with Image.open(io.BytesIO(content)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert np.array_equal(FilePicture(bytes(content)).pixels("RGB")[0], expected)


def test_a_jpeg_with_tags_takes_the_long_road() -> None:
    """EXIF may turn it, Adobe's tag may change its colours; CMYK has four channels."""
    exif = Image.Exif()
    exif[0x0112] = 1
    image = Image.fromarray(smooth(32, 40))
    assert jpeg.plain_size(encoded(image, "JPEG", exif=exif)) is None
    assert jpeg.plain_size(encoded(image.convert("CMYK"), "JPEG")) is None
    assert jpeg.plain_size(encoded(image, "PNG")) is None


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_have_a_size_or_none(tail: bytes) -> None:
    for content in (tail, b"\xff\xd8" + tail, b"\xff\xd8\xff\xc0" + tail):
        size = jpeg.plain_size(content)
        assert size is None or (len(size) == 2 and min(size) > 0)
