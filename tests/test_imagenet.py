"""Published weights on real, labelled ImageNet pictures: the whole road from file to class, 1,000 ways."""

from pathlib import Path

import numpy as np
import pytest
import torch

from saccade.backbones.weights import class_names, resolve
from saccade.data.loader import Dataset, Loader
from saccade.data.source import read
from saccade.layers.preprocess import Preprocess
from saccade.models import create_model

# WordNet's ids of ten classes, and their places among ImageNet's thousand.
PLACES = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497,
    "n03394916": 566, "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "top1", "top5"), [("squeezenet1_0", 57.2, 81.2), ("mobilenet_v2", 62.2, 84.6)])
def test_real_weights_classify_real_pictures(
    name: str, top1: float, top5: float, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 0.6 points of what torchvision's modules with the same weights give on the same 500 pictures."""
    monkeypatch.setenv("SACCADE_WEIGHTS", str(shared / "weights"))
    weights = resolve(name, "imagenet")
    assert weights.preprocessing
    assert weights.classes == class_names("imagenet")
    source = read(shared / "data" / "imagenette")
    split = source.splits["val"]
    model, preprocess = create_model(name, weights=weights).eval(), Preprocess(weights.preprocessing)
    places = np.array([PLACES[wnid] for wnid in source.classes])
    ranks = []
    with torch.inference_mode():
        for batch in Loader(Dataset(split, weights.preprocessing), 50, shuffle=False).epoch():
            logits = model(preprocess(batch.images))
            own = logits.gather(1, torch.from_numpy(places)[batch.targets][:, None])
            ranks += (logits > own).sum(1).tolist()
    assert len(ranks) == 500
    found = [100 * np.mean(np.array(ranks) < k) for k in (1, 5)]
    print(name, found)
    assert found == pytest.approx([top1, top5], abs=0.6)
