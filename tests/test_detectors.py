"""The detectors: equal to the published ones, able to learn, and not to be thrown by any image or annotation."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from fusing import check_fused
from heart import learn_by_heart
from torch import Tensor, nn

from saccade.backbones.stages import stages_of
from saccade.backbones.weights import Weights
from saccade.errors import UsageError
from saccade.geometry.masks import Polygon
from saccade.geometry.view import View
from saccade.models import MODELS, create_model, create_task, load_weights
from saccade.structures import Batch, Instances, Size
from saccade.tasks.detect.contract import Detector
from saccade.tasks.detect.faster_rcnn import Drawn, FasterRCNN
from saccade.tasks.detect.mask_rcnn import KeypointRCNN, MaskRCNN
from saccade.tasks.detect.task import Aim
from saccade.training.config import configure
from saccade.training.freeze import norms_of, plan

SMALL = {"backbone": "resnet18", "width": 32, "hidden": 64, "smallest": 16, "sampled": 64}
JOINTS: dict[str, Any] = {
    "num_keypoints": 3,
    "depth": 2,
    "margin": 0.15,
    "overlap": 0.6,
    "rescore": True,
    "batch_norm": True,
    "smooth": 2.0,
}
FINDS = {"fasterrcnn_fpn": {}, "maskrcnn_fpn": {}, "keypointrcnn_fpn": JOINTS}


def small(name: str, classes: int = 10) -> Detector:
    torch.manual_seed(0)
    model = create_model(name, classes, **SMALL, **FINDS[name])
    assert isinstance(model, Detector)
    return model


# --- equal to the published ones --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"])
@torch.no_grad()
def test_every_part_equals_the_published_one(name: str, golden: tuple[ModuleType, dict[str, Any]]) -> None:
    fill, references = golden
    reference = references[name]
    model = create_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == reference["params"]
    assert (len(model.state_dict()), fill.signature(model)) == (reference["entries"], reference["signature"])
    model = fill.fill(model)
    batch, channels, height, width = reference["input"]
    maps = model.backbone(fill.image(height, width, channels, batch))
    proposals = [torch.tensor(boxes) for boxes in reference["proposals"]]
    objectness, deltas = model.rpn.head(maps)
    anchors, _, _ = model.rpn(maps, (height, width))
    logits, moves = model.roi_heads(maps, proposals)
    got = {f"fpn.{level}": one for level, one in zip(["0", "1", "2", "3", "pool"], maps, strict=True)}
    got |= {f"rpn.objectness.{level}": one for level, one in enumerate(objectness)}
    got |= {f"rpn.deltas.{level}": one for level, one in enumerate(deltas)}
    got |= {"rpn.anchors.0": torch.cat(anchors), "box.pooled": model.roi_heads.pool(maps, proposals, 7)}
    got |= {"box.logits": logits, "box.deltas": moves}
    if name.startswith("mask"):
        got["mask.logits"] = model.masks(maps, proposals)
    assert set(got) == set(reference["output"])
    for part, expected in reference["output"].items():
        found = fill.digest(got[part])
        assert found["shape"] == expected["shape"], part
        assert np.abs(np.subtract(found["values"], expected["values"])).max() < 5e-5 * expected["std"], part
        assert found["std"] == pytest.approx(expected["std"], rel=1e-5), part


def test_published_files_are_read_under_todays_names() -> None:
    """A file with torchvision's old names, and norms trained with nothing added to the variance."""
    from saccade.backbones.published import WEIGHTS

    torch.manual_seed(1)
    model = create_model("maskrcnn_resnet50_fpn")
    old = {}
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        for new, was in {
            "rpn.head.conv.0.0.": "rpn.head.conv.",
            "_blocks.0.0.": "_blocks.0.",
            "_blocks.1.0.": "_blocks.1.",
            "_blocks.2.0.": "_blocks.2.",
            "_blocks.3.0.": "_blocks.3.",
            "mask_head.0.0.": "mask_head.mask_fcn1.",
            "mask_head.1.0.": "mask_head.mask_fcn2.",
            "mask_head.2.0.": "mask_head.mask_fcn3.",
            "mask_head.3.0.": "mask_head.mask_fcn4.",
        }.items():
            key = key.replace(new, was)
        # Among them variances of filters that are all but dead.
        old[key] = value * torch.logspace(-13, 1, len(value)) if key.endswith("running_var") else value
    convert = WEIGHTS["maskrcnn_resnet50_fpn"]["coco"].convert
    assert convert is not None
    fresh = create_model("maskrcnn_resnet50_fpn")
    fresh.load_state_dict(convert(old), strict=False)
    norms = {key.replace("running_var", "weight") for key in old if key.endswith("running_var")}
    for key, value in fresh.state_dict().items():
        if key not in norms and not key.endswith(("running_var", "num_batches_tracked")):
            assert torch.equal(value, model.state_dict()[key]), key
    inputs = torch.randn(1, 64, 5, 5)
    norm = copy.deepcopy(fresh.backbone.body.bn1).eval()
    mean, var, weight, bias = (
        old[f"backbone.body.bn1.{name}"][:, None, None].double()
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    by_hand = (inputs.double() - mean) / var.sqrt() * weight + bias
    assert torch.allclose(norm(inputs).double(), by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "left"),
    [
        ("fasterrcnn_fpn", {"backbone": "mobilenet_v2", "width": 32, "hidden": 32}, 0),
        ("maskrcnn_c4", {"backbone": "resnet18"}, 0),
        # The head of keypoints looks at what was found, which a forward does not say.
        ("keypointrcnn_fpn", {"backbone": "resnet18", "width": 32, "hidden": 32, "batch_norm": True}, 8),
    ],
)
def test_fused_norms_change_nothing(name: str, options: dict[str, Any], left: int) -> None:
    torch.manual_seed(0)
    check_fused(create_model(name, 3, **options), torch.randn(1, 3, 96, 96), left)


