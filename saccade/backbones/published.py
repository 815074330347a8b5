"""The table of published weights: where each file is, what it expects, what it reached, and how it deviates."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from saccade.backbones import densenet
from saccade.structures import Preprocessing

State = dict[str, Tensor]


@dataclass(frozen=True)
class Published:
    """One published file.

    sha256         the first digits of its hash
    preprocessing  how it likes its images
    classes        which list of class names its outputs follow
    errors         top-1 and top-5 error in percent on the 50,000 validation images of ImageNet, as its publisher states
                   them; None where there is no classifier
    results        of a detector on COCO's val2017, as its publisher states them, under the names of metrics.json
    newer_recipe   trained longer and with more augmentation than the papers did: not to be compared with the others
    convert        what makes its entries those of the network, where they are not
    """

    url: str
    sha256: str
    licence: str
    preprocessing: Preprocessing
    classes: str = "imagenet"
    errors: tuple[float, float] | None = None
    results: Mapping[str, float] = field(default_factory=dict)
    newer_recipe: bool = False
    convert: Callable[[State], State] | None = None


INCEPTION = (0.5, 0.5, 0.5)
# Darknet's networks take pixels from 0 to 1 as they are.
DARKNET = replace(Preprocessing.whole(416, 416), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SSD_MEAN = (0.48235, 0.45882, 0.40784)


def _torchvision(
    file: str,
    top1: float,
    top5: float,
    resize: int = 256,
    size: int = 224,
    scaled: bool = False,
    convert: Callable[[State], State] | None = None,
) -> Published:
    """A file of torchvision's, trained on ImageNet; its hash stands in its name.

    top1, top5  accuracy in percent, as torchvision states it
    scaled      the file comes from TensorFlow, where pixels were scaled to -1 ... 1. torchvision's network undoes its
                own normalisation inside (transform_input); here the file says what it wants, and the network is plain
    """
    mean, std = (INCEPTION, INCEPTION) if scaled else (Preprocessing.mean, Preprocessing.std)
    return Published(
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rsplit("-", 1)[1].removesuffix(".pth"),
        licence="BSD-3-Clause (code); ImageNet terms",
        preprocessing=Preprocessing((size, size), resize, mean=mean, std=std),
        errors=(round(100 - top1, 3), round(100 - top5, 3)),
        newer_recipe=resize == 232,  # as torchvision has it for all of these, and for no other
        convert=convert,
    )


def _without_background(state: State) -> State:
    """TensorFlow's networks have a class 0 for "background", which nobody else has."""
    return {key: value[1:] if key.startswith("classif.") else value for key, value in state.items()}


def _densenet(file: str, top1: float, top5: float) -> Published:
    return _torchvision(file, top1, top5, convert=densenet.rename_old_keys)


# What the layers of torchvision's detectors were called when these files were made.
OLD_NAMES = {
    r"^rpn\.head\.conv\.(weight|bias)$": r"rpn.head.conv.0.0.\1",
    r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$": r"\1.0.\2",
    r"^roi_heads\.mask_head\.mask_fcn1\.": "roi_heads.mask_head.0.0.",
    r"^roi_heads\.mask_head\.mask_fcn2\.": "roi_heads.mask_head.1.0.",
    r"^roi_heads\.mask_head\.mask_fcn3\.": "roi_heads.mask_head.2.0.",
    r"^roi_heads\.mask_head\.mask_fcn4\.": "roi_heads.mask_head.3.0.",
}
NORM_EPS = 1e-5  # what batch norms add to the variance, here and by default


def _without_eps(state: State) -> State:
    """Names of today; and norms that were trained with nothing added to their variances give what they gave then."""
    renamed = {}
    for key, value in state.items():
        for old, new in OLD_NAMES.items():
            key = re.sub(old, new, key)
        renamed[key] = value
    for key, variance in state.items():
        if key.endswith("running_var"):
            # In double: some filters are dead, and their variances all but 0.
            weight, wide = key.replace("running_var", "weight"), variance.double()
            renamed[weight] = (renamed[weight].double() * ((wide + NORM_EPS) / wide).sqrt()).to(variance.dtype)
    return renamed


def _detector(file: str, **results: float) -> Published:
    """A file of torchvision's, trained on COCO's train2017: an output for each category id up to 90, used or not."""
    return Published(
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rsplit("-", 1)[1].removesuffix(".pth"),
        licence="BSD-3-Clause (code); COCO terms",
        preprocessing=Preprocessing.whole(800, 1333),
        classes="coco_person" if "keypoint" in file else "coco",
        results={f"{kind}/AP": value for kind, value in results.items()},
        convert=_without_eps,
    )


