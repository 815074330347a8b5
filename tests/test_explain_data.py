"""What looks through a data set: strongest patches, neighbours, maps of pictures, and what moving an image does."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saccade.errors import SaccadeError, UsageError
from saccade.explain import neighbours
from saccade.explain.embedding_map import embedding_map, on_grid
from saccade.explain.feature_maps import feature_maps
from saccade.explain.filters import filters
from saccade.explain.shifts import shifts
from saccade.explain.top_patches import top_patches
from saccade.models import create_model
from saccade.report.explain_plots import dots
from saccade.report.heat import around_grey, grey, heat, overlay, unit
from saccade.report.palette import colour


class Two(nn.Module):
    """Two channels: the image, and its negative, in steps of two pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 2, stride=2, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.maps(inputs).flatten(1)


def noise(count: int, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


# Top patches


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_top_patches_are_those_of_all_activations_sorted(batch: int) -> None:
    images, model = noise(20), Two()
    found = top_patches(model, images.split(batch), "maps", count=5)
    every = model.maps(images).detach()
    for channel in range(2):
        strongest = sorted(
            ((float(every[n, channel].max()), n) for n in range(20)), key=lambda pair: (-pair[0], pair[1])
        )
        assert found.images[channel].tolist() == [n for _, n in strongest[:5]]
        np.testing.assert_allclose(found.values[channel], [value for value, _ in strongest[:5]])
        for n, (row, column) in zip(found.images[channel], found.places[channel], strict=True):
            assert every[n, channel, row, column] == every[n, channel].max()


def test_fewer_images_than_asked_for_leave_places_empty() -> None:
    found = top_patches(Two(), [noise(2)], "maps", channels=[1], count=4)
    assert np.isfinite(found.values[0]).tolist() == [True, True, False, False]
    assert found.images[0, 2:].tolist() == [-1, -1]


def test_what_cannot_be_looked_for_is_an_error() -> None:
    with pytest.raises(UsageError, match="channels 0 to 1, not 2"):
        top_patches(Two(), [noise(2)], "maps", channels=[0, 2])
    with pytest.raises(UsageError, match="there are no images"):
        top_patches(Two(), [], "maps")
    with pytest.raises(UsageError, match="no spatial extent"):
        top_patches(create_model("lenet", 10), [noise(2, 28)], "fc2")


# Neighbours


def rows(count: int, seed: int = 0) -> np.ndarray:
    return neighbours.unit(np.random.default_rng(seed).normal(size=(count, 7)).astype(np.float32))


def test_neighbours_are_those_of_the_whole_table_of_cosines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 13)
    table, queries = rows(100), rows(5, seed=1)
    index = neighbours.build(tmp_path / "index", iter(np.split(table, [10, 50])), [str(n) for n in range(100)], {})
    places, alike = index.nearest(queries, 8)
    wanted = queries @ table.T
    np.testing.assert_array_equal(places, np.argsort(-wanted, axis=1, kind="stable")[:, :8])
    np.testing.assert_allclose(alike, np.take_along_axis(wanted, places, 1), rtol=1e-6)


def test_of_equals_the_earlier_comes_first_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 2)
    same = np.repeat(rows(1), 7, axis=0)
    places, _ = neighbours.Index(same, tuple("abcdefg"), {}).nearest(same[:1], 5)
    assert places.tolist() == [[0, 1, 2, 3, 4]]


def test_more_than_there_are_gives_all(tmp_path: Path) -> None:
    places, _ = neighbours.Index(rows(3), ("a", "b", "c"), {}).nearest(rows(1), 10)
    assert sorted(places[0].tolist()) == [0, 1, 2]


