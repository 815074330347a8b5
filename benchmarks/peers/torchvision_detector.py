"""torchvision's detector, eager, float32: python -m benchmarks.peers.torchvision_detector pool|predict|step|look."""

import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn, ssdlite320_mobilenet_v3_large
from torchvision.ops import roi_align

from benchmarks import regions
from benchmarks.worker import serve, versions

BATCH = 2


def pool() -> object:
    def own(maps: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return roi_align(maps, [boxes], regions.BINS, 1 / regions.STRIDE, 2)

    return regions.pool_round(own, channels_last=False)


def predict() -> object:
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    picture = torch.from_numpy(regions.image(1)[0]).permute(2, 0, 1).contiguous()

    def work() -> int:
        with torch.inference_mode():
            for _ in range(2):
                model([picture.float() / 255])
        return 2

    return regions.timed(work)


def step() -> object:
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    pictures = torch.from_numpy(regions.image(BATCH)).permute(0, 3, 1, 2).float().contiguous() / 255
    boxes, labels = (torch.from_numpy(array) for array in regions.things())

    def work() -> int:
        optimiser.zero_grad()
        targets = [{"boxes": boxes, "labels": labels + 1} for _ in range(BATCH)]
        sum(model(list(pictures), targets).values()).backward()
        optimiser.step()
        return BATCH

    return regions.timed(work)


def look() -> object:
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=91)
    pictures = torch.from_numpy(regions.small_images(4)).permute(0, 3, 1, 2).contiguous()
    picture = pictures[0]
    inputs = model.transform(list(pictures.float() / 255))[0].tensors
    regions.settle(model, lambda: model.head(list(model.backbone(inputs).values())))
    with torch.no_grad():
        logits = model.head(list(model.backbone(inputs[:1]).values()))["cls_logits"]
        # So much more background that as many answers as with ours are compared; found by halving.
        low, high = -50.0, 50.0
        for _ in range(50):
            more = (low + high) / 2
            shifted = logits.clone()
            shifted[..., 0] += more
            count = int((shifted.softmax(-1)[..., 1:] > model.score_thresh).sum())
            low, high = (more, high) if count > regions.CANDIDATES else (low, more)
        for layers in model.head.classification_head.module_list:
            layers[1].bias.view(-1, 91)[:, 0] += high
        scores = model.head(list(model.backbone(inputs[:1]).values()))["cls_logits"].softmax(-1)[..., 1:]
        count = int((scores > model.score_thresh).sum())
    assert 0.8 * regions.CANDIDATES < count < 1.2 * regions.CANDIDATES, count

    def work() -> int:
        with torch.inference_mode():
            for _ in range(20):
                model([picture.float() / 255])
        return 20

    return regions.timed(work)


if __name__ == "__main__":
    about = f"{versions('torch', 'torchvision')}, float32, contiguous"
    serve({"peer": {"pool": pool, "predict": predict, "step": step, "look": look}[regions.asked()]()}, about)
