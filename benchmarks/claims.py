"""The claims. `CLAIMS` is all there is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One ratio against a named peer.

    what        is measured
    peer        who it is measured against
    ours        module and arguments of our side
    theirs      likewise; None where both sides live in our process
    pictures    both get a folder of JPEG files as their last argument
    annotations  both get a COCO file of a million boxes as their last argument
    unit        of the speeds
    one_core    both stay on one processor core
    rounds      of each side
    at_least    the ratio of speeds that is promised; None when `overhead` is
    overhead    the most percent of time that we may take more than the peer
    """

    what: str
    peer: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...] | None
    rounds: int
    pictures: bool = False
    annotations: bool = False
    unit: str = "images/s"
    one_core: bool = False
    at_least: float | None = None
    overhead: float | None = None


CLAIMS: dict[str, Claim] = {
    "augment_torchvision": Claim(
        what="JPEG files to augmented uint8 images of 224 x 224, one core",
        peer="torchvision transforms.v2 on PIL images",
        ours=("benchmarks.ours.augment",),
        theirs=("benchmarks.peers.torchvision_augment",),
        rounds=11,
        pictures=True,
        one_core=True,
        at_least=2.2,
    ),
    "augment_albumentations": Claim(
        what="JPEG files to augmented uint8 images of 224 x 224, one core",
        peer="albumentations on cv2.imread",
        ours=("benchmarks.ours.augment",),
        theirs=("benchmarks.peers.albumentations_augment",),
        rounds=11,
        pictures=True,
        one_core=True,
        at_least=1.1,
    ),
    "train_resnet18": Claim(
        what="training ResNet-18 at 224 x 224, batch 32, all cores",
        peer="the loop of PyTorch's transfer-learning tutorial, float32, torchvision's model",
        ours=("benchmarks.ours.training", "resnet18"),
        theirs=("benchmarks.peers.torchvision_training", "resnet18"),
        rounds=3,
        at_least=2.5,
    ),
    "train_resnet50": Claim(
        what="training ResNet-50 at 224 x 224, batch 32, all cores",
        peer="the loop of PyTorch's transfer-learning tutorial, float32, torchvision's model",
        ours=("benchmarks.ours.training", "resnet50"),
        theirs=("benchmarks.peers.torchvision_training", "resnet50"),
        rounds=3,
        at_least=3.3,
    ),
    "loop_overhead": Claim(
        what="our loop on ResNet-18, batch 32, from uint8 images",
        peer="bare forward, backward and step of the same network on ready float inputs",
        ours=("benchmarks.ours.overhead",),
        theirs=None,
        rounds=6,
        overhead=3.0,
    ),
    "stored_features": Claim(
        what="an epoch of a linear head on stored features of MobileNetV2, batch 16",
        peer="the same steps with the frozen encoder before them, from JPEG files at 224 x 224",
        ours=("benchmarks.ours.stored",),
        theirs=None,
        rounds=5,
        pictures=True,
        at_least=200.0,
    ),
    **{
        f"{work}_{name}": Claim(
            what=f"{words} of {name} at 224 x 224, batch 16, float32, all cores",
            peer="torchvision's eager module on the same inputs",
            ours=("benchmarks.ours.network", name, work),
            theirs=("benchmarks.peers.torchvision_network", name, work),
            rounds=5,
            at_least=1.0,
        )
        for name in ("resnet50", "vgg16", "densenet121", "googlenet", "mobilenet_v2")
        for work, words in (("forward", "forward pass"), ("step", "training step"))
    },
    **{
        f"nms_{how}_{count}_{threshold}": Claim(
            what=f"non-maximum suppression of {count:,} boxes {words}, IoU {threshold}, on the processor",
            peer="torchvision.ops.nms in C++",
            ours=("benchmarks.ours.nms", how, str(count), threshold),
            theirs=("benchmarks.peers.torchvision_nms", how, str(count), threshold),
            rounds=7,
            at_least=1.3,
        )
        for how, words in (("crowded", "around 10 to 100 objects"), ("scattered", "anywhere"))
        for count in (1000, 4000)
        for threshold in ("0.5", "0.7")
    },
    **{
        name: Claim(
            what=what,
            peer=peer,
            ours=("benchmarks.ours.detector", work),
            theirs=("benchmarks.peers.torchvision_detector", work),
            rounds=rounds,
            unit=unit,
            at_least=at_least,
        )
        for name, work, what, peer, unit, rounds, at_least in (
            (
                "roi_align",
                "pool",
                "RoIAlign of 1,000 boxes on 256 channels at stride 4, forward and backward, float32, all cores",
                "torchvision.ops.roi_align in C++",
                "boxes/s",
                5,
                2.5,
            ),
            (
                "predict_fasterrcnn",
                "predict",
                'Faster R-CNN R50-FPN on one picture of 800 x 1066, from uint8, precision "auto", all cores',
                "torchvision's eager module, float32",
                "images/s",
                5,
                2.3,
            ),
            (
                "step_fasterrcnn",
                "step",
                'a training step of Faster R-CNN R50-FPN on two pictures of 800 x 1066, precision "auto", all cores',
                "torchvision's eager module, float32",
                "images/s",
                3,
                2.5,
            ),
            (
                "predict_aligned_nano",
                "look",
                'aligned_nano on one picture of 320 x 320, from uint8, precision "auto", all cores',
                "torchvision's ssdlite320_mobilenet_v3_large, eager, float32",
                "images/s",
                7,
                1.3,
            ),
        )
    },
    **{
        f"step_{name}": Claim(
            what=f'a training step of {what} on four pictures of 320 x 320, precision "auto", all cores',
            peer=f"{peer} eager module, float32",
            ours=("benchmarks.ours.segmenter", name),
            theirs=("benchmarks.peers.eager_segmenter", name),
            rounds=5,
            at_least=2.2,
        )
        for name, what, peer in (
            ("fcn_resnet50", "FCN on a dilated ResNet-50", "torchvision's"),
            ("unet", "a U-Net on MobileNetV2", "segmentation_models_pytorch's"),
        )
    },
    **{
        f"occlusion_{name}": Claim(
            what=f"occlusion of an image of 224 x 224 by a square of 32 every 16 pixels, {name}, float32, all cores",
            peer="captum's Occlusion with its defaults, torchvision's module",
            ours=("benchmarks.ours.occlusion", name),
            theirs=("benchmarks.peers.captum_occlusion", name),
            rounds=5,
            unit="places/s",
            at_least=2.0,
        )
        for name in ("squeezenet1_0", "resnet18", "mobilenet_v2")
    },
    **{
        f"service_{name}": Claim(
            what=f"the service with {name} under 64 clients, pictures together where its warm-up found that faster",
            peer="the same, one picture at a time",
            ours=("benchmarks.ours.service", name),
            theirs=None,
            rounds=5,
            at_least=1.0,
        )
        for name in ("lenet", "mobilenet_v2")
    },
    **{
        f"index_coco_{name}": Claim(
            what=f"{words} indexing a COCO file of a million boxes on 100,000 images, a fresh process each time",
            peer="pycocotools' COCO(file)",
            ours=("benchmarks.ours.coco_index", quantity),
            theirs=("benchmarks.peers.pycocotools_index", quantity),
            rounds=3,
            annotations=True,
            unit=unit,
            one_core=True,
            at_least=at_least,
        )
        for name, quantity, words, unit, at_least in (
            ("time", "seconds", "time of", "boxes/s", 2.0),
            ("memory", "megabytes", "memory of the whole process at the peak of", "boxes/MB", 3.34),
        )
    },
}
