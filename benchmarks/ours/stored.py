"""An epoch of a linear head on stored features, and with the frozen encoder in front of it: the same steps in both.

python -m benchmarks.ours.stored FOLDER: the folder's JPEG files, MobileNetV2 at 224 x 224, batches of 16, all cores.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.worker import serve, versions
from saccade import precision
from saccade.data.loader import Dataset, Loader
from saccade.data.source import Split
from saccade.layers.preprocess import Preprocess
from saccade.models import create_probe
from saccade.structures import Preprocessing
from saccade.training.features import FeatureStore, key_of

BATCH, CLASSES, COPIES = 16, 10, 20


def main() -> None:
    """Of the stored features a round is twenty epochs, because one is over before a clock can tell."""
    files = sorted(Path(sys.argv[1]).glob("*.jpg"))
    labels = np.arange(len(files)) % CLASSES
    torch.manual_seed(0)
    network = create_probe("mobilenet_v2", CLASSES).eval()
    loader = Loader(
        Dataset(Split(files, [file.name for file in files], labels), Preprocessing((224, 224), 256)),
        BATCH,
        shuffle=True,
        workers=1,
    )
    preprocess = Preprocess(loader.dataset.preprocessing)
    dtype = precision.choose("auto", torch.device("cpu"))

    def look(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return network.features(preprocess(images)).float()

    def step(rows: torch.Tensor, targets: torch.Tensor) -> None:
        F.cross_entropy(network.linear(rows), targets).backward()
        optimiser.step()
        optimiser.zero_grad()

    optimiser = torch.optim.AdamW(nn.ModuleList([network.linear]).parameters(), fused=True)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), network.channels[-1])
        keys = [key_of(file.name) for file in files]
        for start in range(0, len(files), BATCH):
            chosen = slice(start, start + BATCH)
            samples = [loader.dataset[0, n].image for n in range(len(files))[chosen]]
            images = torch.from_numpy(np.stack(samples)).permute(0, 3, 1, 2)
            store.add(keys[chosen], look(images).numpy().astype(np.float16))

        def stored() -> tuple[int, float]:
            started = time.perf_counter()
            for epoch in range(COPIES):
                order = np.random.default_rng(epoch).permutation(len(files))
                rows = torch.from_numpy(store.rows(keys[n] for n in order).astype(np.float32))
                targets = torch.from_numpy(labels[order])
                for start in range(0, len(files), BATCH):
                    step(rows[start : start + BATCH], targets[start : start + BATCH])
            return COPIES * len(files), time.perf_counter() - started

        def looking() -> tuple[int, float]:
            started = time.perf_counter()
            for batch in loader.epoch():
                step(look(batch.images), batch.targets)
            return len(loader) * BATCH, time.perf_counter() - started

        stored()
        looking()
        serve({"ours": stored, "peer": looking}, versions("torch"))


if __name__ == "__main__":
    main()
