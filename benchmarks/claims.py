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
}