def _darknet(file: str, sha256: str, **results: float) -> Published:
    """A file of Darknet's, trained on COCO."""
    return Published(
        url=f"https://pjreddie.com/media/files/{file}",
        sha256=sha256,
        licence="public domain (Darknet); COCO terms",
        preprocessing=DARKNET,
        classes="coco_80",
        results={f"box/{name}": value for name, value in results.items()},
    )


def _segmenter(file: str, mean_iou: float) -> Published:
    """A file of torchvision's, trained on those of COCO's train2017 images that show one of Pascal VOC's classes."""
    return Published(
        url=f"https://download.pytorch.org/models/{file}",
        sha256=file.rsplit("-", 1)[1].removesuffix(".pth"),
        licence="BSD-3-Clause (code); COCO terms",
        preprocessing=replace(Preprocessing.windows(480), resize=520),
        classes="voc",
        results={"mean_iou": mean_iou},
    )


WEIGHTS: dict[str, dict[str, Published]] = {
    "alexnet": {"imagenet": _torchvision("alexnet-owt-7be5be79.pth", 56.522, 79.066)},
    "vgg11": {"imagenet": _torchvision("vgg11-8a719046.pth", 69.020, 88.628)},
    "vgg13": {"imagenet": _torchvision("vgg13-19584684.pth", 69.928, 89.246)},
    "vgg16": {
        "imagenet": _torchvision("vgg16-397923af.pth", 71.592, 90.382),
        # The reduced VGG that SSD starts from: its fully connected layers are not a number.
        "imagenet_features": Published(
            "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
            "88682ab5",
            "BSD-3-Clause (code); ImageNet terms",
            Preprocessing(mean=SSD_MEAN, std=(1 / 255, 1 / 255, 1 / 255)),
        ),
    },
    "vgg19": {"imagenet": _torchvision("vgg19-dcbb9e9d.pth", 72.376, 90.876)},
    "vgg11_bn": {"imagenet": _torchvision("vgg11_bn-6002323d.pth", 70.370, 89.810)},
    "vgg13_bn": {"imagenet": _torchvision("vgg13_bn-abd245e5.pth", 71.586, 90.374)},
    "vgg16_bn": {"imagenet": _torchvision("vgg16_bn-6c64b313.pth", 73.360, 91.516)},
    "vgg19_bn": {"imagenet": _torchvision("vgg19_bn-c79401a0.pth", 74.218, 91.842)},
    "googlenet": {"imagenet": _torchvision("googlenet-1378be20.pth", 69.778, 89.530, scaled=True)},
    "inception_v3": {
        "imagenet": _torchvision("inception_v3_google-0cc3c7bd.pth", 77.294, 93.450, 342, 299, scaled=True)
    },
    "inception_resnet_v2": {
        "imagenet": Published(
            "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
            "inception_resnet_v2-940b1cd6.pth",
            "940b1cd6",
            "Apache-2.0; ImageNet terms",
            # timm resizes by cubic interpolation; here all resizing is linear and antialiased.
            Preprocessing((299, 299), 333, mean=INCEPTION, std=INCEPTION),
            errors=(19.6, 4.7),  # as TensorFlow-Slim states them
            convert=_without_background,
        )
    },
    "resnet18": {"imagenet": _torchvision("resnet18-f37072fd.pth", 69.758, 89.078)},
    "resnet34": {"imagenet": _torchvision("resnet34-b627a593.pth", 73.314, 91.420)},
    "resnet50": {
        "imagenet": _torchvision("resnet50-0676ba61.pth", 76.130, 92.862),
        "imagenet_v2": _torchvision("resnet50-11ad3fa6.pth", 80.858, 95.434, 232),
    },
    "resnet101": {
        "imagenet": _torchvision("resnet101-63fe2227.pth", 77.374, 93.546),
        "imagenet_v2": _torchvision("resnet101-cd907fc2.pth", 81.886, 95.780, 232),
    },
    "resnet152": {
        "imagenet": _torchvision("resnet152-394f9c45.pth", 78.312, 94.046),
        "imagenet_v2": _torchvision("resnet152-f82ba261.pth", 82.284, 96.002, 232),
    },
    "resnext50_32x4d": {
        "imagenet": _torchvision("resnext50_32x4d-7cdf4587.pth", 77.618, 93.698),
        "imagenet_v2": _torchvision("resnext50_32x4d-1a0047aa.pth", 81.198, 95.340, 232),
    },
    "resnext101_32x8d": {
        "imagenet": _torchvision("resnext101_32x8d-8ba56ff5.pth", 79.312, 94.526),
        "imagenet_v2": _torchvision("resnext101_32x8d-110c445d.pth", 82.834, 96.228, 232),
    },
    "resnext101_64x4d": {"imagenet": _torchvision("resnext101_64x4d-173b62eb.pth", 83.246, 96.454, 232)},
    "wide_resnet50_2": {
        "imagenet": _torchvision("wide_resnet50_2-95faca4d.pth", 78.468, 94.086),
        "imagenet_v2": _torchvision("wide_resnet50_2-9ba9bcbe.pth", 81.602, 95.758, 232),
    },
    "wide_resnet101_2": {
        "imagenet": _torchvision("wide_resnet101_2-32ee1156.pth", 78.848, 94.284),
        "imagenet_v2": _torchvision("wide_resnet101_2-d733dc28.pth", 82.510, 96.020, 232),
    },
    "densenet121": {"imagenet": _densenet("densenet121-a639ec97.pth", 74.434, 91.972)},
    "densenet161": {"imagenet": _densenet("densenet161-8d451a50.pth", 77.138, 93.560)},
    "densenet169": {"imagenet": _densenet("densenet169-b2777c0a.pth", 75.600, 92.806)},
    "densenet201": {"imagenet": _densenet("densenet201-c1103571.pth", 76.896, 93.370)},
    "squeezenet1_0": {"imagenet": _torchvision("squeezenet1_0-b66bff10.pth", 58.092, 80.420)},
    "squeezenet1_1": {"imagenet": _torchvision("squeezenet1_1-b8a52dc0.pth", 58.178, 80.624)},
    "mobilenet_v2": {
        "imagenet": _torchvision("mobilenet_v2-b0353104.pth", 71.878, 90.286),
        "imagenet_v2": _torchvision("mobilenet_v2-7ebf99e0.pth", 72.154, 90.822, 232),
    },
    "mobilenet_v3_small": {"imagenet": _torchvision("mobilenet_v3_small-047dcff4.pth", 67.668, 87.402)},
    "mobilenet_v3_large": {
        "imagenet": _torchvision("mobilenet_v3_large-8738ca79.pth", 74.042, 91.340),
        "imagenet_v2": _torchvision("mobilenet_v3_large-5c1a4163.pth", 75.274, 92.566, 232),
    },
    "fasterrcnn_resnet50_fpn": {"coco": _detector("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", box=37.0)},
    "maskrcnn_resnet50_fpn": {"coco": _detector("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", box=37.9, mask=34.6)},
    "keypointrcnn_resnet50_fpn": {
        "coco": _detector("keypointrcnn_resnet50_fpn_coco-fc266e95.pth", box=54.6, keypoint=65.0),
    },
    "ssd300_vgg16": {
        "coco": Published(
            "https://download.pytorch.org/models/ssd300_vgg16_coco-b556d3b4.pth",
            "b556d3b4",
            "BSD-3-Clause (code); COCO terms",
            replace(Preprocessing.stretched((300, 300)), mean=SSD_MEAN, std=(1 / 255, 1 / 255, 1 / 255)),
            "coco",
            results={"box/AP": 25.1},
        )
    },
    # Each at 416 pixels, as Darknet's page states them.
    "yolov3": {"coco": _darknet("yolov3.weights", "523e4e69e1d01539", AP50=55.3)},
    "yolov3_tiny": {"coco": _darknet("yolov3-tiny.weights", "dccea06f59b781ec", AP50=33.1)},
    "fcn_resnet50": {"coco": _segmenter("fcn_resnet50_coco-1167a1af.pth", 60.5)},
    "fcn_resnet101": {"coco": _segmenter("fcn_resnet101_coco-7ecb50ca.pth", 63.7)},
    "deeplabv3_resnet50": {"coco": _segmenter("deeplabv3_resnet50_coco-cd0a2569.pth", 66.4)},
    "deeplabv3_resnet101": {"coco": _segmenter("deeplabv3_resnet101_coco-586e9e4e.pth", 67.4)},
}