def test_an_index_can_be_opened_again_and_replaced(tmp_path: Path) -> None:
    folder, table = tmp_path / "index", rows(4)
    neighbours.build(folder, [table], list("abcd"), {"model": "one"})
    again = neighbours.load(folder)
    np.testing.assert_array_equal(again.features, table)
    assert (again.ids, again.about) == (tuple("abcd"), {"model": "one"})
    neighbours.build(folder, [table[:2]], list("ef"), {"model": "other"})
    assert neighbours.load(folder).ids == ("e", "f")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_nothing_but_an_index_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"a picture")
    with pytest.raises(UsageError, match="no index"):
        neighbours.build(tmp_path / "photos", [rows(1)], ["a"], {})
    assert (tmp_path / "photos" / "mine.jpg").read_bytes() == b"a picture"
    (tmp_path / "photos").rename(tmp_path / "index.new")  # the name that an index has while it is made
    with pytest.raises(UsageError, match="choose another place"):
        neighbours.build(tmp_path / "index", [rows(1)], ["a"], {})
    assert (tmp_path / "index.new" / "mine.jpg").read_bytes() == b"a picture"


@pytest.mark.parametrize("damage", ["cut", "other rows", "no json", "no list", "gone"])
def test_a_damaged_index_is_an_error(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    neighbours.build(folder, [rows(4)], list("abcd"), {})
    features, about = folder / neighbours.FEATURES, folder / neighbours.ABOUT
    if damage == "cut":
        features.write_bytes(features.read_bytes()[:100])
    elif damage == "other rows":
        np.save(features, rows(3))
    elif damage == "no json":
        about.write_text("{")
    elif damage == "no list":
        about.write_text(json.dumps({"ids": 4, "about": {}}))
    else:
        features.unlink()
    with pytest.raises(SaccadeError, match=r"damaged.*delete it, and it is built again"):
        neighbours.load(folder)


def test_an_index_that_a_kill_left_half_written_is_none(tmp_path: Path) -> None:
    def stopped():
        yield rows(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neighbours.build(tmp_path / "index", stopped(), list("abcd"), {})
    with pytest.raises(UsageError, match="no index"):
        neighbours.load(tmp_path / "index")
    assert neighbours.build(tmp_path / "index", [rows(4)], list("abcd"), {}).ids == tuple("abcd")


def test_features_are_the_means_of_maps_with_length_one() -> None:
    images, model = noise(3), Two()
    found = neighbours.features_of(model, images, "maps")
    means = model.maps(images).detach().mean((2, 3)).numpy()
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5)
    images[1] = torch.nan
    with pytest.raises(SaccadeError, match="not finite"):
        neighbours.features_of(model, images, "maps")


# Maps of pictures


def test_groups_stay_groups_on_the_map() -> None:
    from sklearn.manifold import trustworthiness

    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(5 * k, 1, size=(30, 20)) for k in range(3)])
    for method in ("tsne", "pca"):
        places = embedding_map(features, method)
        assert places.shape == (90, 2)
        assert places.min() == 0
        assert places.max() == 1
        centres = np.stack([places[30 * k : 30 * k + 30].mean(0) for k in range(3)])
        nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
        assert (nearest == np.repeat(np.arange(3), 30)).all()
    assert trustworthiness(features, embedding_map(features), n_neighbors=5) > 0.8


def test_pca_keeps_distances_that_lie_in_a_plane() -> None:
    rng = np.random.default_rng(1)
    plane, turn = rng.normal(size=(40, 2)), np.linalg.qr(rng.normal(size=(10, 2)))[0]
    places = embedding_map(plane @ turn.T, "pca")
    # Each axis of the map is one direction of the plane, stretched to the unit square.
    span = np.ptp((plane - plane.mean(0)) @ np.linalg.svd(plane - plane.mean(0))[2].T, axis=0)
    back = (places - places.mean(0)) * span
    wanted = np.linalg.norm(plane[:, None] - plane, axis=2)
    np.testing.assert_allclose(np.linalg.norm(back[:, None] - back, axis=2), wanted, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_few_pictures_make_a_map_too(count: int) -> None:
    features = rows(count)
    for method in ("tsne", "pca"):
        assert np.isfinite(embedding_map(features, method)).all()
    assert len(set(map(tuple, on_grid(embedding_map(features)).tolist()))) == count


def test_a_map_is_repeatable_and_its_options_are_checked() -> None:
    features = rows(30)
    np.testing.assert_array_equal(embedding_map(features, seed=3), embedding_map(features, seed=3))
    with pytest.raises(UsageError, match="tsne or pca, not 'umap'"):
        embedding_map(features, "umap")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="perplexity"):
        embedding_map(features, perplexity=30)


