# SPDX-License-Identifier: Apache-2.0
"""The base class of every perceptual callback: a benchmark, and the Lightning hooks that evaluate it during training.

clip-align's own training builds the callbacks, attaches their common settings, and passes them to its Trainer::

    callbacks = build_callbacks(config.callbacks, given={"world": world.folder})
    attach(callbacks, EvaluationSettings(cache=..., record=record, evaluated_model=EvaluatedModel(...), ...))
    Trainer(callbacks=[signals, *callbacks, checkpoint])     # signals first, so that its flag is set first

``given`` supplies constructor arguments that the config leaves at their default. In any other Trainer nothing is
attached and the defaults of `EvaluationSettings` apply. Images are rendered in ``on_fit_start`` (before step 0); events
take place in ``on_train_start``, ``on_train_batch_end`` and, if the last step was not known in advance,
``on_train_end`` (not called after an exception). The first due callback in the trainer's list leads the event for all
that are due.
"""

from __future__ import annotations

import inspect
import re
import warnings
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from clip_align.callbacks.common.spearman import SPEARMAN
from clip_align.callbacks.trainer.event_leader import EventLeader
from clip_align.errors import Problem, UserError, option_problem
from clip_align.evaluation.evaluated_model import why_no_tokenizer
from clip_align.evaluation.evaluator import EvaluationSettings
from clip_align.evaluation.features import Features
from clip_align.evaluation.items import Items
from clip_align.evaluation.model_info import ModelInfo
from clip_align.evaluation.reading import Layer, MapReader, Tokens
from clip_align.evaluation.score import Panel, Score
from clip_align.evaluation.stimulus import Stimulus, View
from clip_align.perception.download import Download
from clip_align.settings.annotations import as_typed, checked, defaults_of, parameters_of
from clip_align.structure import Distinct, Matches, Range

