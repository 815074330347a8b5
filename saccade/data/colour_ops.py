"""Changes of colour that no matrix can make, one function each; those that Pillow has do what Pillow does.

Every one takes an image [H, W, C] uint8, C is 1 (grey) or 3 (RGB), leaves it as it is and returns another.
"""

import cv2
import numpy as np
import simplejpeg

# How RGB mixes into brightness, as in ITU-R BT.601 and in Pillow.
GREY = np.array([0.299, 0.587, 0.114])

# The principal components of ImageNet's colours in [0, 1]: a column a component, and how much each counts. AlexNet's
# paper (section 4.1) gives the method without the numbers; these are the ones published with fb.resnet.torch, in
# `datasets/imagenet.lua`, which everyone has used since.
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
STRENGTHS = np.array([0.2175, 0.0188, 0.0045])

# Pillow's SMOOTH, which its Sharpness leads away from.
SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13


def colour_shift(sigma: float, rng: np.random.Generator) -> np.ndarray:
    """What is added to red, green and blue (0..255), [3] float64 (Krizhevsky et al. 2012, section 4.1).

    sigma  of the draws, 0.1 in the paper
    """
    return 255 * COMPONENTS @ (rng.normal(0, sigma, 3) * STRENGTHS)


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Every channel stretched so that its darkest value is 0 and its brightest 255."""
    levels = np.arange(256, dtype=np.float64)
    tables = np.empty((image.shape[2], 256))
    for table, channel in zip(tables, cv2.split(image), strict=True):
        low, high, _, _ = cv2.minMaxLoc(channel)
        table[:] = (levels - low) * (255 / (high - low)) if high > low else levels
    return _looked_up(image, tables)


def equalise(image: np.ndarray) -> np.ndarray:
    """Every channel's values spread so that each range of them is as frequent as any other."""
    tables = np.empty((image.shape[2], 256))
    for table, channel in zip(tables, cv2.split(image), strict=True):
        counts = np.bincount(channel.ravel(), minlength=256)
        # Pillow's arithmetic, in whole numbers: the last value that occurs does not count.
        step = (channel.size - counts[counts > 0][-1]) // 255
        before = np.cumsum(counts) - counts
        table[:] = (step // 2 + before) // step if step else np.arange(256)
    return _looked_up(image, tables)


def solarise(image: np.ndarray, threshold: float) -> np.ndarray:
    """The negative of every value from `threshold` (0..256) on."""
    levels = np.arange(256)
    return _looked_up(image, np.where(levels < threshold, levels, 255 - levels))


def posterise(image: np.ndarray, bits: float) -> np.ndarray:
    """Only the first `bits` of each value's eight, 1 or more, rounded to a whole number."""
    return image & np.uint8(256 - (1 << (8 - round(bits))))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Times `factor`; 0 is black, 1 leaves it alone."""
    return _looked_up(image, np.arange(256) * factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Away from the image's mean brightness by `factor`; 0 is grey all over, 1 leaves it alone."""
    mean = round(cv2.mean(_brightness(image))[0])
    return _looked_up(image, mean + factor * (np.arange(256) - mean))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Away from its shades of grey by `factor`; 0 is grey, 1 leaves it alone. Pillow calls it Color."""
    if image.shape[2] == 1:
        return image
    return cv2.addWeighted(image, factor, grey(image), 1 - factor, 0)


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Away from the smoothed image by `factor`; 0 is smooth, 1 leaves it alone. The outermost pixels stay."""
    smooth = image.copy()
    filtered = cv2.filter2D(image, -1, SMOOTH).reshape(image.shape)
    smooth[1:-1, 1:-1] = filtered[1:-1, 1:-1]
    return cv2.addWeighted(image, factor, smooth, 1 - factor, 0).reshape(image.shape)


def grey(image: np.ndarray) -> np.ndarray:
    """The brightness of each pixel in all channels."""
    return image if image.shape[2] == 1 else cv2.cvtColor(_brightness(image), cv2.COLOR_GRAY2RGB)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smoothed by a Gaussian; sigma in pixels, above 0."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Stored as a JPEG of this quality (1..100, colours at half the resolution) and read again."""
    space = "GRAY" if image.shape[2] == 1 else "RGB"
    subsampling = "Gray" if image.shape[2] == 1 else "420"
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, space, subsampling)
    return simplejpeg.decode_jpeg(content, space)


def _brightness(image: np.ndarray) -> np.ndarray:
    """[H, W] uint8."""
    return image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _looked_up(image: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Every value v replaced by tables[v], rounded; tables [256] for all channels or [C, 256]."""
    table = np.rint(tables).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table.T.reshape(1, 256, -1) if table.ndim == 2 else table).reshape(image.shape)
