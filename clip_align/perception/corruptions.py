# SPDX-License-Identifier: Apache-2.0
"""Corruptions of an image at a stated level, the same for an image every time.

An image is taken to [0, 1] in float64, changed, clipped, multiplied by 255 and converted to 8 bits: the order of the
script that made CIFAR-10-C (hendrycks/robustness, ``make_cifar_c.py``), which truncates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CORRUPTIONS", "Corruption", "CorruptionName", "Rounding", "corrupted", "hundredths"]

Rounding = Literal["truncate", "round"]
CorruptionName = Literal["gaussian_noise", "uniform_noise", "gaussian_blur", "low_pass", "high_pass", "contrast"]
Image = NDArray[np.float64]  # [H, W, 3] in [0, 1]
# side in px from which on an image has the levels of ImageNet-C; below, those of CIFAR-C
IMAGENET_C_FROM_PX = 128
BACKGROUND = 0.4423  # grey of Geirhos et al.: beyond the border, and the mean of a high-passed image
LUMINANCE = np.array([0.2125, 0.7154, 0.0721])  # scikit-image's rgb2gray, which they used


@dataclass(frozen=True)
class Corruption:
    """A way to change images.

    change: from image, level and generator to an image, clipped by the caller. level: what the number is, as a label
    takes it (``sigma``). small, large: default levels for images of CIFAR's size and of ImageNet's, mildest first.
    source: where these are from. word: what labels call the changed images. rising: whether a higher level is a
    stronger one.
    """

    change: Callable[[Image, float, np.random.Generator], Image]
    level: str
    small: tuple[float, ...]
    large: tuple[float, ...]
    source: str
    word: str = "noisy"
    rising: bool = True

    def levels(self, size: int) -> tuple[float, ...]:
        """The default levels for images of ``size`` px."""
        return self.large if size >= IMAGENET_C_FROM_PX else self.small


def corrupted(
    image: NDArray[np.uint8], name: str, level: float, seed: str, rounding: Rounding = "truncate"
) -> NDArray[np.uint8]:
    """The corrupted image uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, 3].
        name: of the corruption, in `CORRUPTIONS`.
        level: of the corruption, in its own unit.
        seed: text that seeds random numbers: equal texts, equal noise.
        rounding: ``truncate`` or ``round`` to 8 bits.
    """
    # PCG64 by name: what default_rng returns may change with NumPy
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    changed = CORRUPTIONS[name].change(image / 255.0, level, np.random.Generator(np.random.PCG64(number)))
    levels = np.clip(changed, 0, 1) * 255
    # CIFAR-C's script converts with np.uint8(), which truncates
    return (np.rint(levels) if rounding == "round" else np.floor(levels)).astype(np.uint8)


def hundredths(level: float) -> str:
    """A level as part of a key: ``10`` for .10, ``100`` for 1."""
    return f"{round(100 * level):02d}"


def _gaussian_noise(image: Image, sigma: float, generator: np.random.Generator) -> Image:
    return image + generator.normal(0.0, sigma, image.shape)


def _uniform_noise(image: Image, sigma: float, generator: np.random.Generator) -> Image:
    half = np.sqrt(3) * sigma  # half-width of the uniform distribution with this standard deviation
    return image + generator.uniform(-half, half, image.shape)


def _blur(image: Image, sigma: float, generator: np.random.Generator) -> Image:
    from scipy.ndimage import gaussian_filter  # slow to import

    # scikit-image's filter of that script: nearest pixels beyond the border, four sigmas wide
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4.0))


def _grey_low_pass(image: Image, sigma: float) -> tuple[Image, Image]:
    """Luminance [H, W] of the image, and what a Gaussian filter leaves of it."""
    from scipy.ndimage import gaussian_filter

    grey = image @ LUMINANCE
    return grey, np.asarray(gaussian_filter(grey, sigma, mode="constant", cval=BACKGROUND))


def _low_pass(image: Image, sigma: float, generator: np.random.Generator) -> Image:
    return np.repeat(_grey_low_pass(image, sigma)[1][..., None], 3, axis=2)


def _high_pass(image: Image, sigma: float, generator: np.random.Generator) -> Image:
    grey, low = _grey_low_pass(image, sigma)
    rest = grey - low
    return np.repeat((rest + BACKGROUND - rest.mean())[..., None], 3, axis=2)


def _contrast(image: Image, factor: float, generator: np.random.Generator) -> Image:
    means = image.mean(axis=(0, 1), keepdims=True)  # of each channel
    return np.asarray((image - means) * factor + means)


CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "gaussian_noise": Corruption(
        _gaussian_noise,
        "sigma",
        (0.04, 0.06, 0.08, 0.09, 0.10),
        (0.08, 0.12, 0.18, 0.26, 0.38),
        "sigmas on [0, 1] of CIFAR-C and ImageNet-C",
    ),
    "uniform_noise": Corruption(
        _uniform_noise,
        "standard deviation",
        (0.04, 0.06, 0.08, 0.09, 0.10),
        (0.08, 0.12, 0.18, 0.26, 0.38),
        "the standard deviations of the Gaussian noise",
    ),
    "gaussian_blur": Corruption(
        _blur,
        "sigma in px",
        (0.4, 0.6, 0.7, 0.8, 1.0),
        (1.0, 2.0, 3.0, 4.0, 6.0),
        "sigmas of CIFAR-C and ImageNet-C",
        "blurred",
    ),
    "low_pass": Corruption(
        _low_pass,
        "sigma in px",
        (0.4, 0.6, 0.7, 0.8, 1.0),
        (1.0, 2.0, 3.0, 4.0, 6.0),
        "filter: Geirhos et al. 2018, arXiv 1808.08750; sigmas: those of the blur",
        "low-passed, grey",
    ),
    "high_pass": Corruption(
        _high_pass,
        "sigma in px",
        (3.0, 2.0, 1.0, 0.7, 0.5),
        (3.0, 2.0, 1.0, 0.7, 0.5),
        "filter: Geirhos et al. 2018, arXiv 1808.08750; sigmas: chosen here",
        "high-passed, grey",
        rising=False,
    ),
    "contrast": Corruption(
        _contrast,
        "factor",
        (0.75, 0.5, 0.4, 0.3, 0.15),
        (0.4, 0.3, 0.2, 0.1, 0.05),
        "factors of CIFAR-C and ImageNet-C",
        "low contrast",
        rising=False,
    ),
}