# --- learning ---------------------------------------------------------------------------------------------------------


def learnt_by_heart(name: str, steps: int) -> dict[str, float]:
    torch.manual_seed(0)
    model = create_model(name, 10, **SMALL | {"width": 64, "hidden": 128}, **FINDS[name])
    assert isinstance(model, Detector)
    return learn_by_heart(model, steps, 2e-3)


def test_boxes_learnt_by_heart() -> None:
    assert learnt_by_heart("fasterrcnn_fpn", 200)["box/AP"] > 95


@pytest.mark.slow
def test_masks_learnt_by_heart() -> None:
    result = learnt_by_heart("maskrcnn_fpn", 450)
    assert result["box/AP"] > 95
    assert result["mask/AP"] > 95


@pytest.mark.slow
def test_keypoints_learnt_by_heart() -> None:
    result = learnt_by_heart("keypointrcnn_fpn", 450)
    assert result["box/AP"] > 95
    assert result["keypoint/AP"] > 95


@pytest.mark.parametrize("name", [*FINDS, "fasterrcnn_c4", "maskrcnn_c4"])
def test_every_weight_that_matters_gets_a_gradient(name: str) -> None:
    options = {"backbone": "resnet18"} if name.endswith("c4") else SMALL | FINDS[name]
    torch.manual_seed(0)
    model = create_model(name, 3, **options)
    size = (64, 96)
    losses = model.losses(torch.randn(1, 3, *size), [size], [things(size, model.finds)])
    assert all(math.isfinite(value.item()) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # Of a pyramid's coarsest levels no box may be pooled; all else is always asked for.
    assert without == []


def test_keypoints_are_learnt_in_boxes_that_lie_well_enough() -> None:
    """Boxes of 20 x 20 that are 0, 2 and 5 pixels off overlap their thing by 1, 0.82 and 0.6."""
    model = create_model("keypointrcnn_fpn", 3, **SMALL, num_keypoints=3, depth=2, overlap=0.7)
    assert isinstance(model, KeypointRCNN)
    truth = things((64, 64), model.finds, [[10.0, 10.0, 30.0, 30.0]])
    truth.keypoints[0, :, :2] = [[12.0, 14.0], [20.0, 20.0], [29.0, 11.0]]  # pyright: ignore[reportOptionalSubscript]
    boxes = torch.tensor([[10.0, 10, 30, 30], [12, 10, 32, 30], [15, 10, 35, 30], [40, 40, 60, 60]])
    looked_at: list[torch.Tensor] = []

    def keypoints(maps: Any, own: Any) -> torch.Tensor:
        looked_at.extend(own)
        return torch.zeros(len(own[0]), 3, 56, 56)

    model.keypoints = keypoints  # pyright: ignore[reportAttributeAccessIssue]
    maps = model.backbone(torch.randn(1, 3, 64, 64))
    drawn = [Drawn(boxes, torch.tensor([0, 0, 0]), model.roi_heads.look(maps, [boxes]))]
    losses = model.losses_of_boxes(maps, drawn, [torch.as_tensor(truth.boxes).float()], [truth])
    assert looked_at[0].tolist() == boxes[:2].tolist()
    assert losses["keypoints"].item() == pytest.approx(math.log(56 * 56))
    with pytest.raises(UsageError, match=r"overlap must be at least 0\.5"):
        create_model("keypointrcnn_fpn", 3, **SMALL, overlap=0.3)


@torch.no_grad()
def test_on_one_map_boxes_and_masks_share_what_the_stage_made() -> None:
    """The masks' loss is that of the things looked at by themselves; of one thing the mask is not known."""
    model = create_model("maskrcnn_c4", 3, backbone="resnet18").eval()
    assert isinstance(model, MaskRCNN)
    truths = [things((64, 96), model.finds), things((64, 96), model.finds)]
    truths[0] = replace(truths[0], masks=(truths[0].masks[0], None))  # pyright: ignore[reportOptionalSubscript]
    both = torch.tensor([[6.0, 6, 30, 40], [41, 10, 60, 30]])
    background = torch.tensor([[70.0, 40, 90, 60], [0, 0, 10, 64], [50, 40, 64, 60]])
    drawn = [
        (torch.cat([both, background]), torch.tensor([0, 1])),
        (torch.cat([both[[1, 0, 1]], background[:1]]), torch.tensor([1, 0, 1])),
    ]
    maps = model.backbone(torch.randn(2, 3, 64, 96))
    boxes = [torch.as_tensor(truth.boxes).float() for truth in truths]

    def loss_of(chosen: list[tuple[Tensor, Tensor]]) -> float:
        hidden = model.roi_heads.look(maps, [own for own, _ in chosen]).split([len(own) for own, _ in chosen])
        drawn = [Drawn(*own, seen) for own, seen in zip(chosen, hidden, strict=True)]
        return model.losses_of_boxes(maps, drawn, boxes, truths)["masks"].item()

    given: list[Tensor] = []
    handle = model.roi_heads.mask_predictor.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    loss_of(drawn)
    handle.remove()
    torch.testing.assert_close(given[0], model.roi_heads.look(maps, [both[:1], both[[1, 0, 1]]]))
    alone = [(both[:1], torch.tensor([0])), (both[[1, 0, 1]], torch.tensor([1, 0, 1]))]
    assert loss_of(drawn) == pytest.approx(loss_of(alone), rel=1e-5)
    seen: list[int] = []
    model.trunk.get_submodule("layer4").register_forward_hook(lambda *_: seen.append(1))
    model.losses(torch.randn(2, 3, 64, 96), [(64, 96)] * 2, truths)
    assert seen == [1]


# --- images and annotations of every kind -----------------------------------------------------------------------------


def things(size: Size, finds: tuple[str, ...], boxes: list[list[float]] | None = None) -> Instances:
    """Some things, with all that the network finds."""
    boxes = [[5.0, 5.0, 30.0, 40.0], [40.0, 10.0, 60.0, 30.0]] if boxes is None else boxes
    own = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    corners = own[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    centre = (own[:, :2] + own[:, 2:]) / 2
    points = np.concatenate([centre[:, None].repeat(3, 1), np.full((len(own), 3, 1), 2.0)], axis=2)
    return Instances(
        size,
        own,
        np.arange(len(own)) % 3,
        masks=tuple(Polygon((ring,)) for ring in corners) if "mask" in finds else None,
        keypoints=points if "keypoints" in finds else None,
    )


def losses_of(model: Detector, size: Size, truths: list[Instances]) -> dict[str, float]:
    """After a step through everything; gradients must be numbers too."""
    model.train()
    losses = model.losses(torch.randn(len(truths), 3, *size), [size] * len(truths), truths)
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("name", FINDS)
def test_images_without_things(name: str) -> None:
    model, size = small(name, 3), (64, 64)
    nothing = things(size, model.finds, [])
    for truths in ([nothing], [nothing, nothing], [nothing, things(size, model.finds)]):
        losses = losses_of(model, size, truths)
        assert all(math.isfinite(value) for value in losses.values())
    alone = losses_of(model, size, [nothing])
    assert alone["boxes"] == alone["rpn_boxes"] == 0
    assert alone["class"] > 0
    assert [alone.get("masks", 0), alone.get("keypoints", 0)] == [0, 0]


@pytest.mark.parametrize("name", FINDS)
@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((64, 64), [[10.0, 10.0, 11.0, 11.0], [63.0, 63.0, 64.0, 64.0]]),
        ((64, 64), [[10.0, 10.0, 10.1, 10.1]]),
        ((32, 320), [[0.0, 0.0, 320.0, 32.0], [5.0, 1.0, 300.0, 2.0]]),
        ((320, 32), [[0.0, 0.0, 32.0, 320.0]]),
    ],
    ids=["one pixel", "a tenth of a pixel", "wide", "high"],
)
def test_strange_boxes(name: str, size: Size, boxes: list[list[float]]) -> None:
    model = small(name, 3)
    losses = losses_of(model, size, [things(size, model.finds, boxes)])
    assert all(0 <= value < 100 for value in losses.values()), losses
    model.eval()
    (found,) = model.detect(torch.randn(1, 3, *size), [size])
    assert torch.isfinite(found.boxes).all()