__all__ = [
    "Download",
    "EvaluationSettings",
    "Features",
    "Items",
    "MapReader",
    "ModelInfo",
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
NAME = re.compile(r"[a-z0-9][a-z0-9_]*")  # a part of a key: no slash, no @


class CheckedArguments(ABCMeta):
    """A metaclass that checks the constructor's arguments like those of a config, before the constructor runs."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Construct; UserError with a line for each argument that does not fit its annotation.

        The arguments, with all defaults, are stored as ``options`` for the record.
        """
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        # None stands for self; a missing argument is Python's own TypeError, when the constructor runs
        bound = signature.bind_partial(None, *args, **kwargs)
        given = _by_name(bound)
        taken, errors = checked(parameters_of(cls, PerceptualCallback), given, cls.__name__)
        if errors:
            raise UserError(*errors)
        names = [
            p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        # names[1:]: without self; further arguments belong to a constructor's *args
        in_order = [taken[name] for name, _ in zip(names[1:], args, strict=False)]
        self = super().__call__(*in_order, *args[len(in_order) :], **{name: taken[name] for name in kwargs})
        # the record names every argument, whether it was given or not; first those of the class itself
        bound.apply_defaults()
        named = {**_by_name(bound), **taken}
        named = {**named, **defaults_of(cls, PerceptualCallback), **named}
        self._options = {name: _plain(value) for name, value in named.items()}
        self.layers_given = "layers" in given  # a layer that the user named must exist; a default may be null
        # where the model is found later, the evaluation says it; such scores are null, not refused
        prompted = type(self).prompts is not PerceptualCallback.prompts
        known = prompted and self.model is not None and self.tokenizer is None
        if known and (why := why_no_tokenizer(self.model)):
            warnings.warn(f"{self.key}: {why}", stacklevel=2)
        return self


class PerceptualCallback(Callback, metaclass=CheckedArguments):
    """A benchmark under the key ``family/name``: it names the stimuli and turns features into items.

    Subclasses set ``family``, ``version`` (raised whenever the same weights would give another number) and, for the
    record and the report, ``human_data``, ``stand_in``, ``source``, ``licence``. Optional: ``download``, the data set
    that it reads from the folder ``root``, ``scores`` (default: Spearman over the items), ``panel`` (default: the
    family's), ``tiles``, the number of tiles per image under the view ``tiles``, and ``full_precision``, which encodes
    in float32 because differences are too small for the run's precision. Constructors read and check the data, raise
    `UserError`, and pass ``**base`` on.

    A class that depends on the model overrides `adapt`. Constructor arguments are checked by their annotations
    (`clip_align.structure`: ``Range``, ``Holds``, …), from a config and from Python alike.

    Args:
        name: last part of the key; default: the config's key, in Python the file name of the module that defines the
            class.
        every_n_steps: optimizer steps between evaluations.
        model: the model under evaluation; default: found in the LightningModule.
        tokenizer: texts to int64 [N, context]; default: the training's, else open_clip's if the vocabulary is its own.
        mean, std: of the channels on [0, 1]; default: the model's own.
        view: of all stimuli; default: each stimulus's own.
        layers: one or several of ``"projection"``, layer numbers from 0, ``"all"`` layer numbers, names among
            ``readers``; scores of layers other than the projection have a suffix, ``…/srocc@layer_6``.
        tokens: of numbered layers: ``all`` in their order, the ``class`` token, or the ``mean`` of the patch tokens.
        batch_size: images per forward pass.

    ``readers``: functions of the model and its input that compute maps [B, h, w], by the name used in ``layers``; a
    class with readers annotates ``layers`` with their names in its own constructor, one or a sequence of them.
    """

    family: ClassVar[str]
    version: ClassVar[int] = 1
    human_data: ClassVar[str] = ""
    stand_in: ClassVar[str] = ""
    source: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    download: ClassVar[Download | None] = None
    scores: Sequence[Score] = (SPEARMAN,)
    panel: Panel | None = None
    tiles: int = 4
    full_precision: bool = False
    readers: Mapping[str, MapReader] = MappingProxyType({})  # read-only: a class attribute, common to all instances
    layers_given: bool = False
    _options: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        name: Annotated[str | None, Matches("[a-z0-9][a-z0-9_]*", "lower-case letters, digits, underscores")] = None,
        every_n_steps: Annotated[int, Range(low=1)] = 100,
        model: nn.Module | None = None,
        tokenizer: Callable[[list[str]], torch.Tensor] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        view: View | None = None,
        layers: Annotated[
            int | Literal["projection", "all"] | Sequence[int | Literal["projection", "all"]], Distinct()
        ] = ("projection",),
        tokens: Tokens = "all",
        batch_size: Annotated[int | None, Range(low=1)] = None,
    ) -> None:
        super().__init__()
        own = set(vars(self))  # Lightning's
        self.name = name or _file_name(type(self))
        if getattr(self, "family", None) not in PANELS:  # declared here without a value: a subclass may forget it
            raise UserError(f"{type(self).__name__}: family must be one of {', '.join(PANELS)}")
        if not NAME.fullmatch(self.name):  # a module's name may be anything
            raise UserError(
                option_problem(self.key, "name", "a name is lower-case letters, digits and underscores; give name=…")
            )
        self.every_n_steps, self.batch_size = every_n_steps, batch_size
        self.model, self.tokenizer, self.mean, self.std = model, tokenizer, mean, std
        self.view = view
        self.layers: tuple[Layer, ...] = (layers,) if isinstance(layers, int | str) else tuple(layers)
        self.tokens: Tokens = tokens
        self.tables: dict[str, tuple[str, ...]] = {}  # set by the evaluation, like the next three: see its Benchmark
        self.scored = False
        self.adapted: tuple[ModelInfo, str | None] | None = None
        self.null_reason: str | None = None
        self.settings: EvaluationSettings | None = None
        self.last_step: int | None = None  # of the last evaluation
        self.carried: Mapping[str, Any] = {}  # state of the previous event leader, from this process or a checkpoint
        self._leader: EventLeader | None = None
        _refuse_shadowed(self, set(vars(self)) - own)

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
        """The panel of the figure in which it is drawn."""
        return self.panel or PANELS[self.family]

    def adapt(self, model: ModelInfo) -> str | None:
        """Choose classes, scores, layers and stimuli for the model; called before any of them is used.

        The record describes what is set here (``self.scores`` with their chance and unit, ``self.layers``). The method
        is called again for another model, so it must assign attributes, not extend them.

        Returns:
            Why the model cannot be evaluated: the scores are then null with that reason, and nothing is encoded for
            the benchmark. None if it can.
        """
        return None

    def stimuli(self) -> Iterable[Stimulus]:
        """Every image of the benchmark, each once."""
        raise NotImplementedError(f"{type(self).__name__} must define stimuli()")

    def pairs(self) -> Sequence[tuple[str, str]]:
        """Pairs of stimuli that are compared: (id of the reference, id of the other); none unless overridden.

        Pairs are reduced on the device, layer by layer, to their distances: ``features.pairs``, in this order. Squared
        differences are averaged over a layer's tokens. Embeddings of images in a pair are not kept: ``features[ids]``
        is for other stimuli.
        """
        return ()

    def prompts(self) -> Mapping[str, Sequence[str]]:
        """Texts to embed, by class; none unless overridden."""
        return {}

    def items(self, features: Features) -> Items:
        """The items that scores are computed over, from the features of one layer; called once per layer.

        ``features[ids]``: embeddings [P, V, D]; ``features.shape``: the factors of D, tokens and width.
        ``features.pairs.distance(name)``: distances [P] of ``pairs()``. ``features.prompts``: embeddings by class.
        """
        raise NotImplementedError(f"{type(self).__name__} must define items()")

    # Hooks. The first perceptual callback of a trainer acts for all of them.

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return f"clip_align/{self.key}"

    def state_dict(self) -> dict[str, Any]:
        """The last evaluated step and the run position, so that a resumed run does not repeat the evaluation."""
        return {"last_step": self.last_step, **(self._leader.state() if self._leader else self.carried)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the last evaluated step and the run position."""
        self.last_step = state_dict["last_step"]
        self.carried = {key: value for key, value in state_dict.items() if key != "last_step"}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the event leader of this trainer."""
        if stage in ("fit", "validate", "test"):
            event_leader_of(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Render the images, before step 0."""
        if self._leads(trainer):
            event_leader_of(trainer).prepare(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate step 0, or the step at which a run is resumed if it was not evaluated."""
        if self._leads(trainer):
            event_leader_of(trainer).begin(trainer)
        event_leader_of(trainer).event(trainer)  # of all callbacks; nothing is due any more when the next one calls

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluate if due."""
        if self._leads(trainer):
            event_leader_of(trainer).count(batch)  # before the event, whose line has the samples seen
        event_leader_of(trainer).event(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the last step if it was not known in advance to be the last."""
        event_leader_of(trainer).last_event(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the last step of a resumed run that had been stopped in its last evaluation, with no step left."""
        if self._leads(trainer):
            event_leader_of(trainer).make_up(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate in ``Trainer.validate``; validation during training has no event of its own."""
        if trainer.state.fn == TrainerFn.VALIDATING and self._leads(trainer):
            event_leader_of(trainer).evaluate_once(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate in ``Trainer.test``."""
        if self._leads(trainer):
            event_leader_of(trainer).evaluate_once(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the record as failed and release the trainer."""
        self._leave("failed")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the record and release the trainer."""
        self._leave("done")

    def _leads(self, trainer: Trainer) -> bool:
        return perceptual_callbacks(trainer)[0] is self

    def _leave(self, status: str) -> None:
        if self._leader is not None:
            self.carried = self._leader.state()  # a checkpoint may be saved after training
            self._leader.close(status)
        self._leader = None


def perceptual_callbacks(trainer: Trainer) -> list[PerceptualCallback]:
    """The trainer's perceptual callbacks, in its order."""
    every = cast("list[Callback]", trainer.callbacks)  # type: ignore[attr-defined]
    return [callback for callback in every if isinstance(callback, PerceptualCallback)]


def event_leader_of(trainer: Trainer) -> EventLeader:
    """The event leader of a trainer's perceptual callbacks; created on first use."""
    callbacks = perceptual_callbacks(trainer)
    if not callbacks:
        raise UserError(Problem("callbacks", "no perceptual callback in this Trainer, nothing to evaluate"))
    leader = callbacks[0]._leader or EventLeader(callbacks)
    for callback in callbacks:
        callback._leader = leader
    return leader


def attach(callbacks: Iterable[PerceptualCallback], settings: EvaluationSettings) -> None:
    """Set the common settings of all callbacks of a run; call before ``Trainer.fit``."""
    for callback in callbacks:
        callback.settings = settings


def _refuse_shadowed(callback: PerceptualCallback, names: set[str]) -> None:
    """UserError where a subclass defines what the base has just set on the instance: its own would never be seen."""
    below = type(callback).__mro__[: type(callback).__mro__.index(PerceptualCallback)]  # the classes derived from it
    errors = [
        f"{cls.__module__}.{cls.__name__} defines {name}, which every benchmark has as an attribute of its own: "
        f"give it another name, or set self.{name} after super().__init__()"
        for cls in below
        for name in sorted(names & set(vars(cls)))
    ]
    if errors:
        raise UserError(*errors)


def _by_name(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Arguments by name, without self; those that a constructor takes as ``**base`` among them."""
    kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        if kinds[name] is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif kinds[name] is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = value
    return named


def _file_name(cls: type) -> str:
    """Name of the module file that defines the class; without a file, the class name in snake case."""
    try:
        return Path(inspect.getfile(cls)).stem.lower()
    except (TypeError, OSError):  # a class typed into a console
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def _plain(value: Any) -> Any:
    """An argument as the record can hold it."""
    value = as_typed(value)  # tuples as lists, paths as texts
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    # of objects (a model, a tokenizer) the name of their class
    return [_plain(v) for v in value] if isinstance(value, list) else type(value).__name__
