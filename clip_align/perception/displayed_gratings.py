# SPDX-License-Identifier: Apache-2.0
"""Gratings to detect, on masks, and to match, as luminance on a display, and people's settings from their files.

Protocols and data of Cai et al., "Do computer vision foundation models learn the low-level characteristics of the human
visual system?", CVPR 2025 (arXiv 2502.20256), repository caiyancheng/VFM_HVS_CVPR2025. Its folder ``gt_json`` holds
the human data, digitized from published figures; the repository has no licence, so that nothing of it is embedded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_align.errors import UserError, option_problem
from clip_align.perception.castle_csf import D65, DIRECTIONS, unit_contrast
from clip_align.perception.color_spaces import encoded, linear_rgb
from clip_align.perception.download import Download
from clip_align.perception.gabors import LMS_TO_XYZ

__all__ = [
    "CONDITIONS",
    "CONSTANCY",
    "FREQUENCIES",
    "REPOSITORY",
    "Condition",
    "Masking",
    "Matching",
    "band_noise",
    "color_detection_gabor",
    "detection_gabor",
    "has_band",
    "masked_gabor",
    "matched_grating",
    "read_masking",
    "read_matching",
]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

PEAK = 400.0  # cd/m^2 of the display's white
DARKEST = 1e-4  # cd/m^2
SEED = 8  # of all noise
NOISE_UP_TO = 12.0  # cycles/degree
FREQUENCIES = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # cycles/degree, of gratings to be matched
REFERENCE_FREQUENCY = 5.0
MATCHING_LUMINANCE = 10.0  # cd/m^2
MASKS = (0.005, 0.25)  # contrasts of the masks that the authors use, both excluded


@dataclass(frozen=True)
class Condition:
    """How gratings are masked.

    file: in the repository. luminance: of the field, cd/m^2. frequency: of the test, cycles/degree. sigma: of its
    Gaussian, degrees. noise: whether the mask is noise, else a grating like the test, in phase with it. highest: the
    highest frequency in the images, cycles/degree.
    """

    file: str
    luminance: float
    frequency: float
    sigma: float
    noise: bool
    highest: float


CONDITIONS = {
    "coherent": Condition("gt_json/foley_contrast_masking_data_gabor.json", 32.0, 2.0, 0.5, False, 2.0),
    "incoherent": Condition("gt_json/contrast_masking_data_gabor_on_noise.json", 37.0, 1.2, 0.8, True, NOISE_UP_TO),
}
CONSTANCY = "gt_json/contrast_constancy_sin_5_cpd.json"


def _repository(what: str, *needed: str) -> Download:
    return Download(
        name="Cai et al. 2025",
        what=what,
        address="github.com/caiyancheng/VFM_HVS_CVPR2025",
        size="some 30 MB with the repository; the files a few kB",
        terms="none stated: the repository has no licence; numbers digitized from published figures",
        citation="Cai et al., Do computer vision foundation models learn the low-level characteristics of the human "
        "visual system?, CVPR 2025, arXiv 2502.20256",
        needed=needed,
    )


REPOSITORY = {
    "masking": _repository("contrast thresholds of masked gratings", *(c.file for c in CONDITIONS.values())),
    "matching": _repository("contrasts that look alike at nine frequencies", CONSTANCY),
}


@dataclass(frozen=True, eq=False)
class Masking:
    """Thresholds on masks: contrasts of the masks [N], and of the tests at threshold [N]."""

    mask: Array
    threshold: Array


@dataclass(frozen=True, eq=False)
class Matching:
    """Contrasts that look alike: of the references at 5 cycles/degree [R], and of their matches [R, 9]."""

    reference: Array
    matched: Array


def read_masking(root: Path, condition: str, key: str) -> Masking:
    """The thresholds of one of `CONDITIONS` whose masks the authors use.

    Args:
        root: folder of the repository.
        condition: name of the condition.
        key: of the benchmark, for error messages.

    UserError for a damaged file.
    """
    path = root / CONDITIONS[condition].file
    data = _json(path, key)
    mask, threshold = (_contrasts(data, name, path, key) for name in ("mask_contrast_list", "test_contrast_list"))
    if len(mask) != len(threshold):
        text = f"{path}: {len(mask)} masks and {len(threshold)} thresholds; one each is needed"
        raise UserError(option_problem(key, "root", text))
    used = (mask > MASKS[0]) & (mask < MASKS[1])
    if np.count_nonzero(used) < 2:
        text = f"{path}: fewer than two masks have a contrast between {MASKS[0]} and {MASKS[1]}"
        raise UserError(option_problem(key, "root", text))
    return Masking(mask[used], threshold[used])


def read_matching(root: Path, key: str) -> Matching:
    """The matches of all reference contrasts.

    Args:
        root: folder of the repository.
        key: of the benchmark, for error messages.

    UserError for a damaged file.
    """
    path = root / CONSTANCY
    data = _json(path, key)
    reference = _contrasts(data, "average_reference_contrast", path, key)
    rows = []
    for number in range(len(reference)):
        row = data.get(f"ref_contrast_index_{number}")
        if not isinstance(row, dict):
            raise UserError(option_problem(key, "root", f"{path} has no object ref_contrast_index_{number}"))
        found = _contrasts(row, "y_test_contrast_average", path, key)
        if len(found) != len(FREQUENCIES):
            raise UserError(
                option_problem(
                    key,
                    "root",
                    f"{path}: ref_contrast_index_{number} has {len(found)} contrasts; {len(FREQUENCIES)} are needed",
                )
            )
        rows.append(found)
    return Matching(reference, np.stack(rows))


def detection_gabor(
    size: int, field_deg: float, frequency: float, sigma: float, luminance: float, contrast: float
) -> Image:
    """A vertical Gabor in sine phase on a field, sRGB of a display of 400 cd/m^2, float32 [size, size, 3].

    Args:
        size: side in px.
        field_deg: that the side spans, in degrees of visual angle.
        frequency: cycles/degree.
        sigma: of the Gaussian, degrees.
        luminance: of the field, cd/m^2.
        contrast: 0 (the uniform field) to 1.
    """
    return _displayed(luminance * (1 + contrast * _sine_gabor(size, field_deg, frequency, sigma)))


def color_detection_gabor(
    size: int, field_deg: float, frequency: float, sigma: float, luminance: float, contrast: float, direction: str
) -> Image:
    """A vertical Gabor in sine phase that changes a grey field's color, float32 [size, size, 3].

    Args:
        size, field_deg, frequency, sigma, luminance: as for `detection_gabor`.
        contrast: root mean square of the cone contrasts at the peak.
        direction: of color, one of castleCSF's ``DIRECTIONS``.

    ValueError for a contrast that the display cannot show.
    """
    # of linear RGB at unit contrast, for a field of unit luminance
    change = linear_rgb(LMS_TO_XYZ @ unit_contrast(DIRECTIONS[direction], D65)) / (LMS_TO_XYZ @ D65)[1]
    modulation = contrast * _sine_gabor(size, field_deg, frequency, sigma)
    linear = luminance / PEAK * (1 + modulation[..., None] * change)
    if linear.min() < 0 or linear.max() > 1:
        raise ValueError(f"an RMS cone contrast of {contrast:g} is outside sRGB in the direction {direction}")
    return encoded(linear).astype(np.float32)


def band_noise(size: int, field_deg: float, frequency: float, luminance: float, contrast: float) -> Image:
    """Noise of one octave on a field, sRGB of a display of 400 cd/m^2, float32 [size, size, 3].

    Args:
        size, field_deg, luminance: as for `detection_gabor`.
        frequency: geometric center of the band, cycles/degree.
        contrast: standard deviation of the noise, relative to the field.
    """
    return _displayed(luminance * (1 + contrast * _noise(size, field_deg, *octave(frequency))))


def octave(frequency: float) -> tuple[float, float]:
    """Lowest and highest frequency of the octave around one."""
    return frequency / math.sqrt(2), frequency * math.sqrt(2)


def has_band(size: int, field_deg: float, frequency: float) -> bool:
    """Whether an image has any noise in the octave around ``frequency``, in cycles/degree."""
    return bool(_in_band(size, field_deg, *octave(frequency)).any())


def masked_gabor(size: int, field_deg: float, condition: str, mask: float, test: float) -> Image:
    """A vertical Gabor on a mask, sRGB of a display of 400 cd/m^2, float32 [size, size, 3].

    Args:
        size: side in px.
        field_deg: that the side spans, in degrees of visual angle.
        condition: name of one of `CONDITIONS`.
        mask: contrast of the mask: of a grating, or the standard deviation of noise.
        test: contrast of the Gabor; 0 for the mask alone.
    """
    of = CONDITIONS[condition]
    place = np.linspace(0, field_deg, size)  # the grating's phase is 0 at the left edge
    window = np.exp(-((place - field_deg / 2) ** 2) / (2 * of.sigma**2))
    grating = np.cos(2 * np.pi * of.frequency * place)
    background = _noise(size, field_deg, 0, NOISE_UP_TO) if of.noise else np.tile(grating, (size, 1))
    contrast = mask * background + test * np.outer(window, window * grating)
    return _displayed(of.luminance * (1 + contrast))


def matched_grating(size: int, field_deg: float, frequency: float, contrast: float) -> Image:
    """A vertical grating that fills the field, at 10 cd/m^2 of a display of 400, float32 [size, size, 3].

    Args:
        size: side in px.
        field_deg: that the side spans, in degrees of visual angle.
        frequency: cycles/degree.
        contrast: 0 (the uniform field) to 1.
    """
    place = np.linspace(-0.5, 0.5, size) * field_deg
    luminance = MATCHING_LUMINANCE * (1 + contrast * np.sin(2 * np.pi * frequency * place))
    return _displayed(np.tile(luminance, (size, 1)))


def _displayed(luminance: Array) -> Image:
    grey = encoded(np.clip(luminance, DARKEST, PEAK) / PEAK).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def _sine_gabor(size: int, field_deg: float, frequency: float, sigma: float) -> Array:
    place = np.linspace(-0.5, 0.5, size) * field_deg
    window = np.exp(-(place**2) / (2 * sigma**2))
    return np.outer(window, window * np.sin(2 * np.pi * frequency * place))


def _noise(size: int, field_deg: float, lowest: float, highest: float) -> Array:
    """White noise between two frequencies in cycles/degree, of unit standard deviation; the same at every call."""
    # RandomState: the authors' generator, whose numbers never change
    spectrum = np.fft.fft2(np.random.RandomState(SEED).randn(size, size))
    spectrum[~_in_band(size, field_deg, lowest, highest)] = 0
    noise = np.fft.ifft2(spectrum).real
    return np.asarray(noise / noise.std())


def _in_band(size: int, field_deg: float, lowest: float, highest: float) -> NDArray[np.bool_]:
    along = np.fft.fftfreq(size, field_deg / size)
    radius = np.hypot(along[:, None], along)
    return np.asarray((radius >= lowest) & (radius <= highest))


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(option_problem(key, "root", f"cannot read {path}: {error.strerror}")) from error
    except ValueError as error:  # no JSON, or not in UTF-8
        raise UserError(option_problem(key, "root", f"{path} is not JSON ({error}); download it again")) from error
    if not isinstance(data, dict):
        raise UserError(option_problem(key, "root", f"{path} holds no JSON object; download it again"))
    return data


def _contrasts(data: dict[str, Any], name: str, path: Path, key: str) -> Array:
    values = data.get(name)
    if not isinstance(values, list) or not values:
        raise UserError(option_problem(key, "root", f"{path} has no list {name}; download it again"))
    for number, value in enumerate(values):
        number_given = isinstance(value, int | float) and not isinstance(value, bool)  # a bool is an int in Python
        if not (number_given and math.isfinite(value) and 0 < value <= 1):
            raise UserError(
                option_problem(key, "root", f"{path}: {name}[{number}] is {value!r}; a contrast is above 0, at most 1")
            )
    return np.array(values, dtype=np.float64)