def test_five_thousand_boxes() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (5000, 2))
    model = small("maskrcnn_fpn", 3)
    crowd = things((64, 64), model.finds, np.concatenate([low, low + rng.uniform(1, 14, (5000, 2))], axis=1).tolist())
    assert all(math.isfinite(value) for value in losses_of(model, (64, 64), [crowd]).values())


def test_masks_in_parts_and_with_holes() -> None:
    model = small("maskrcnn_fpn", 3)
    ring = np.array(
        [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10], [20, 20], [20, 30], [30, 30], [30, 20], [20, 20]]
    )
    parts = Polygon((np.array([[42.0, 5], [50, 5], [50, 12]]), np.array([[52.0, 20], [60, 20], [60, 30], [52, 30]])))
    truth = things((64, 64), model.finds, [[10, 10, 40, 40], [42, 5, 60, 30]])
    truth = replace(truth, masks=(Polygon((ring.astype(np.float64),)), parts))
    assert all(0 <= value < 100 for value in losses_of(model, (64, 64), [truth]).values())


def test_a_thing_without_a_mask_teaches_no_mask() -> None:
    model = small("maskrcnn_fpn", 3)
    truth = replace(things((64, 64), model.finds), masks=(None, None))
    assert losses_of(model, (64, 64), [truth])["masks"] == 0


