"""The networks that tell classes apart, each of which also hands out its maps to other tasks."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saccade.backbones import (
    alexnet,
    bn_inception,
    darknet,
    densenet,
    googlenet,
    inception_resnet_v2,
    inception_v3,
    lenet,
    mobilenet_v2,
    mobilenet_v3,
    nin,
    prelu_net,
    resnet,
    resnext,
    squeezenet,
    vgg,
    wide_resnet,
    zfnet,
)
from saccade.backbones.contract import Backbone
from saccade.errors import unknown
from saccade.layers.dilate import dilate

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "lenet": lenet.lenet,
    "alexnet_2012": alexnet.alexnet_2012,
    "alexnet": alexnet.alexnet,
    "zfnet": zfnet.zfnet,
    "nin": nin.nin,
    "nin_cifar": nin.nin_cifar,
    "vgg11": vgg.vgg11,
    "vgg11_lrn": vgg.vgg11_lrn,
    "vgg13": vgg.vgg13,
    "vgg16_c": vgg.vgg16_c,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "googlenet_2014": googlenet.googlenet_2014,
    "googlenet_naive": googlenet.googlenet_naive,
    "googlenet": googlenet.googlenet,
    "bn_inception": bn_inception.bn_inception,
    "prelu_net_a": prelu_net.prelu_net_a,
    "prelu_net_b": prelu_net.prelu_net_b,
    "prelu_net_c": prelu_net.prelu_net_c,
    "inception_v3": inception_v3.inception_v3,
    "plain18": resnet.plain18,
    "plain34": resnet.plain34,
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "resnet50_v1": resnet.resnet50_v1,
    "resnet101_v1": resnet.resnet101_v1,
    "resnet152_v1": resnet.resnet152_v1,
    "plain20_cifar": resnet.plain20_cifar,
    "plain32_cifar": resnet.plain32_cifar,
    "plain44_cifar": resnet.plain44_cifar,
    "plain56_cifar": resnet.plain56_cifar,
    "resnet20_cifar": resnet.resnet20_cifar,
    "resnet32_cifar": resnet.resnet32_cifar,
    "resnet44_cifar": resnet.resnet44_cifar,
    "resnet56_cifar": resnet.resnet56_cifar,
    "resnet110_cifar": resnet.resnet110_cifar,
    "squeezenet1_0": squeezenet.squeezenet1_0,
    "squeezenet1_1": squeezenet.squeezenet1_1,
    "wide_resnet50_2": wide_resnet.wide_resnet50_2,
    "wide_resnet101_2": wide_resnet.wide_resnet101_2,
    "inception_resnet_v2": inception_resnet_v2.inception_resnet_v2,
    "resnext50_32x4d": resnext.resnext50_32x4d,
    "resnext101_32x8d": resnext.resnext101_32x8d,
    "resnext101_64x4d": resnext.resnext101_64x4d,
    "densenet121": densenet.densenet121,
    "densenet161": densenet.densenet161,
    "densenet169": densenet.densenet169,
    "densenet201": densenet.densenet201,
    "densenet_bc_cifar": densenet.densenet_bc_cifar,
    "extraction": darknet.extraction,
    "darknet53": darknet.darknet53,
    "darknet_tiny": darknet.darknet_tiny,
    "mobilenet_v2": mobilenet_v2.mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3.mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3.mobilenet_v3_large,
}


def encoder(name: str, in_channels: int = 3, output_stride: int | None = None, **options: Any) -> Backbone:
    """A network without its classifier, for what is built on its maps.

    output_stride  as of `dilated`
    options        what its builder takes besides

    Raises UsageError, naming the nearest one, when there is none of this name, or no such option.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    known = inspect.signature(BACKBONES[name]).parameters
    for option in options:
        if option not in known:
            raise unknown(f"option of {name} called", option, known)
    network = BACKBONES[name](num_classes=0, in_channels=in_channels, **options)
    network.name, network.in_channels = name, in_channels
    return network if output_stride is None else dilated(network, output_stride)


def dilated(network: Backbone, output_stride: int) -> Backbone:
    """The same network, its filters dilated where they would stride on: its coarsest map has so many input pixels a
    pixel."""
    probe = torch.empty(1, network.in_channels, 512, 512, device="meta")
    dilate(network, probe, output_stride, run=_maps)
    network.strides = tuple(min(stride, output_stride) for stride in network.strides)
    return network


def _maps(network: Backbone, inputs: Tensor) -> list[Tensor]:
    return network.maps(inputs)
