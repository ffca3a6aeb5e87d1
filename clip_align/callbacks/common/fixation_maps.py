# SPDX-License-Identifier: Apache-2.0
"""The common part of the saliency benchmarks: the model's maps against where people looked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_align.callbacks.base import Features, Items, MapReader, ModelInfo, PerceptualCallback, Score, Stimulus
from clip_align.errors import UserError, option_problem
from clip_align.evaluation.reading import PROJECTION, Layer
from clip_align.evaluation.views import short_side
from clip_align.metrics import saliency
from clip_align.metrics.estimate import Estimate, undefined
from clip_align.metrics.mean import mean
from clip_align.metrics.vectors import FLOAT32_NOISE
from clip_align.models.saliency_maps import attention_rollout, input_gradient, token_similarity
from clip_align.perception.density_maps import read_density
from clip_align.perception.fixations import FixatedImage
from clip_align.perception.image_files import read_rgb
from clip_align.structure import Range

Array = NDArray[np.float64]
Maps = Literal["token_similarity", "attention_rollout", "attention_rollout_mean", "input_gradient"]
UNBOUNDED = math.inf
MOST_KEPT = 2**26  # pixels of all densities of fixations that are kept in memory: 256 MiB as float32
MEASURES = ("cc", "nss", "auc_judd", "sim", "minus_kl", "information_gain")  # the headline's first
OF_POINTS = ("nss", "auc_judd", "information_gain")  # of single fixations, where the others are of their density


@dataclass(frozen=True, eq=False)
class Looked:
    """One image's fixations on the grid of pixels at which maps are scored.

    index: of the image. box: top, left, bottom, right of the part of the grid that the model saw. x, y: pixels of the
    part that were fixated [N]. first: which of the fixations are the first viewer's, bool [N]; none where the viewers
    are not known. sigma: of the density of fixations, in pixels of the grid; NaN where fixations are not blurred. grid:
    height and width of the whole image in pixels of the grid.
    """

    index: int
    box: tuple[int, int, int, int]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    first: NDArray[np.bool_]
    sigma: float
    grid: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the part in pixels of the grid."""
        top, left, bottom, right = self.box
        return bottom - top, right - left

    def counts(self, chosen: NDArray[np.bool_] | slice = slice(None)) -> Array:
        """Counts [h, w] of the fixations, or of some of them; computed at each call, for memory."""
        return saliency.fixation_counts(self.x[chosen], self.y[chosen], *self.shape)


@dataclass(frozen=True, eq=False)
class People:
    """What needs no model. baselines: by measure and label. one_viewer: the first viewer's CC [images], NaN if none."""

    baselines: Mapping[str, Mapping[str, float]]
    one_viewer: Array