def test_keypoints_of_which_none_is_marked() -> None:
    model = small("keypointrcnn_fpn", 3)
    truth = things((64, 64), model.finds)
    assert truth.keypoints is not None
    points = truth.keypoints.copy()
    points[..., 2] = 0
    assert losses_of(model, (64, 64), [replace(truth, keypoints=points)])["keypoints"] == 0


# --- what a padded batch gives ----------------------------------------------------------------------------------------


def test_predictions_lie_in_the_original_image() -> None:
    """Two images of other sizes in one batch, one mirrored on its way in: boxes come back to their own pixels."""
    model = small("maskrcnn_fpn", 3)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] = -2.0  # so that something is found
    views = [
        View.identity((50, 40)).resized((100, 80)),
        View.identity((60, 30)).resized((60, 30)).flipped(horizontal=True),
    ]
    batch = Batch(torch.zeros(2, 3, 128, 96, dtype=torch.uint8), [None, None], views, ["a", "b"])
    task = create_task("detect", ("x", "y", "z"), model)
    found = task.predict(model.eval(), lambda _: torch.randn(2, 3, 128, 96), batch)
    for one, size in zip(found, [(50, 40), (60, 30)], strict=True):
        assert one.size == size
        assert len(one) > 0
        assert (one.boxes >= 0).all() and (one.boxes <= np.array(size[::-1] * 2)).all()
        assert one.scores is not None and (np.diff(one.scores) <= 0).all()
        assert one.masks is not None and all(mask is not None and mask.size == size for mask in one.masks)


def test_score_is_the_logit_and_has_a_gradient() -> None:
    model = small("fasterrcnn_fpn", 3).eval()
    task, inputs = create_task("detect", ("x", "y", "z"), model), torch.randn(2, 3, 64, 64, requires_grad=True)
    aim = Aim(torch.tensor([10.0, 10.0, 40.0, 50.0]), "y")
    score = task.score(model, inputs, aim)
    logits, _ = model.roi_heads(model.backbone(inputs), [aim.box[None]] * 2)
    assert torch.equal(score, logits[:, 2])
    score.sum().backward()
    assert inputs.grad is not None and inputs.grad.abs().sum() > 0


