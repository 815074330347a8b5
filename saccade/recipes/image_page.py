"""What a report says of a network that makes images of images: how near it comes, and where it stays farthest."""

import numpy as np

from saccade.data.targets import truth_of
from saccade.metrics.image import ImageMetric, compare
from saccade.recipes.evaluate import Evaluation
from saccade.recipes.thumbnail import small_view
from saccade.report.page import LARGE, Fact, Pictures, Section, Table, Tile
from saccade.structures import ColourMap
from saccade.wording import counted

WORST = 12  # images that a person can take in
COMPARED = 32  # images whose input is compared with what was wanted
GAP = 6  # pixels between the pictures of a tile


def headline(evaluation: Evaluation) -> list[Fact]:
    """The numbers a person wants first."""
    result, images = evaluation.result, len(evaluation.metric.outcomes)
    detail = f"in {counted(images, f'{evaluation.split} image', f'{evaluation.split} images')}"
    return [
        Fact(
            "PSNR", f"{result['psnr']:.2f} dB", f"{detail}; the inputs themselves have {_of_inputs(evaluation):.2f} dB"
        ),
        Fact("SSIM", f"{result['ssim']:.1f} %", "how alike the structure is"),
        Fact("difference", f"{result['l1']:.2f} %", "of the range from black to white, on average"),
    ]


def outcome_sections(evaluation: Evaluation, suffix: str) -> list[Section]:
    """The images farthest from what was wanted, and all numbers."""
    numbers = Table(("number", "value"), [(name, value) for name, value in evaluation.result.items()])
    return [
        Section(f"Where it stays farthest{suffix}", [_worst(evaluation)]),
        Section(f"All numbers{suffix}", [numbers], open=False),
    ]


def _wanted(evaluation: Evaluation, index: int) -> np.ndarray:
    """[H, W, 3] uint8."""
    size = evaluation.data.open(index).size
    return truth_of(evaluation.data, index, size, "targets").pixels


def _of_inputs(evaluation: Evaluation) -> float:
    """The mean PSNR of what was given, evenly over the images."""
    count = len(evaluation.data)
    chosen = np.linspace(0, count - 1, min(count, COMPARED)).astype(int).tolist()
    given = (evaluation.data.open(index).pixels("RGB")[0] for index in chosen)
    return float(
        np.mean([compare(own, _wanted(evaluation, index)).psnr for own, index in zip(given, chosen, strict=True)])
    )


def _worst(evaluation: Evaluation) -> Pictures:
    """Input, output and what was wanted of the images with the lowest PSNR."""
    metric: ImageMetric = evaluation.metric
    index = {id: number for number, id in enumerate(evaluation.data.ids)}
    ranked = sorted(metric.outcomes, key=lambda id: (metric.outcomes[id].psnr, index[id]))
    tiles = []
    for id in ranked[:WORST]:
        picture = evaluation.data.open(index[id])
        said = evaluation.predictor.look(picture)
        assert isinstance(said, ColourMap)
        given = evaluation.data.open(index[id]).pixels("RGB")[0]
        view = small_view(picture.size, LARGE // 3)
        sides = [view.apply(pixels) for pixels in (given, said.pixels, _wanted(evaluation, index[id]))]
        gap = np.full((view.size[0], GAP, 3), 255, dtype=np.uint8)
        tile = np.concatenate([sides[0], gap, sides[1], gap, sides[2]], axis=1)
        tiles.append(Tile(tile, id, f"PSNR {metric.outcomes[id].psnr:.2f} dB"))
    caption = (
        f"The {len(tiles)} of {counted(len(ranked), 'image', 'images')} with the lowest PSNR: the input, what was made "
        f"of it, and what was wanted."
    )
    return Pictures(tiles, caption, large=True)
