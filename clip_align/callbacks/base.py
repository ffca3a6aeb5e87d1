# SPDX-License-Identifier: Apache-2.0
"""The base class of every perceptual callback: a benchmark, and the thin hooks that put it into a training.

A training of our own builds the callbacks, attaches what they share, and hands them to its Trainer::

    callbacks = build_callbacks(config.callbacks, given={"world": world.folder})
    attach(callbacks, EvaluationSettings(cache=..., record=record, evaluated_model=EvaluatedModel(...), ...))
    Trainer(callbacks=[signals, *callbacks, checkpoint])     # signals first, so that its flag is set first

``given`` fills constructor arguments of these names that the config leaves at their default. In a foreign
Trainer nothing is attached and the defaults of `EvaluationSettings` hold. All else happens in hooks:
images in ``on_fit_start`` (before step 0), events in ``on_train_start``, ``on_train_batch_end`` and, for a
last step that nobody knew, ``on_train_end`` (not called after an exception). The first due callback in the
trainer's list leads the event for all that are due.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from clip_align.callbacks.event_leader import EventLeader
from clip_align.callbacks.spearman import SPEARMAN
from clip_align.errors import UserError
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.reading import ALL, PROJECTION, TOKENS, Layer, MapReader, Tokens
from clip_align.evaluation.score import Panel, Score
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.evaluation.views import VIEWS
from clip_align.structure import Distinct, Matches, Range

__all__ = [
    "EvaluationSettings",
    "Features",
    "Items",
    "MapReader",
    "PerceptualCallback",
    "Score",
    "Stimulus",
    "attach",
    "event_leader_of",
    "perceptual_callbacks",
]

PANELS: Mapping[str, Panel] = {
    "human": "alignment",
    "similarity": "alignment",
    "saliency": "alignment",
    "texture": "texture",
    "noise": "noise",
    "zero_shot": "accuracy",
}
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


class PerceptualCallback(Callback):
    """A benchmark under the key ``family/name``: name the stimuli, turn features into items.

    Subclasses set ``family``, ``version`` (raised whenever the same weights would give another number) and,
    for the record and the report, ``human_data``, ``stand_in``, ``source``, ``licence``; ``scores`` where
    Spearman over the items does not fit; ``panel`` where the family's does not; ``tiles``, the number of places
    an image is seen at under the view ``tiles``; ``full_precision`` where scores rest on differences too small
    for the run's own precision, so that the model is asked in float32. Their constructors read and check the
    data, raise `UserError`, and pass ``**base`` on.

    Base arguments: ``name`` (default: the file name of the module that defines the class), ``every_n_steps``
    (optimizer steps between evaluations), ``model`` (default: found in the trained module), ``tokenizer``
    (texts to int64 [N, context]), ``mean`` and ``std`` of the channels on [0, 1], ``view`` of all stimuli,
    ``layers`` (``"projection"``, numbers of layers from 0, ``"all"`` of these, names among ``readers``), ``tokens`` of
    numbered layers (``all`` in their order, the ``class`` token, the ``mean`` of the patches'), ``batch_size`` (images
    at a time).

    ``readers``: functions of the model and its input that make maps [B, h, w], by the name that ``layers`` uses; a
    class with readers annotates ``layers`` with their names in its own constructor.
    """

    family: ClassVar[str]
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = ""
    stand_in: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    scores: Sequence[Score] = (SPEARMAN,)
    panel: Panel | None = None
    tiles: int = 4
    full_precision: bool = False
    readers: Mapping[str, MapReader] = MappingProxyType({})
    _options: Mapping[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> PerceptualCallback:
        """Remember the arguments: they are the options in the record."""
        self = super().__new__(cls)
        given = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        given.apply_defaults()
        named = {k: v for k, v in given.arguments.items() if k != "self"}
        named.update(named.pop("base", {}))
        self._options = {k: _plain(v) for k, v in named.items()}
        return self

    def __init__(
        self,
        name: Annotated[str | None, Matches("[a-z0-9][a-z0-9_]*", "lower-case letters, digits, underscores")] = None,
        every_n_steps: Annotated[int, Range(low=1)] = 100,
        model: nn.Module | None = None,
        tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        view: View | None = None,
        layers: Annotated[Sequence[int | Literal["projection", "all"]], Distinct()] = ("projection",),
        tokens: Tokens = "all",
        batch_size: Annotated[int | None, Range(low=1)] = None,
    ) -> None:
        super().__init__()
        self.name = name or _file_name(type(self))
        if getattr(self, "family", None) not in PANELS:
            raise UserError(f"{type(self).__name__}: family must be one of {', '.join(PANELS)}")
        wrong = []
        if not NAME.fullmatch(self.name):
            wrong.append(f"{self.key}: a name is lower-case letters, digits and underscores")
        if every_n_steps < 1:
            wrong.append(f"{self.key}: every_n_steps is {every_n_steps}; it must be at least 1 optimizer step")
        if batch_size is not None and batch_size < 1:
            wrong.append(f"{self.key}: batch_size is {batch_size}; it must be at least 1 image")
        if view is not None and view not in VIEWS:
            wrong.append(f"{self.key}: unknown view {view}; valid: {', '.join(VIEWS)}")
        chosen: tuple[Layer, ...] = tuple(layers)
        named = (PROJECTION, ALL, *self.readers)
        if not chosen or any(layer not in named and not isinstance(layer, int) for layer in chosen):
            wrong.append(f"{self.key}: layers is {list(chosen)}; give {', '.join(named)} or numbers from 0")
        if tokens not in TOKENS:
            wrong.append(f"{self.key}: unknown tokens {tokens}; valid: {', '.join(TOKENS)}")
        if wrong:
            raise UserError(*wrong)
        self.every_n_steps, self.batch_size = every_n_steps, batch_size
        self.model, self.tokenizer, self.mean, self.std = model, tokenizer, mean, std
        self.view = view
        self.layers = chosen
        self.tokens: Tokens = tokens
        self.settings: EvaluationSettings | None = None
        self.last_step: int | None = None  # of the last evaluation
        self.carried: Mapping[str, Any] = {}  # what an event leader left, or a checkpoint held, for the next one
        self._leader: EventLeader | None = None

    @property
    def key(self) -> str:
        """``family/name``: the first two parts of every curve's key."""
        return f"{self.family}/{self.name}"

    @property
    def options(self) -> Mapping[str, Any]:
        """The constructor's arguments as plain values, for the record."""
        return self._options

    @property
    def shown_in(self) -> Panel:
        """The panel of the figure that it is drawn in."""
        return self.panel or PANELS[self.family]

    def stimuli(self) -> Iterable[Stimulus]:
        """Every image of the benchmark, each once."""
        raise NotImplementedError(f"{type(self).__name__} must say its stimuli()")

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Pairs of stimuli that are compared: (id of the reference, id of the other); none unless overridden.

        They are reduced where they are encoded, layer by layer, to what ``features.pairs`` gives in this order: the
        distances. A layer's tokens are averaged after the squared difference is taken, and no map is kept. Of images in
        a pair ``features[ids]`` has nothing; of others it has the embeddings.
        """
        return ()

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Texts to embed, by class; none unless overridden."""
        return {}

    def items(self, features: Features) -> Items:
        """What the scores are computed over, from the features of the stimuli (and prompts), once a layer.

        ``features[ids]``: embeddings [P, V, D]; ``features.shape``: what D is made of, tokens and width.
        ``features.pairs.distance(name)``: distances [P] of ``pairs()``. ``features.prompts``: embeddings by class.
        """
        raise NotImplementedError(f"{type(self).__name__} must turn features into items()")

    # The hooks: the first perceptual callback of a trainer conducts for all of them.

    @property
    def state_key(self) -> str:
        """Under which a checkpoint keeps the last evaluated step."""
        return f"clip_align/{self.key}"

    def state_dict(self) -> dict[str, Any]:
        """The last evaluated step, and how far the run was: a resumed run does not repeat it."""
        return {"last_step": self.last_step, **(self._leader.state() if self._leader else self.carried)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the step that was evaluated last."""
        self.last_step = state_dict["last_step"]
        self.carried = {key: value for key, value in state_dict.items() if key != "last_step"}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the event leader of this trainer."""
        if stage == "fit":
            event_leader_of(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the images, before step 0."""
        if self._leads(trainer):
            event_leader_of(trainer).prepare(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate step 0, or the step a run is resumed at where it was not evaluated."""
        if self._leads(trainer):
            event_leader_of(trainer).begin(trainer)
        event_leader_of(trainer).event(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluate where due."""
        if self._leads(trainer):
            event_leader_of(trainer).count(batch)
        event_leader_of(trainer).event(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the last step where nobody knew beforehand that it would be the last."""
        event_leader_of(trainer).last_event(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate where a resumed run had nothing left to train, but was stopped in its last evaluation."""
        if self._leads(trainer):
            event_leader_of(trainer).make_up(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let go of the trainer."""
        self._leave("failed")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let go of the trainer."""
        self._leave("done")

    def _leads(self, trainer: Trainer) -> bool:
        return perceptual_callbacks(trainer)[0] is self

    def _leave(self, status: str) -> None:
        if self._leader is not None:
            self.carried = self._leader.state()
            self._leader.close(status)
        self._leader = None


def perceptual_callbacks(trainer: Trainer) -> list[PerceptualCallback]:
    """The trainer's perceptual callbacks, in its order."""
    every = cast("list[Callback]", trainer.callbacks)  # type: ignore[attr-defined]
    return [callback for callback in every if isinstance(callback, PerceptualCallback)]


def event_leader_of(trainer: Trainer) -> EventLeader:
    """The one event leader of a trainer's perceptual callbacks; made where there is none yet."""
    callbacks = perceptual_callbacks(trainer)
    if not callbacks:
        raise UserError("callbacks: no perceptual callback in this Trainer, so that there is nothing to evaluate")
    leader = callbacks[0]._leader or EventLeader(callbacks)
    for callback in callbacks:
        callback._leader = leader
    return leader


def attach(callbacks: Iterable[PerceptualCallback], settings: EvaluationSettings) -> None:
    """Give all callbacks of a training the settings they share; before ``Trainer.fit``."""
    for callback in callbacks:
        callback.settings = settings


def _file_name(cls: type) -> str:
    """Name of the module file that defines the class; the class's own in snake case where there is no file."""
    try:
        return Path(inspect.getfile(cls)).stem.lower()
    except (TypeError, OSError):  # a class typed into a console
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def _plain(value: Any) -> Any:
    """An argument as the record can hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else type(value).__name__