# --- backbones, weights, freezing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "vgg11", "densenet121", "squeezenet1_1", "resnext50_32x4d"])
def test_any_backbone(backbone: str) -> None:
    torch.manual_seed(0)
    model = create_model("fasterrcnn_fpn", 3, backbone=backbone, width=32, hidden=32)
    size = (96, 128)
    losses = losses_of(model, size, [things(size, model.finds)])
    assert all(math.isfinite(value) for value in losses.values())
    for one, stride in zip(model.backbone(torch.randn(1, 3, *size)), model.backbone.strides, strict=False):
        assert abs(one.shape[-2] - size[0] / stride) <= 1


def test_backbones_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="c4 uses the last stage of a ResNet"):
        create_model("fasterrcnn_c4", 3, backbone="vgg11")
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        create_model("fasterrcnn_fpn", 3, backbone="resnet81")
    with pytest.raises(UsageError, match="backbone"):
        create_model("fasterrcnn_resnet50_fpn", 3, backbones="resnet18")


def test_a_classifiers_weights_go_to_the_backbone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    classifier = create_model("resnet18", 7)
    torch.save(classifier.state_dict(), tmp_path / "own.pth")
    model = create_model("fasterrcnn_fpn", 3, weights=tmp_path / "own.pth", **SMALL)
    for key, value in model.backbone.body.state_dict().items():
        assert torch.equal(value, classifier.state_dict()[key])


def test_new_classes_keep_all_but_the_last_layers(tmp_path: Path) -> None:
    before = small("maskrcnn_fpn", 5)
    torch.save(before.state_dict(), tmp_path / "five.pth")
    after = create_model("maskrcnn_fpn", 2, **SMALL)
    load_weights(after, Weights(tmp_path / "five.pth"))
    fresh = []
    for key, value in after.state_dict().items():
        if value.shape != before.state_dict()[key].shape:
            assert not value.any(), "what names the classes starts at zero"
            fresh.append(key.rsplit(".", 1)[0])
        else:
            assert torch.equal(value, before.state_dict()[key]), key
    heads = {"box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits"}
    assert set(fresh) == {f"roi_heads.{head}" for head in heads}


def test_a_head_that_fits_is_kept_when_another_does_not(tmp_path: Path) -> None:
    before = small("keypointrcnn_fpn", 5)
    torch.save(before.state_dict(), tmp_path / "five.pth")
    after = create_model("keypointrcnn_fpn", 2, weights=tmp_path / "five.pth", **SMALL, **FINDS["keypointrcnn_fpn"])
    key = "roi_heads.keypoint_predictor.kps_score_lowres.weight"
    assert torch.equal(after.state_dict()[key], before.state_dict()[key])
    assert not after.state_dict()["roi_heads.box_predictor.cls_score.weight"].any()


def test_no_proposal_at_all() -> None:
    """Everything is moved out of the image: nothing is found, and the losses are still numbers."""
    model, size = small("maskrcnn_fpn", 3), (64, 64)
    with torch.no_grad():
        model.rpn.head.bbox_pred.bias.fill_(1e4)
    (found,) = model.eval().detect(torch.randn(1, 3, *size), [size])
    assert len(found.boxes) == 0 and found.masks is not None and len(found.masks) == 0
    for truth in (things(size, model.finds, []), things(size, model.finds)):
        losses = model.train().losses(torch.randn(1, 3, *size), [size], [truth])
        assert all(not math.isnan(value.item()) for value in losses.values())


def test_early_stages_and_norms_never_learn() -> None:
    model = small("fasterrcnn_fpn", 3)
    config = configure("finetune", {"epochs": 2}, "detect")
    freeze = plan(stages_of(model), "finetune", config, norms_of(model))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    freeze.hold(model, 0)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    truth = things((64, 64), model.finds)
    torch.stack(list(model.losses(torch.randn(1, 3, 64, 64), [(64, 64)], [truth]).values())).sum().backward()
    optimiser.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    body = {key.removeprefix("backbone.body.") for key in changed if key.startswith("backbone.body.")}
    assert body and not any(key.startswith(("conv1", "layer1")) or "bn" in key or "running" in key for key in body)
    assert "roi_heads.box_predictor.cls_score.weight" in changed


