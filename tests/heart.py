"""What a detector says of eight scenes that it was shown many times over."""

import torch
from torch import nn

from saccade.data.formats.scenes import scenes
from saccade.data.loader import Dataset, Loader, collate
from saccade.layers.preprocess import Preprocess
from saccade.models import create_task
from saccade.structures import Preprocessing
from saccade.tasks.detect.contract import Detector
from saccade.training.loop import evaluate

SIDE = 96


def learn_by_heart(model: Detector, steps: int, rate: float, settled: float = 1.0) -> dict[str, float]:
    """The scores on the eight scenes, after so many steps of all eight.

    model    of ten classes
    rate     rises over 20 steps, and is a tenth for the last 30 % of them
    settled  share of the steps after which the norms stay as they are. What they keep for prediction has a variance
             n / (n - 1) times that of a batch; YOLOv1's last layers see n = 8 x 2 x 2 places here, and without this its
             boxes lie so much elsewhere that AP is 71
    """
    source = scenes(SIDE)
    split = source.splits["train"].take(range(8))
    stretched = model.standard_preprocessing().frame == "stretched"
    preprocessing = Preprocessing.stretched((SIDE, SIDE)) if stretched else Preprocessing.whole(SIDE, SIDE)
    data = Dataset(split, preprocessing, known="objects")
    batch = collate([data[0, index] for index in range(8)], preprocessing)
    assert split.objects is not None
    task, preprocess = create_task("detect", source.classes, model, split.objects.skeleton), Preprocess(preprocessing)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0)
    inputs = preprocess(batch.images)
    model.train()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / 20) * (1 if step < 0.7 * steps else 0.1)
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.train(step < settled * steps)
        optimiser.zero_grad()
        torch.stack(list(task.loss(model, inputs, batch).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
    return evaluate(task, model, preprocess, Loader(data, 8, shuffle=False)).result()
