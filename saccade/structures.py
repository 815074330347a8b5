"""The values that pass between the rooms. Frozen, and checked where they are made."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from saccade.geometry import keypoints, masks
from saccade.geometry.masks import Mask
from saccade.geometry.view import Size, View

if TYPE_CHECKING:
    # Data sets are read, checked and converted without torch, which takes seconds and memory to import.
    import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes network input. Travels with the weights, so that it cannot drift.

    size    (height, width) of the network's input; of whole images the most it may be
    resize  length in pixels the shorter side is scaled to; 0 leaves windows of images as large as they are
    mode    "RGB" or "L" (grey)
    mean    one a channel, of pixels scaled to [0, 1]
    std     likewise
    frame   what is taken then: "crop" is the centre, of `size`; "stretched" is all of it, whatever its shape, made as
            large as `size`; "whole" is all of it, scaled further down where it would be larger than `size`. Whole
            images differ in shape, and a batch is padded at the bottom and the right to the largest of them, rounded up
            to a multiple of 32 pixels; "windows" is all of it too, however large: training takes a window of at most
            `size` of it, and prediction goes over it in windows where it has to
    """

    size: Size = (224, 224)
    resize: int = 256
    mode: str = "RGB"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    frame: Literal["crop", "stretched", "whole", "windows"] = "crop"

    def __post_init__(self) -> None:
        channels = {"RGB": 3, "L": 1}.get(self.mode)
        if channels is None:
            raise ValueError(f"Preprocessing.mode must be RGB or L but got {self.mode!r}")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"{self.mode} needs {channels} values of mean and std but got {self.mean} and {self.std}")
        if min(self.std) <= 0:
            raise ValueError(f"Preprocessing.std must be above 0 but got {self.std}")
        if self.frame not in ("crop", "stretched", "whole", "windows"):
            raise ValueError(f"Preprocessing.frame must be crop, stretched, whole or windows but got {self.frame!r}")
        if len(self.size) != 2 or min(self.size) < 1 or self.resize < (0 if self.frame == "windows" else 1):
            raise ValueError(f"size {self.size} and resize {self.resize} must be at least 1")
        if self.frame == "crop" and self.resize < max(self.size):
            raise ValueError(f"resize {self.resize} must be at least as long as size {self.size}, which is cut from it")

    @staticmethod
    def standard(size: Size, mode: str = "RGB") -> "Preprocessing":
        """What networks trained from scratch get: ImageNet's numbers for colour, 0.5 for grey.

        From 96 pixels on, the customary centre crop of 7/8 of the shorter side; below, all of it.
        """
        longest = max(size)
        resize = round(longest * 8 / 7) if longest >= 96 else longest
        if mode == "L":
            return Preprocessing(size, resize, mode, (0.5,), (0.5,))
        return Preprocessing(size, resize, mode)

    @staticmethod
    def whole(shorter: int, longer: int, mode: str = "RGB") -> "Preprocessing":
        """All of the image, the shorter side scaled to `shorter` pixels, the longer one to no more than `longer`."""
        like = Preprocessing.standard((shorter, shorter), mode)
        return replace(like, size=(longer, longer), resize=shorter, frame="whole")

    @staticmethod
    def stretched(size: Size, mode: str = "RGB") -> "Preprocessing":
        """All of the image, as large as (height, width), whatever its shape was."""
        return replace(Preprocessing.standard(size, mode), resize=min(size), frame="stretched")

    @staticmethod
    def windows(side: int, mode: str = "RGB") -> "Preprocessing":
        """Images pixel for pixel, of which training takes windows of `side` x `side`."""
        return replace(Preprocessing.standard((side, side), mode), resize=0, frame="windows")

    @property
    def channels(self) -> int:
        """How many channels the network takes."""
        return len(self.mean)

    @property
    def side(self) -> int:
        """How many pixels the network looks at, as `scaled_to` takes it."""
        return self.resize if self.frame in ("whole", "windows") else min(self.size)

    @property
    def multiple(self) -> int:
        """What the height and width of a batch are rounded up to."""
        return 32 if self.frame == "whole" else 1

    def view(self, source: Size, factor: float = 1.0) -> View:
        """The geometry of evaluation and prediction: scaled, then all of it or the centre, as `frame` says.

        source  (height, width) of the upright image
        factor  how many times as large as usual; of whole images the frame with them
        """
        if self.frame == "windows":
            scale = (self.resize / min(source) if self.resize else 1.0) * factor
            return View.identity(source).resized((max(1, round(source[0] * scale)), max(1, round(source[1] * scale))))
        if self.frame == "whole":
            scale = min(self.resize / min(source), self.size[0] / source[0], self.size[1] / source[1]) * factor
            return View.identity(source).resized((max(1, round(source[0] * scale)), max(1, round(source[1] * scale))))
        if self.frame == "stretched":
            scaled = self.size
        else:
            scale = self.resize / min(source)
            scaled = (max(round(source[0] * scale), self.size[0]), max(round(source[1] * scale), self.size[1]))
        view = View.identity(source).resized(scaled)
        if factor != 1:
            view = view.resized((max(1, round(scaled[0] * factor)), max(1, round(scaled[1] * factor))))
        return view.centre_cropped(self.size)

    def scaled_to(self, side: int) -> "Preprocessing":
        """The same for networks that look at other sizes: crops of `side` pixels that keep their share of the image,
        all of it stretched to so many each way, or whole images whose shorter side has so many."""
        if self.frame == "windows":
            return replace(self, resize=side)
        if self.frame == "whole":
            longest = tuple(round(side * length / self.resize) for length in self.size)
            return replace(self, size=(longest[0], longest[1]), resize=side)
        resize = side if self.frame == "stretched" else round(side * self.resize / min(self.size))
        return replace(self, size=(side, side), resize=resize)


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its target, as the loader hands it to `collate`.

    image   [H, W, C] uint8 in [0, 255], network pixels
    target  what the loss learns from, in network pixels; for classification the label, 0..K-1
    view    from original pixels to network pixels
    id      what the image is called in its data set (a path inside it, or a number)
    truth   the truth in original pixels, as metrics compare it; None where an image was varied, which no metric sees
    """

    image: np.ndarray
    target: Any
    view: View
    id: str
    truth: Any = None

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.shape[:2] != self.view.size or self.image.ndim != 3:
            raise ValueError(
                f"Sample.image must be uint8 [{self.view.size[0]}, {self.view.size[1]}, C] "
                f"but got {self.image.dtype} {list(self.image.shape)}"
            )


@dataclass(frozen=True, eq=False)
class Batch:
    """Several samples.

    images   [B, C, H, W] uint8 in [0, 255], channels-last in memory; smaller ones are at the top left
    targets  what the loss compares with, in network pixels: for classification [B] int64, labels 0..K-1; for
             detection an `Instances` an image, for segmentation [B, H, W] uint8, labels 0..K-1 or 255 for void,
             for colours [B, 3, H, W] uint8 RGB
    views    one an image
    ids      one an image
    truths   what metrics compare with, in original pixels, one an image; None each in training
    """

    images: "torch.Tensor"
    targets: Any
    views: Sequence[View] = field(repr=False)
    ids: Sequence[str]
    truths: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of each image without what it was padded with."""
        return [view.size for view in self.views]

    def to(self, device: "torch.device") -> "Batch":
        """The same batch on `device`."""
        images, targets = self.images.to(device, non_blocking=True), self.targets
        if hasattr(targets, "to"):
            targets = targets.to(device, non_blocking=True)
        return replace(self, images=images, targets=targets)


