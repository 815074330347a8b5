"""A map of pictures: each where it lies, or all on a grid; as pictures, and as a page to move about in."""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import numpy as np
from PIL import Image

from saccade.report.palette import colour

THUMBNAIL = 64  # pixels a side
FRAME = 3  # of the colour of the class around it


@dataclass(frozen=True, eq=False)
class PictureMap:
    """N pictures and where each lies.

    images   [H, W, C] uint8 each
    ids      what each is called
    places   [N, 2] float (x, y) in [0, 1]
    cells    [N, 2] int64 (column, row) on the grid
    labels   [N] int64, the class of each; None where nobody says
    classes  their names
    """

    images: Sequence[np.ndarray]
    ids: Sequence[str]
    places: np.ndarray
    cells: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def scatter(self, side: int = 1600, thumbnail: int = 48) -> np.ndarray:
        """[side, side, 3] uint8: every picture where it lies; later ones lie on earlier ones."""
        out = np.full((side, side, 3), 255, dtype=np.uint8)
        corners = np.rint(self.places * (side - thumbnail)).astype(int)
        for n, (left, top) in enumerate(corners.tolist()):
            out[top : top + thumbnail, left : left + thumbnail] = self._small(n, thumbnail)
        return out

    def grid(self, thumbnail: int = 48) -> np.ndarray:
        """[h, w, 3] uint8: every picture on its place of the grid."""
        columns, rows = (self.cells.max(0) + 1).tolist()
        out = np.full((rows * thumbnail, columns * thumbnail, 3), 255, dtype=np.uint8)
        for n, (column, row) in enumerate(self.cells.tolist()):
            out[row * thumbnail : (row + 1) * thumbnail, column * thumbnail : (column + 1) * thumbnail] = self._small(
                n, thumbnail
            )
        return out

    def page(self, title: str) -> str:
        """An HTML page that loads nothing from anywhere: to move about in, come closer, and go from map to grid."""
        columns = math.ceil(math.sqrt(len(self.images)))
        rows = math.ceil(len(self.images) / columns)
        sheet = np.full((rows * THUMBNAIL, columns * THUMBNAIL, 3), 255, dtype=np.uint8)
        for n in range(len(self.images)):
            top, left = n // columns * THUMBNAIL, n % columns * THUMBNAIL
            sheet[top : top + THUMBNAIL, left : left + THUMBNAIL] = self._small(n, THUMBNAIL, framed=False)
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "JPEG", quality=80, optimize=True)
        count = max(1, int(self.cells.max()) + 1)
        known = self.labels is not None
        data = {
            "thumbnail": THUMBNAIL,
            "columns": columns,
            "places": np.round(self.places, 4).tolist(),
            "cells": ((self.cells + 0.5) / count).round(4).tolist(),
            "across": count,
            "ids": [name.encode("utf-8", "replace").decode() for name in self.ids],
            "labels": self.labels.tolist() if self.labels is not None else [],
            "classes": list(self.classes) if known else [],
            "colours": ["rgb({}, {}, {})".format(*colour(k)) for k in range(len(self.classes))] if known else [],
        }
        template = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
        ).get_template("picture_map.html")
        # A name could end the script it stands in.
        safe = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
        sheet_uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        return template.render(title=title, data=safe, sheet=sheet_uri)

    def _small(self, n: int, side: int, framed: bool = True) -> np.ndarray:
        """[side, side, 3] uint8: the middle of a picture, in a frame of its class's colour."""
        image = self.images[n]
        image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
        short = min(image.shape[:2])
        top, left = (image.shape[0] - short) // 2, (image.shape[1] - short) // 2
        way = cv2.INTER_AREA if short > side else cv2.INTER_CUBIC
        small = cv2.resize(image[top : top + short, left : left + short], (side, side), interpolation=way)
        if framed and self.labels is not None:
            small[:FRAME], small[-FRAME:], small[:, :FRAME], small[:, -FRAME:] = (colour(int(self.labels[n])),) * 4
        return small
