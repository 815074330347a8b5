"""Every setting of a training run: frozen, typed, checked. An unknown one is an error that names the nearest."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from saccade.data.augment import Augmentation, Limits
from saccade.errors import UsageError, unknown

PolicyName = Literal[
    "auto", "photo", "glyph", "rand", "trivial", "elastic", "objects", "ssd", "pixels", "flipped", "none"
]


class Config(BaseModel):
    """How to train. `configure` fills in what suits the way of adapting.

    epochs              times over the data
    batch_size          images a step, over all processes together
    optimiser           "adamw" (Loshchilov and Hutter 2019) or "sgd" with momentum
    learning_rate       the highest one, of the classifier
    encoder_rate        the encoder's learning rate as a share of it
    layer_decay         each stage of the encoder learns at so much of the rate of the next coarser one
    warm_start          epochs in which the head learns alone: as long as it knows nothing it would only spoil the
                        encoder (Kumar et al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022). Fine-tuning
                        a classifier takes half of the epochs unless told
    unfreeze            then the coarsest stage begins, and so many epochs later the next finer one ...; 0 for all at
                        once (Howard and Ruder, "Universal Language Model Fine-tuning", ACL 2018, section 3.3)
    norms               "learn": batch norms take the statistics of each batch, and keep their average; "keep": they
                        stay with those they came with; "freeze": with their weights too
    frozen              so many of the encoder's stages, from the finest, never learn
    network             what the network's builder takes besides the number of classes, such as {dropout = 0.2}, or of a
                        detector {backbone = "mobilenet_v2"}: the network of the catalogue whose maps it looks at
    weight_decay        never applied to biases and to the weights of norms
    momentum            of SGD
    schedule            after the warm-up: "cosine" down to 0, or "step", a tenth at each of `milestones`
    milestones          as shares of the epochs
    warmup              epochs over which the rate rises from 0
    label_smoothing     share of the truth that is spread over all classes
    class_weights       "balanced" weighs classes by the inverse of how many images they have, or pixels
    loss                segmentation: "cross_entropy", "binary", "focal", "dice", "lovasz", or several, added up:
                        "cross_entropy+dice"; image to image: "l1" or "l2". "auto" is the first
    border              segmentation: how much more the narrowest gaps between things count, of everything that is not
                        class 0; U-Net has 10
    border_sigma        how wide such a gap may be, in pixels; U-Net has 5
    window              where pixels are learnt: side in pixels of what training takes of an image; None for what the
                        network has
    clip                largest norm of the gradient; None for no limit
    ema                 decay a step of the running average of the weights that is evaluated and kept; None for none
    validate_every      so many epochs, and after the last
    patience            stop after so many epochs without a better validation, and keep the best; None trains to the end
    precision           "auto" is bfloat16 where the processor or GPU is built for it, else float32
    augmentation        "photo" (crops, mirrors, colour), "glyph" (never mirrored, for what is small and grey), "rand"
                        (RandAugment), "trivial" (TrivialAugment), "elastic", "objects" (all of the image, mirrored and
                        of several sizes), "ssd" (parts of the image, and more than it, as SSD has them), "pixels"
                        (mirrored, of several sizes), "flipped", "none", or a table of amounts; "auto" looks at the task
                        and the data
    mixup               alpha of mixup: two images and their labels in one, 0.2 for ImageNet, or two images and all the
                        things in both, 1.5; 0 for none
    cutmix              alpha of CutMix: a piece of one image in another, 1.0; 0 for none. With both, half the batches
    mosaic              detection: share of the images that are shown with three others, in one
    close_mosaic        detection: the last so many epochs are without mosaics and mixup: the images as they are
    multi_scale         detection: the least and the most that the images of a batch are scaled by, drawn for each
    size                side in pixels of what the network sees, of whole images the shorter one; None for what the
                        weights or the paper have: in segmentation as large as they are
    hold_out            share of the images kept for validation when the data has no such folder; 0 for none
    checkpoint_seconds  at most so much work is lost when the run is killed
    workers             processes that load images; None for one a core, leaving one core free
    layer               probe: which of the network's maps the features are taken from, fine to coarse; -1 for the last
    classifier          probe: "logistic" regression, or "svm", a linear support vector machine
    augmented           probe: how many random views of each image are looked at beside the plain one
    seed                of everything random
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    encoder_rate: float = Field(1.0, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    warm_start: int = Field(0, ge=0)
    unfreeze: int = Field(0, ge=0)
    norms: Literal["learn", "keep", "freeze"] = "learn"
    frozen: int = Field(0, ge=0)
    network: dict[str, Any] = Field(default_factory=dict)
    weight_decay: float = Field(0.05, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["cosine", "step"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    warmup: float = Field(1.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    loss: str = "auto"
    border: float = Field(0.0, ge=0)
    border_sigma: float = Field(5.0, gt=0)
    window: int | None = Field(None, ge=1)
    clip: float | None = Field(None, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)
    validate_every: int = Field(1, ge=1)
    patience: int | None = Field(None, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    augmentation: PolicyName | Augmentation = "auto"
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)
    mosaic: float = Field(0.0, ge=0, le=1)
    close_mosaic: int = Field(0, ge=0)
    multi_scale: Limits = (1.0, 1.0)
    size: int | None = Field(None, ge=1)
    hold_out: float = Field(0.2, ge=0, lt=1)
    checkpoint_seconds: float = Field(120.0, gt=0)
    workers: int | None = Field(None, ge=0)
    seed: int = Field(0, ge=0, lt=2**63)
    layer: int = -1
    classifier: Literal["logistic", "svm"] = "logistic"
    augmented: int = Field(0, ge=0)


# What does not change the weights, and so may differ when a run is resumed.
FREE_TO_CHANGE = frozenset({"workers", "checkpoint_seconds"})

# A probe takes no steps: settings of steps have no meaning for it, and its own have none elsewhere.
ONLY_PROBE = frozenset({"layer", "augmented", "classifier"})
OF_STAGES = frozenset({"encoder_rate", "layer_decay", "warm_start", "unfreeze", "norms", "frozen"})
# Settings that mean something for some tasks only, and which these are.
OF_TASKS = {
    "label_smoothing": ("classify",),
    "mixup": ("classify", "detect"),
    "cutmix": ("classify",),
    "mosaic": ("detect",),
    "close_mosaic": ("detect",),
    "multi_scale": ("detect",),
    "class_weights": ("classify", "segment"),
    "loss": ("segment", "image_to_image"),
    "border": ("segment",),
    "border_sigma": ("segment",),
    "window": ("segment", "image_to_image"),
}
OF_A_PROBE = ONLY_PROBE | {"batch_size", "augmentation", "size", "hold_out", "workers", "seed"}

ADAPT: dict[str, dict[str, dict[str, Any]]] = {
    "classify": {
        "scratch": {},
        "probe": {},
        "freeze": {"epochs": 12, "batch_size": 16, "learning_rate": 1e-3, "ema": 0.98},
        "finetune": {
            "epochs": 12,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "encoder_rate": 0.01,
            "norms": "keep",
            "ema": 0.98,
        },
    },
    "detect": {
        "scratch": {"epochs": 40, "batch_size": 8, "learning_rate": 5e-4, "weight_decay": 0.01, "clip": 10.0},
        "freeze": {"epochs": 12, "batch_size": 4, "learning_rate": 2e-4, "weight_decay": 0.01, "clip": 10.0},
        "finetune": {
            "epochs": 12,
            "batch_size": 4,
            "learning_rate": 2e-4,
            "weight_decay": 0.01,
            "clip": 10.0,
            "norms": "freeze",
            "frozen": 1,
        },
    },
    "segment": {
        "scratch": {"epochs": 60, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 10.0},
        "freeze": {"epochs": 30, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.01, "clip": 10.0},
        "finetune": {
            "epochs": 30,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "encoder_rate": 0.3,
            "weight_decay": 0.01,
            "clip": 10.0,
        },
    },
}
ADAPT["image_to_image"] = ADAPT["segment"]


def of_steps(options: Mapping[str, Any]) -> str:
    """The first of these settings that only a training in steps can have, which a probe is not; "" where none is."""
    return min((name for name, value in options.items() if value is not None and name not in OF_A_PROBE), default="")


def configure(
    adapt: str, options: Mapping[str, Any], task: str = "classify", recipe: Mapping[str, Any] | None = None
) -> Config:
    """The settings for one way of adapting, with some of them chosen.

    adapt    "scratch", "probe", "freeze" or "finetune"
    options  by the names of `Config`; None leaves a setting as it is
    task     what the network is for
    recipe   what suits the network's method, where that is not what suits the task

    Raises UsageError that names the nearest setting, or what is wrong with a value.
    """
    if adapt not in ADAPT[task]:
        raise unknown("way to adapt" + (f" for the task {task}" if task != "classify" else ""), adapt, ADAPT[task])
    for name in options:
        if name not in Config.model_fields:
            raise unknown("setting", name, Config.model_fields)
    chosen = {name: value for name, value in options.items() if value is not None}
    strangers = chosen.keys() - OF_A_PROBE if adapt == "probe" else chosen.keys() & ONLY_PROBE
    if strangers:
        meant = "means nothing to a probe, which takes no steps" if adapt == "probe" else "is for adapt=probe only"
        raise UsageError(f"the setting {min(strangers)} {meant}; leave it out")
    if adapt == "probe" and "augmentation" in chosen and not chosen.get("augmented"):
        raise UsageError("augmentation is for the augmented views of a probe; give augmented=4 too, or leave it out")
    if adapt != "finetune" and (strangers := chosen.keys() & OF_STAGES):
        raise UsageError(f"the setting {min(strangers)} is for adapt=finetune only; leave it out")
    for name in chosen.keys() & OF_TASKS.keys():
        if task not in OF_TASKS[name]:
            raise UsageError(f"the setting {name} is for the task {' or '.join(OF_TASKS[name])}; leave it out")
    try:
        suited = {name: value for name, value in (recipe or {}).items() if adapt == "finetune" or name not in OF_STAGES}
        config = Config.model_validate(ADAPT[task][adapt] | suited | chosen)
    except ValidationError as error:
        raise UsageError(explain_validation(error)) from None
    if adapt == "finetune" and task == "classify" and "warm_start" not in chosen:
        config = config.model_copy(update={"warm_start": config.epochs // 2})
    if config.patience is not None and config.patience < config.validate_every:
        raise UsageError(
            f"patience is {config.patience} epochs, but only every {config.validate_every} epochs are validated; "
            f"choose a larger patience"
        )
    if config.close_mosaic >= config.epochs and (config.mosaic or (config.mixup and task == "detect")):
        raise UsageError(
            f"the last {config.close_mosaic} epochs are without mosaics and mixup, but there are only {config.epochs}; "
            f"choose a smaller close_mosaic, or leave mosaic and mixup out"
        )
    if config.warm_start > config.epochs:
        raise UsageError(f"warm_start is {config.warm_start}, but there are only {config.epochs} epochs")
    return config


def explain_validation(error: ValidationError) -> str:
    """What pydantic found, one line a setting."""
    lines = []
    for problem in error.errors():
        names = [str(part) for part in problem["loc"] if part != "Augmentation"]
        if names[0] == "augmentation" and (len(names) == 1 or names[1].startswith("literal")):
            known = ", ".join(get_args(PolicyName))
            lines.append(f"augmentation: expected {known}, or a table such as {{flip=0.5}}, got {problem['input']!r}")
            continue
        where = ".".join(names)
        lines.append(f"{where}: {problem['msg'].lower()}, got {problem['input']!r}")
    return "\n".join(dict.fromkeys(lines))