def test_the_catalogue_of_detectors() -> None:
    """Weights: torchvision's counts where it has the network, else by hand on top of the backbone's."""
    counts = {}
    for name in MODELS["detect"]:
        with torch.device("meta"):
            counts[name] = sum(parameter.numel() for parameter in MODELS["detect"][name]().parameters())
    assert counts["fasterrcnn_resnet50_fpn"] == counts["fasterrcnn_fpn"] == 41_808_406
    assert counts["maskrcnn_resnet50_fpn"] == counts["maskrcnn_fpn"] == 44_454_513
    # torchvision counts 59,137,258 and keeps the 2 x 26,560 weights of the norms apart, as buffers.
    assert counts["keypointrcnn_resnet50_fpn"] == 59_137_258 + 53_120
    # VGG-16 without its last layer, an RPN with 9 anchors, and 21 classes on 4,096 units.
    vgg = 138_357_544 - 4_097_000
    rpn = (512 * 512 * 9 + 512) + (512 * 9 + 9) + (512 * 36 + 36)
    assert counts["fasterrcnn_vgg16"] == vgg + rpn + 4097 * 21 + 4097 * 84
    # ResNet-50 without its last layer, an RPN of 1,024 channels and 15 anchors, 91 classes on 2,048 units.
    rpn = (1024 * 1024 * 9 + 1024) + (1024 * 15 + 15) + (1024 * 60 + 60)
    assert counts["fasterrcnn_c4"] == 25_557_032 - 2_049_000 + rpn + 2049 * 91 + 2049 * 364


@pytest.mark.parametrize(("name", "sides", "smallest"), [("c4", 5, 32), ("vgg16", 3, 128)])
def test_anchors_and_samples_on_one_map(name: str, sides: int, smallest: int) -> None:
    """As the papers have them, and as told: the square anchors, each twice as large as the one before."""
    small = {} if name == "vgg16" else {"backbone": "resnet18"}
    for options, least, sampled in (({}, smallest, 64), ({"smallest": 16, "sampled": 8}, 16, 8)):
        model = create_model(f"fasterrcnn_{name}", 3, **small, **options)
        assert isinstance(model, FasterRCNN)
        assert model.sampled == sampled
        (boxes,) = model.rpn.of_level
        squares = [right - left for left, top, right, bottom in boxes.tolist() if right - left == bottom - top]
        assert sorted(squares) == [least * 2**size for size in range(sides)]


@pytest.mark.parametrize(
    "name",
    ["fasterrcnn_fpn", "maskrcnn_fpn", "keypointrcnn_fpn", "fasterrcnn_c4", "maskrcnn_c4", "fasterrcnn_vgg16"],
)
def test_proposals_in_use_are_as_told(name: str) -> None:
    """So many boxes of each image, and no more, come to the heads."""
    own = {} if name == "fasterrcnn_vgg16" else {"backbone": "resnet18"}
    model = create_model(name, 3, **own, proposals=7).eval()
    assert isinstance(model, FasterRCNN)
    seen: list[int] = []
    model.roi_heads.box_predictor.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    model.detect(torch.zeros(2, 3, 96, 96), [(96, 96)] * 2)
    assert seen == [14]
    with pytest.raises(UsageError, match="at least 1 of the proposals, got 0"):
        create_model(name, 3, **own, proposals=0)


def test_what_is_less_sure_than_told_is_not_found() -> None:
    """With two stages and with one look: of what is found with no limit, that of a higher score than the limit."""
    torch.manual_seed(1)
    for model in (small("fasterrcnn_fpn", 3).eval(), create_model("yolov3_tiny", 3).eval()):
        assert isinstance(model, Detector)
        inputs = torch.randn(1, 3, 96, 96)
        model.sure = 0.0
        (everything,) = model.detect(inputs, [(96, 96)])
        model.sure = float(everything.scores[4])
        (found,) = model.detect(inputs, [(96, 96)])
        assert torch.equal(found.boxes, everything.boxes[everything.scores > model.sure])
        assert 0 < len(found.boxes) < len(everything.boxes)


@pytest.mark.parametrize(("options", "share"), [({}, 0.5), ({"dropout": 0.0}, 0.0)])
def test_dropout_of_fully_connected_layers(options: dict[str, float], share: float) -> None:
    """The paper's half, or as told, after fc6 and fc7."""
    model = create_model("fasterrcnn_vgg16", 3, **options)
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [share, share]


def test_roi_heads_choose_the_level_by_size() -> None:
    """Equation 1 of the paper: 224 x 224 is level 4, half of it level 3, beyond the ends the ends."""
    model = small("fasterrcnn_fpn", 3)
    maps = [torch.full((1, 32, 256 // stride, 256 // stride), float(stride)) for stride in (4, 8, 16, 32)]
    sides = [10.0, 111.0, 113.0, 223.0, 225.0, 250.0]
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    pooled: Tensor = model.roi_heads.pool(maps, [boxes], 1)
    assert pooled[:, 0, 0, 0].tolist() == [4, 4, 8, 8, 16, 16]