class FixationMaps(PerceptualCallback):
    """A model's saliency maps against people's fixations; a subclass reads the fixations and calls `look_at`.

    Every image is seen whole (``squash``), and its map is resized to the image with bicubic interpolation, not cropped.
    With ``view=resize_crop`` the model sees the middle only: fixations outside it are left out, and counted.

    Args:
        maps: ``token_similarity`` (cosine of each place with the class token; without one, with the mean of the
            places), ``attention_rollout`` (largest head, smallest 95 % of the weights left out),
            ``attention_rollout_mean`` (Abnar and Zuidema's own: mean of the heads, all weights) or ``input_gradient``
            (squared gradient of the embedding's length; for any model).
        auc: ``rank`` (each fixation against all pixels, ties one half) or ``mit`` (fixated pixels against the others,
            trapezoids at their values).
        scored_px: longest side of the grid on which maps and fixations are compared, 200 as OSIE's authors have it;
            images are not enlarged. None: the images' own size, which takes longer.
        base: arguments of `PerceptualCallback`; ``layers``: beside ``projection``, which is here the map of the last
            layer, numbers of layers: maps of the places of a layer, or rollout up to that block.
    """

    context: ClassVar[Mapping[str, float]] = MappingProxyType({})  # CC of others' models, by name
    context_source: ClassVar[str] = ""

    def __init__(
        self,
        maps: Maps = "token_similarity",
        auc: saliency.AucVariant = "rank",
        scored_px: Annotated[int | None, Range(low=16)] = 200,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.maps, self.auc, self.scored_px = maps, auc, scored_px
        self.given_layers = self.layers
        if self.view == "tiles":
            text = "view: a map of tiles is no map of the image; valid are squash and resize_crop"
            raise UserError(option_problem(self.key, "view", text))
        if maps == "input_gradient" and any(layer != PROJECTION for layer in self.layers):
            text = "layers: the gradient of the input belongs to no layer; leave layers out, or choose other maps"
            raise UserError(option_problem(self.key, "layers", text))
        self._densities: dict[tuple[int, tuple[int, ...]], NDArray[np.float32]] = {}  # by image and part
        self._people: dict[tuple[Any, ...], People] = {}  # by the parts of the images that are seen

    def look_at(
        self,
        images: Sequence[FixatedImage],
        sigma_px: float | None,
        outside: saliency.Outside,
        where: str,
        without_points: str | None = None,
    ) -> None:
        """Set the images, of which those without a fixation are left out.

        Args:
            images: with their fixations, or with densities of these, or both.
            sigma_px: standard deviation in pixels of the images by which fixations are blurred to a density; None where
                every image has a density: then the baseline of one viewer is left out.
            outside: what that density assumes beyond the border.
            where: the option that names the data, for the error message.
            without_points: why NSS, AUC and information gain are null, where only densities are given; else None.

        UserError where no image has a fixation.
        """
        self.without_points = without_points
        self.images = [image for image in images if len(image.x) or without_points]
        if not self.images:
            raise UserError(option_problem(self.key, where, f"{where}: no image has a fixation inside it"))
        self.sigma_px, self.outside = sigma_px, outside
        self.looked = self._looked(0)
        self.scores = self._with_context(_scores(self.auc, len(self.looked), {}, self.without_points))

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose the readers for the model's layers; baselines are of the parts of the images that it sees."""
        numbers = [layer for layer in model.layers if isinstance(layer, int)]
        if self.maps == "token_similarity" and not numbers:
            return f"{self.maps} maps need the layers of the image tower, which this model hides; {self._other}"
        if self.maps.startswith("attention") and not model.attention:
            return f"{self.maps} maps need the attention weights of a transformer's blocks; {self._other}"
        first = 1 if self.maps.startswith("attention") else 0  # what enters the first block has no attention yet
        if first and 0 in self.given_layers:
            text = "layers: attention begins with layer 1; leave 0 out"
            raise UserError(option_problem(self.key, "layers", text))
        every: list[Layer] = [n for n in numbers if n >= first]
        self.layers = tuple(n for layer in self.given_layers for n in (every if layer == "all" else [layer]))
        self.readers = {PROJECTION: _reader(self.maps, None), **{str(n): _reader(self.maps, n) for n in numbers}}
        self.looked = self._looked(model.image_size)
        if not self.looked:
            what = "no fixation is in the middle of an image, which is all that view=resize_crop shows"
            return f"{what}; squash shows all"
        baselines = self._without_a_model().baselines
        scores = _scores(self.auc, len(self.looked), baselines, self.without_points)
        self.scores = self._with_context(scores)
        return None

    def _with_context(self, scores: tuple[Score, ...]) -> tuple[Score, ...]:
        first = replace(scores[0], context=self.context, context_source=self.context_source)
        return (first, *scores[1:])

    @property
    def _other(self) -> str:
        return f"callbacks.{self.name}.maps=input_gradient works with any model"

    def stimuli(self) -> Iterator[Stimulus]:
        """Each image once, by its path: benchmarks on the same files encode them once."""
        for looked in self.looked:
            path = self.images[looked.index].path
            yield Stimulus(str(path), partial(read_rgb, path), view="squash")

    def items(self, features: Features) -> Items:
        """One item per image: every measure of its map, higher = better; as human value the first viewer's CC."""
        paths = [self.images[looked.index].path for looked in self.looked]
        maps = features[[str(path) for path in paths]].reshape(len(paths), *features.shape)  # [N, h, w]
        size = np.abs(maps).max(axis=(1, 2), initial=0)
        flat = ~(np.ptp(maps, axis=(1, 2)) > FLOAT32_NOISE * size)  # True for NaN
        rows = [
            self._measures(_resized(one, looked.shape), looked) if usable else dict.fromkeys(MEASURES, math.nan)
            for one, usable, looked in zip(maps, ~flat, self.looked, strict=True)
        ]
        why = f"the maps of {int(flat.sum())} of {len(flat)} images are constant or not finite" if flat.any() else None
        names = [path.name for path in paths]
        return Items(
            {name: [row[name] for row in rows] for name in MEASURES},
            self._without_a_model().one_viewer,
            ids=names if len(set(names)) == len(names) else [str(path) for path in paths],
            clusters={"image": np.arange(len(paths))},
            conditions={"fixations": [len(looked.x) for looked in self.looked]},
            notes={
                "fixations_outside": float(sum(image.outside for image in self.images)),
                # those of images of which no fixation is in the part seen, and which are left out, among them
                "fixations_unseen": float(
                    sum(len(image.x) for image in self.images) - sum(len(looked.x) for looked in self.looked)
                ),
            },
            reason=why,
        )

    def _measures(self, map_: Array, looked: Looked) -> dict[str, float]:
        """Every measure of a map [h, w] against all fixations."""
        counts = looked.counts()
        density = self._density(looked, counts)
        return {
            "cc": saliency.cc(map_, density),
            "nss": saliency.nss(map_, counts),
            "auc_judd": saliency.auc_judd(map_, counts, self.auc),
            "sim": saliency.sim(map_, density),
            "minus_kl": -saliency.kl(map_, density),
            "information_gain": saliency.information_gain(map_, _centre(looked), counts),
        }

    def _density(self, looked: Looked, counts: Array) -> NDArray[np.float32] | Array:
        """The density of all fixations, kept for the next event where all of them fit into memory."""
        key = (looked.index, looked.box)
        if key in self._densities:
            return self._densities[key]
        density = self._read(looked)
        if density is None:
            density = saliency.fixation_density(counts, looked.sigma, self.outside)
        if density.size * len(self.looked) <= MOST_KEPT:
            self._densities[key] = density.astype(np.float32)
        return density

    def _read(self, looked: Looked) -> Array | None:
        """The density [h, w] of the part seen that the data have, with the sum 1; None where they have none."""
        path = self.images[looked.index].density
        if path is None:
            return None
        top, left, bottom, right = looked.box
        seen = read_density(path, looked.grid, self.key)[top:bottom, left:right]
        return saliency.as_density(seen)

    def _one_viewer(self, looked: Looked) -> dict[str, float]:
        """The first viewer's density against the other viewers' fixations; empty where there are none of either.

        Without KL and information gain: the density of one viewer is 0 nearly everywhere, so that they would measure
        the small number that stands for it.
        """
        if not looked.first.any() or looked.first.all() or math.isnan(looked.sigma):
            return {}
        rest = looked.counts(~looked.first)
        map_ = saliency.fixation_density(looked.counts(looked.first), looked.sigma, self.outside)
        density = saliency.fixation_density(rest, looked.sigma, self.outside)
        return {
            "cc": saliency.cc(map_, density),
            "nss": saliency.nss(map_, rest),
            "auc_judd": saliency.auc_judd(map_, rest, self.auc),
            "sim": saliency.sim(map_, density),
        }

    def _without_a_model(self) -> People:
        """Baselines and the first viewer's CC, which are the same at every event."""
        seen = tuple(looked.box for looked in self.looked)
        if seen not in self._people:
            one = [self._one_viewer(looked) for looked in self.looked]
            rows = {
                "centre bias": [self._measures(_centre(looked), looked) for looked in self.looked],
                "uniform": [self._measures(np.ones(looked.shape), looked) for looked in self.looked],
                "one viewer": [row for row in one if row],
            }
            means = {
                name: {
                    label: float(np.mean([row.get(name, math.nan) for row in of])) for label, of in rows.items() if of
                }
                for name in MEASURES
            }
            # of a uniform map NSS and CC are undefined
            kept = {name: {k: v for k, v in of.items() if math.isfinite(v)} for name, of in means.items()}
            self._people[seen] = People(kept, np.array([row.get("cc", math.nan) for row in one]))
        return self._people[seen]

    def _looked(self, size: int) -> list[Looked]:
        """The fixations on the grid, for a model whose input has the side ``size`` (0: as if it saw everything)."""
        found = []
        for index, image in enumerate(self.images):
            longest = max(image.height, image.width)
            scale = min(1.0, self.scored_px / longest) if self.scored_px else 1.0
            height, width = (max(1, round(side * scale)) for side in (image.height, image.width))
            whole = (0, 0, height, width)
            box = _middle(height, width, size) if self.view == "resize_crop" and size else whole
            x, y = image.x * width / image.width, image.y * height / image.height
            columns, rows = np.floor(x).astype(np.int32) - box[1], np.floor(y).astype(np.int32) - box[0]
            inside = (columns >= 0) & (columns < box[3] - box[1]) & (rows >= 0) & (rows < box[2] - box[0])
            if not inside.any() and not self.without_points:
                continue
            viewers = np.unique(image.viewer)
            first = np.isin(image.viewer, viewers[:1]) & (len(viewers) > 1)
            fixated = (columns[inside], rows[inside], first[inside])
            sigma = math.nan if self.sigma_px is None else self.sigma_px * scale
            found.append(Looked(index, box, *fixated, sigma, (height, width)))
        return found


@cache  # the same object for the same maps, so that benchmarks of the same images read them once
def _reader(maps: Maps, layer: int | None) -> MapReader:
    if maps == "input_gradient":
        return MapReader(input_gradient, gradients=True)
    if maps == "token_similarity":
        return MapReader(partial(token_similarity, layer=layer))
    if maps == "attention_rollout":
        return MapReader(partial(attention_rollout, layer=layer))
    return MapReader(partial(attention_rollout, layer=layer, dropped=0.0, largest_head=False))


def _middle(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """The part of an image [height, width] that the view ``resize_crop`` keeps: top, left, bottom, right."""
    resized = short_side(height, width, size)
    edges = []
    for side, new in zip((height, width), resized, strict=True):
        start = round((new - size) / 2)
        edges.append((round(start * side / new), round((start + size) * side / new)))
    (top, bottom), (left, right) = edges
    return top, left, bottom, right


def _centre(looked: Looked) -> Array:
    """The centre bias of the part that was seen: a Gaussian with a standard deviation of a quarter of each side."""
    return saliency.centre_gaussian(*looked.shape)


def _resized(map_: NDArray[np.float32], shape: tuple[int, int]) -> Array:
    """A model's map [h, w] at the height and width of the part that it saw."""
    image = Image.fromarray(np.ascontiguousarray(map_, dtype=np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def _over_images(name: str, limits: tuple[float, float], sign: float, items: Items) -> Estimate:
    return mean(sign * np.asarray(items.model[name], dtype=np.float64), items.clusters["image"], limits)


def _no_points(why: str, items: Items) -> Estimate:
    return undefined(why)


def _scores(
    auc: saliency.AucVariant,
    images: int,
    baselines: Mapping[str, Mapping[str, float]],
    without_points: str | None,
) -> tuple[Score, ...]:
    unit = f"{images} images, jackknife, t({images - 1})" if images > 1 else "one image, no interval"

    def score(name: str, label: str, limits: tuple[float, float], sign: float = 1.0, **more: Any) -> Score:
        column = "minus_kl" if name == "kl" else name
        metric = partial(_over_images, column, limits, sign)
        return Score(
            name,
            label,
            partial(_no_points, without_points) if without_points and name in OF_POINTS else metric,
            unit=unit,
            baselines={observer: sign * value for observer, value in baselines.get(column, {}).items()},
            higher_is_better=name != "kl",
            **more,
        )

    people = "higher = the map is larger where people looked"
    return (
        score("cc", "CC", (-1, 1), direction=people, chance=0.0, axis=(-0.2, 1.0), role="headline"),
        score("nss", "NSS", (-UNBOUNDED, UNBOUNDED), direction=people, chance=0.0, axis=(-0.5, 3.0)),
        score("auc_judd", f"AUC-Judd ({auc})", (0, 1), direction=people, chance=0.5, axis=(0.0, 1.0)),
        score("sim", "SIM", (0, 1), direction="higher = map and fixations have more in common", axis=(0.0, 1.0)),
        score(
            "kl",
            "KL",
            (0, UNBOUNDED),
            -1,
            direction="higher = worse: where people looked the map is small",
            axis=(0, 3),
        ),
        score(
            "information_gain",
            "information gain",
            (-UNBOUNDED, UNBOUNDED),
            direction="higher = predicts the fixations better; bits per fixation over the centre bias",
            axis=(-2.0, 2.0),
        ),
    )