@dataclass(frozen=True, eq=False)
class Classification:
    """What a classifier says of one image.

    probabilities  [K] float32, sum 1
    classes        K names
    """

    probabilities: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.classes),):
            raise ValueError(
                f"Classification.probabilities must be [{len(self.classes)}], one a class, "
                f"but got shape {list(self.probabilities.shape)}"
            )

    @property
    def label(self) -> int:
        """The most probable class, 0..K-1."""
        return int(self.probabilities.argmax())

    @property
    def name(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.label]

    @property
    def score(self) -> float:
        """The probability of the most probable class, in [0, 1]."""
        return float(self.probabilities[self.label])

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes with their probabilities, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[k], float(self.probabilities[k])) for k in order]

    def as_dict(self, count: int = 5) -> dict[str, Any]:
        """For JSON: the best class, its score and the `count` best."""
        top = [{"class": name, "score": round(score, 6)} for name, score in self.top(count)]
        return {"class": self.name, "score": round(self.score, 6), "top": top}


@dataclass(frozen=True)
class Skeleton:
    """What the keypoints of a thing are.

    names   P names
    edges   pairs of keypoints 0..P-1 that are drawn joined
    mirror  P numbers: which keypoint each one is in a mirror (the left wrist is the right one there)
    sigmas  P numbers above 0: how far apart two people mark it, relative to the thing's size; what OKS divides by
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.names)
        if sorted(self.mirror) != list(range(count)) or any(self.mirror[k] != i for i, k in enumerate(self.mirror)):
            raise ValueError(f"Skeleton.mirror must pair {count} keypoints, there and back, but got {self.mirror}")
        if len(self.sigmas) != count or min(self.sigmas, default=1.0) <= 0:
            raise ValueError(f"Skeleton.sigmas must be {count} numbers above 0 but got {self.sigmas}")
        if any(not 0 <= end < count for edge in self.edges for end in edge):
            raise ValueError(f"Skeleton.edges must join keypoints 0 to {count - 1} but got {self.edges}")


@dataclass(frozen=True, eq=False)
class Instances:
    """The things in one image, as they are (truth) or as a network sees them (prediction, best score first).

    size       (height, width) of the image that the coordinates are pixels of
    boxes      [N, 4] float xyxy
    labels     [N] int64, 0..K-1
    scores     [N] float in [0, 1]; None in truth
    masks      one a thing, None for a thing without; None if nothing here has masks
    keypoints  [N, P, 3] float (x, y, visibility); visibility of truth: 0 not marked, 1 hidden, 2 seen; of a prediction:
               its score in [0, 1]; None if nothing here has keypoints
    crowd      [N] bool, truth only: a region with many of them, which no detection in it is wrong about
    difficult  [N] bool, truth only: not counted for or against
    areas      [N] float, truth only: square pixels as the annotation has it; nan where it does not say
    """

    size: Size
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    masks: tuple[Mask | None, ...] | None = None
    keypoints: np.ndarray | None = None
    crowd: np.ndarray | None = None
    difficult: np.ndarray | None = None
    areas: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4):
            raise ValueError(f"Instances.boxes must be [N, 4] but got shape {list(self.boxes.shape)}")
        for name in ("labels", "scores", "masks", "keypoints", "crowd", "difficult", "areas"):
            column = getattr(self, name)
            if column is not None and len(column) != count:
                raise ValueError(f"Instances.{name} must have {count} entries, one a box, but has {len(column)}")
        if self.keypoints is not None and (self.keypoints.ndim != 3 or self.keypoints.shape[2] != 3):
            raise ValueError(f"Instances.keypoints must be [N, P, 3] but got shape {list(self.keypoints.shape)}")

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, chosen: np.ndarray) -> "Instances":
        """Only these, [n] int64 or [N] bool, in this order."""
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        columns = ("boxes", "labels", "scores", "keypoints", "crowd", "difficult", "areas")
        known = [name for name in columns if getattr(self, name) is not None]
        fields: dict[str, Any] = {name: getattr(self, name)[chosen] for name in known}
        if self.masks is not None:
            fields["masks"] = tuple(self.masks[n] for n in chosen)
        return replace(self, **fields)

    def moved(self, view: View, skeleton: Skeleton | None = None) -> "Instances":
        """The same things in network pixels. Nothing is clipped or left out; runs end at the edge of the image.

        view      from the image these are pixels of
        skeleton  what the keypoints are; needed where there are any and the view is a mirror, as left and right swap
        """
        if tuple(self.size) != tuple(view.source):
            raise ValueError(
                f"Instances of an image of (height, width) {self.size} cannot move by a view of {view.source}"
            )
        fields: dict[str, Any] = {"size": view.size, "boxes": view.move_boxes(self.boxes)}
        if self.masks is not None:
            fields["masks"] = tuple(mask and masks.move(mask, view) for mask in self.masks)
        if self.keypoints is not None:
            if view.mirrors and skeleton is None:
                raise ValueError(
                    "Instances with keypoints need a skeleton to move by a view that mirrors: pass skeleton="
                )
            fields["keypoints"] = keypoints.move(self.keypoints, view, skeleton and skeleton.mirror)
        if self.areas is not None:
            fields["areas"] = self.areas * abs(view.determinant)
        return replace(self, **fields)

    def padded(self, size: Size) -> "Instances":
        """The same things where (height, width) of the image have grown, to the right and below."""
        return self.moved(View.identity(self.size).cropped(0, 0, size))


def joined(parts: Sequence[Instances]) -> Instances:
    """The things of several `Instances` in one image, of the size of the first.

    What only some of them know (masks, keypoints) all must know, but for flags and areas, which truth may leave out.
    """
    fields: dict[str, Any] = {"masks": None}
    for name in ("boxes", "labels", "scores", "keypoints", "crowd", "difficult", "areas"):
        columns = [getattr(one, name) for one in parts]
        there = [column for column in columns if column is not None]
        if name in ("crowd", "difficult", "areas") and there and len(there) < len(columns):
            default = np.nan if name == "areas" else False
            columns = [np.full(len(p), default) if c is None else c for p, c in zip(parts, columns, strict=True)]
        elif there and len(there) < len(columns):
            raise ValueError(f"Instances.{name} is known of {len(there)} of {len(columns)} parts; it takes all or none")
        fields[name] = np.concatenate(columns) if there else None
    if any(one.masks is not None for one in parts):
        fields["masks"] = tuple(mask for one in parts for mask in (one.masks or (None,) * len(one)))
    return Instances(parts[0].size, **fields)


def value_counts(values: np.ndarray) -> np.ndarray:
    """[256] int64: how often each value occurs in [H, W] uint8."""
    counts = np.zeros(256, dtype=np.int64)
    # Counting makes eight bytes of each pixel's one: not of a large map at once.
    for row in range(0, len(values), 256):
        counts += np.bincount(values[row : row + 256].ravel(), minlength=256)
    return counts


@dataclass(frozen=True, eq=False)
class LabelMap:
    """What every pixel of one image is.

    labels         [H, W] uint8, 0..K-1, background an ordinary class where the set has one; 255 is void: nobody says
    classes        K names
    probabilities  [K, H, W] float16 in [0, 1], where a prediction was asked to keep them; None else
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.ndim != 2:
            raise ValueError(
                f"LabelMap.labels must be uint8 [H, W] but got {self.labels.dtype} {list(self.labels.shape)}"
            )

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.labels.shape[0], self.labels.shape[1]

    def counts(self) -> np.ndarray:
        """[256] int64: how many pixels have each label."""
        return value_counts(self.labels)

    def areas(self) -> dict[str, int]:
        """How many pixels each class has, most first; classes without one are left out, void too."""
        counts = self.counts()[: len(self.classes)]
        order = np.argsort(-counts, kind="stable")
        return {self.classes[k]: int(counts[k]) for k in order if counts[k]}


@dataclass(frozen=True, eq=False)
class ColourMap:
    """What colour every pixel of one image should have.

    pixels  [H, W, 3] uint8 RGB
    """

    pixels: np.ndarray

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(
                f"ColourMap.pixels must be uint8 [H, W, 3] but got {self.pixels.dtype} {list(self.pixels.shape)}"
            )

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


VOID = 255
COLOURS = ("red", "green", "blue")  # what stands in the place of classes where colours are learnt

# What of a data set a task learns from: a class an image, the things in it, a class a pixel, or a colour a pixel.
Known = Literal["labels", "objects", "label_maps", "targets"]

Prediction = Classification | Instances | LabelMap | ColourMap