def test_the_grid_is_the_best_of_all_orders() -> None:
    places = np.random.default_rng(2).random((5, 2)).astype(np.float32)
    cells = on_grid(places)
    assert len(set(map(tuple, cells.tolist()))) == 5
    spread = 0.5 * places + 0.5 * (places.argsort(0).argsort(0) + 0.5) / 5
    free = [(column, row) for row in range(2) for column in range(3)]

    def cost(chosen) -> float:
        return float((((np.array(chosen) + 0.5) / (3, 2) - spread) ** 2).sum())

    best = min(cost(order) for order in itertools.permutations(free, 5))
    assert cost(cells) == pytest.approx(best, rel=1e-5)


def test_the_map_of_marks_has_one_for_each_image_at_its_place_in_its_class_s_colour() -> None:
    """Read back from the SVG, whose pixels are an affine map of the places; and the names of the legend."""
    places = np.random.default_rng(0).random((9, 2))
    labels = np.array([3, 0, 2, 0, 3, 0, 2, 0, 3])
    svg = dots(places, labels, ("kön<ig", "absent", "猫", "d"), "a map")
    names = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert names == ["kön&lt;ig", "猫", "d"]
    drawn: dict[str, list[tuple[float, float]]] = {}
    for x, y, ground in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: (#\w+)', svg):
        drawn.setdefault(ground, []).append((float(x), float(y)))
    found, expected = [], []
    for label in (0, 2, 3):
        own = drawn.pop("#{:02x}{:02x}{:02x}".format(*colour(label)))
        own.remove(max(own))  # the legend's, beyond all others
        found += own
        expected += places[labels == label].tolist()
    assert not drawn
    for pixels, shares in zip(np.array(found).T, np.array(expected).T, strict=True):
        slope, start = np.polyfit(shares, pixels, 1)
        assert slope > 0
        np.testing.assert_allclose(start + slope * shares, pixels, atol=1e-3)


# What moves it


class Steps(nn.Module):
    """A convolution, the same in steps of four, and the mean of all places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.same, self.strided = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 4, stride=4)
        self.pooled = nn.AdaptiveAvgPool2d(1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.pooled(self.strided(self.same(inputs)).abs()).flatten(1)


@pytest.fixture(scope="module")
def blob() -> Tensor:
    """Something in the middle of nothing, which moves without meeting the edge."""
    image = torch.zeros(1, 1, 64, 64)
    image[..., 24:40, 20:36] = noise(1, 16)[0]
    return image


def test_a_convolution_moves_with_the_image_and_a_stride_only_by_whole_steps(blob: Tensor) -> None:
    found = shifts(Steps(), blob, ["same", "strided", "pooled"], "translate", [0, 1, 2, 4, 8])
    same, strided, pooled = found.equivariance
    np.testing.assert_allclose(same, 1, atol=1e-5)
    np.testing.assert_allclose(strided[[0, 3, 4]], 1, atol=1e-5)
    assert strided[1] < 0.99
    assert strided[2] < strided[1]
    assert np.isnan(pooled).all()


def test_what_is_averaged_over_all_places_stays_as_it_was(blob: Tensor) -> None:
    found = shifts(Steps(), blob, ["same", "strided", "pooled"], "translate", [0, 4, 8])
    same, _, pooled = found.invariance
    np.testing.assert_allclose(pooled, 1, atol=1e-4)
    assert same[0] == pytest.approx(1)
    assert same[2] < 0.3


def test_a_filter_that_looks_alike_from_all_sides_turns_with_the_image(blob: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2, 1], [2, -3, 2], [1, 2, 1]]))
    round_one = shifts(model, blob, ["0"], "rotate", [90.0])
    assert round_one.equivariance[0, 0] == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))
    edge = shifts(model, blob, ["0"], "rotate", [90.0])
    assert edge.equivariance[0, 0] < 0.5


def test_an_unknown_move_is_an_error(blob: Tensor) -> None:
    with pytest.raises(UsageError, match="translate, rotate or scale"):
        shifts(Steps(), blob, ["same"], "mirror")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="above 0"):
        shifts(Steps(), blob, ["same"], "scale", [0.0])


# Filters and feature maps


def test_filters_are_the_weights_of_the_first_layer() -> None:
    model = create_model("squeezenet1_0", 10)
    found = filters(model)
    assert (found.layer, found.weights.shape) == ("features.0", (96, 7, 7, 3))
    np.testing.assert_array_equal(found.weights[5, 2, 3], model.features[0].weight[5, :, 2, 3].detach().numpy())
    assert len(found.tiles()) == 96


def test_deeper_filters_are_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="96 channels of the layer before"):
        filters(create_model("squeezenet1_0", 10), "features.3.squeeze")
    with pytest.raises(UsageError, match=r"is a ReLU and has no filters; the first that has is features\.0"):
        filters(create_model("squeezenet1_0", 10), "features.1")
    with pytest.raises(UsageError, match="colours"):
        filters(create_model("mobilenet_v2", 10), "features.1.conv.0.0")  # one channel each, but not the image's


def test_feature_maps_are_what_the_layer_gave() -> None:
    image, model = noise(1), Two()
    found = feature_maps(model, image, "maps")
    np.testing.assert_array_equal(found.maps, model.maps(image)[0].detach().numpy())
    assert [tile.title for tile in found.tiles(most=1)] == ["0"]


# Pictures of numbers


def test_heat_is_black_at_nothing_and_bright_at_the_most() -> None:
    values = np.linspace(0, 1, 64).reshape(8, 8)
    picture = heat(values, share=1.0)
    assert picture[0, 0].tolist() == [0, 0, 4]
    assert picture[7, 7].tolist() == [252, 255, 164]
    luminance = picture.astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance.ravel()) > 0).all(), "brighter must mean more, in grey too"


def test_what_speaks_against_has_the_other_colour() -> None:
    picture = heat(np.array([[-1.0, 0.0, 1.0]]), signed=True, share=1.0)
    assert picture[0].tolist() == [[0, 114, 178], [247, 247, 247], [213, 94, 0]]


def test_where_nothing_is_said_the_image_is_seen() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    calm = overlay(image, np.zeros((6, 6)))
    assert (np.ptp(calm, axis=2) == 0).all()
    values = np.zeros((6, 6))
    values[2, 3] = 1
    assert (overlay(image, values, share=1.0) != calm).any(axis=2).sum() == 1


def test_scales_hold_for_nothing_and_for_one_number() -> None:
    assert unit(np.zeros((3, 3))).tolist() == np.zeros((3, 3)).tolist()
    assert grey(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert around_grey(np.zeros((2, 2, 3))).tolist() == np.full((2, 2, 3), 128).tolist()
    one = np.zeros((100, 100))
    one[0, 0] = 5  # beyond the share that the scale covers, and all there is
    assert unit(one).max() == 1


PEAK = """
import resource, sys, torch
from saccade.explain.top_patches import top_patches
from saccade.models import create_model
torch.manual_seed(0)
model = create_model("lenet", 10).eval()
batches = (torch.rand(250, 1, *model.input_size) for _ in range(int(sys.argv[1]) // 250))
found = top_patches(model, batches, "{layer}", count=9)
print(found.images.max(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_fifty_thousand_images_take_no_more_memory_than_two_and_a_half() -> None:
    model = create_model("lenet", 10)
    layer = next(name for name, one in model.named_modules() if isinstance(one, nn.Conv2d))
    peaks = []
    for count in (2_500, 50_000):
        done = subprocess.run(
            [sys.executable, "-c", PEAK.replace("{layer}", layer), str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        last, megabytes = map(int, done.stdout.split())
        assert last > count // 2, "the later images were not looked at"
        peaks.append(megabytes)
    assert peaks[1] - peaks[0] < 32
