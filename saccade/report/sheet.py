"""Tiles on one picture, in rows and columns, for whoever wants a picture and no page."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from saccade.report.lettering import plate
from saccade.report.page import Tile

CELL, LETTERS = 480, 18  # how wide a tile is, and the font's size


def grid(tiles: Sequence[Tile], columns: int, width: int = CELL) -> bytes:
    """A PNG of tiles on white, each with its caption below, so many a row.

    width  of a tile, in pixels
    """
    cells = [_cell(tile, width) for tile in tiles]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    sheet = []
    for row in rows:
        height = max(cell.shape[0] for cell in row)
        row += [np.full((1, width, 3), 255, dtype=np.uint8)] * (columns - len(row))
        padded = [np.pad(c, ((0, height - c.shape[0]), (0, 0), (0, 0)), constant_values=255) for c in row]
        sheet.append(np.hstack(padded))
    file = io.BytesIO()
    Image.fromarray(np.vstack(sheet)).save(file, "PNG")
    return file.getvalue()


def _cell(tile: Tile, wide: int) -> np.ndarray:
    """[h, wide, 3] uint8: a tile on white with its caption."""
    gap = wide // 32
    height, width = tile.image.shape[:2]
    factor = (wide - 2 * gap) / max(width, height)
    size = max(1, round(factor * width)), max(1, round(factor * height))
    interpolation = cv2.INTER_NEAREST if tile.tiny else cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = cv2.resize(tile.image, size, interpolation=interpolation).reshape(size[1], size[0], -1)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    lines = [plate(text, "?", (255, 255, 255), LETTERS, size[0]) for text in (tile.title, tile.detail) if text]
    parts = [image, *(line for line in lines if line is not None)]
    cell = np.full((2 * gap + sum(part.shape[0] for part in parts), wide, 3), 255, dtype=np.uint8)
    top, left = gap, (wide - size[0]) // 2
    for part in parts:
        cell[top : top + part.shape[0], left : left + part.shape[1]] = part
        top += part.shape[0]
    return cell
