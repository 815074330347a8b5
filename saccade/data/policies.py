"""The ways of varying training images that have a name, as amounts of `Augmentation`."""

from saccade.data.augment import Augmentation

# Crops and mirrors are what the papers train ImageNet with before their policy; colours they leave to it.
POLICIES: dict[str, Augmentation] = {
    "photo": Augmentation(crop=(0.25, 1.0), flip=0.5, rotate=5, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    "objects": Augmentation(flip=0.5, zoom=(0.7, 1.1), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    # Liu et al. 2016, section 2.2 and 3.6, with about as much colour as its published code adds.
    "ssd": Augmentation(expand=4.0, patch=1.0, flip=0.5, brightness=0.125, contrast=0.5, saturation=0.5, hue=0.05),
    "pixels": Augmentation(flip=0.5, zoom=(0.75, 1.5), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    "flipped": Augmentation(flip=0.5),
    "glyph": Augmentation(rotate=12, shear=8, scale=(0.85, 1.15), shift=0.08),
    "rand": Augmentation(crop=(0.25, 1.0), flip=0.5, policy="rand", policy_count=2, policy_strength=9),
    "trivial": Augmentation(crop=(0.25, 1.0), flip=0.5, policy="trivial"),
    # As for U-Net: what grows may bend, and light varies a little. Neither top nor left means anything.
    "elastic": Augmentation(
        flip=0.5,
        flip_vertical=0.5,
        rotate=15,
        shift=0.05,
        elastic=0.03,
        elastic_smoothness=0.1,
        brightness=0.1,
        contrast=0.1,
    ),
}
