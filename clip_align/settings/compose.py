# SPDX-License-Identifier: Apache-2.0
"""From overrides to one nested mapping, by Hydra's compose API; every mistake becomes a problem.

Hydra stops at its first error. Each override is therefore checked separately first. The valid ones are composed
together and, only if that fails, part by part, to find the option that does not fit or the key that is unknown.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import yaml  # type: ignore[import-untyped]  # Hydra brings it
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from clip_align import config as schema
from clip_align.errors import Problem, UserError
from clip_align.kinds import SOURCES
from clip_align.settings import override_check
from clip_align.settings.callback_check import takes
from clip_align.settings.parse_overrides import one_line, parse
from clip_align.spelling import nearest, unknown_key
from clip_align.structure import flat, join

PRIMARY = "config"
EPOCHS = ("epoch", "epochs", "max_epochs", "num_epochs", "n_epochs", "nepochs")
MISTAKES = (  # the last four for overrides of an unforeseen form, such as a number for a group
    *(HydraException, OmegaConfBaseException, yaml.YAMLError),
    *(ValueError, TypeError, AttributeError, AssertionError),
)


class NotComposedError(UserError):
    """Overrides that are incompatible with each other or with the yaml files; one line."""


@dataclass(frozen=True)
class Composed:
    """The result of `compose`.

    plain: the resolved configuration. typed: groups and keys of the overrides. groups: names of all groups, read only
    with a context. errors: problems of the overrides that were left out.
    """

    plain: dict[str, Any] = field(default_factory=dict)
    typed: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    errors: tuple[Problem, ...] = ()


def compose(overrides: Sequence[str], context: Sequence[str] = ()) -> Composed:
    """The configuration with the overrides applied; invalid ones are left out and reported in ``errors``.

    ``context``: further overrides, applied before the others if the options that they choose exist.
    """
    errors: list[Problem] = [*override_check.split_by_the_shell(overrides)]
    with hydra() as loader:
        parsed = _accepted_form(parse(overrides, errors, loader), errors, loader)
        if context:
            # Hydra takes the last of two values: the typed one
            parsed = [*_valid_context(context, parsed, loader), *parsed]
        lines = completed([str(o.input_line) for o in parsed], parsed)
        try:
            config = _composed(lines)
        except NotComposedError:  # the slower search for the override at fault, only when there is one
            config = _diagnosed(parsed, context, loader, errors)
        # for a resumed run alone, which asks whether a typed key is a group
        groups = group_names(loader, lines) if context else []
        plain = _resolved(config, errors)
    typed = tuple(o.key_or_group for o in parsed if o.input_line not in context)
    for length, other in (("samples", "max_steps"), ("max_steps", "samples")):
        only = f"trainer.{length}" in typed and f"trainer.{other}" not in typed
        if only and plain.get("trainer", {}).get(length) is not None:
            plain["trainer"][other] = None  # exactly one of the two: the one that was typed
    if isinstance(paths := plain.get("paths"), dict):  # a shell expands ~ at the beginning of a word only
        plain["paths"] = {k: os.path.expanduser(v) if isinstance(v, str) else v for k, v in paths.items()}
    return Composed(plain, typed, tuple(groups), tuple(errors))


@dataclass(frozen=True)
class Sweep:
    """A sweep. typed: overrides, quoted for Hydra. jobs: overrides of each run. swept: keys with several values."""

    typed: list[str]
    jobs: list[list[str]]
    swept: list[str]


def sweep(overrides: Sequence[str]) -> Sweep:
    """Every combination of the swept values.

    A sweeper other than Hydra's own chooses values during the sweep: there is then one combination, without the swept
    keys. UserError for unreadable overrides, and if there is nothing to sweep over.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    errors: list[Problem] = []
    with hydra() as loader:
        parsed = parse(overrides, errors, loader)
        lines, several = [str(o.input_line) for o in parsed], [o for o in parsed if o.is_sweep_override()]
        swept = [o.key_or_group for o in several]
        if any(o.key_or_group == "hydra/sweeper" for o in parsed) and not errors:
            return Sweep(lines, [[str(o.input_line) for o in parsed if not o.is_sweep_override()]], swept)
        if not several and not errors:
            what = "nothing to sweep over; give a key several values, seed=1,2, or leave it out"
            errors.append(Problem("--multirun", what))
        try:
            empty = [o for o in several if not list(o.sweep_string_iterator())]  # seed=range(3,1) expands to nothing
            what = "no value to sweep over; give several, such as seed=1,2"
            errors.extend(Problem(o.key_or_group, what, shown=str(o.input_line)) for o in empty)
            if errors:
                raise UserError(*errors)
            # one batch: no limit on its size
            (combinations,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        except HydraException as error:
            raise UserError(one_line(error)) from None
    return Sweep(lines, combinations, swept)


@contextlib.contextmanager
def hydra() -> Iterator[ConfigLoader]:
    """Hydra on the yaml files of this package, without a job, a folder or a log."""
    if not (schema.conf_dir() / f"{PRIMARY}.yaml").is_file():
        raise UserError(Problem("conf", f"no {PRIMARY}.yaml in {schema.conf_dir()}; install clip-align again"))
    with initialize_config_dir(str(schema.conf_dir()), job_name="clip_align", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def completed(lines: list[str], parsed: Sequence[Override]) -> list[str]:
    """``model.name=…`` alone also chooses ``model=open_clip``, whose architecture it names, and its optimizer.

    A ResNet is trained like ``model=rn50``: CLIP's betas and eps depend on whether "vit" is in the name.
    """
    keys = {o.key_or_group: o for o in parsed}
    named = keys.get("model.name")
    if named is None or named.value() is None:
        return lines
    model = ["model=open_clip"] if "model" not in keys and "experiment" not in keys else []
    resnet = "vit" not in str(named.value()).lower() and "optimizer" not in keys  # as open_clip chooses betas and eps
    return [*model, *(["optimizer=clip_resnet"] if resnet else []), *lines]


def _valid_context(context: Sequence[str], parsed: Sequence[Override], loader: ConfigLoader) -> list[Override]:
    """The overrides of a stored run that still exist and are not replaced by new ones."""
    lines = [str(o.input_line) for o in parsed]
    groups = group_names(loader, lines)
    anew = [o.key_or_group for o in parsed if o.is_add() or (o.key_or_group in groups and not o.is_delete())]
    unused: list[Problem] = []
    own = [
        o
        for o in parse(context, unused, loader)
        if not any(o.key_or_group == key or o.key_or_group.startswith(f"{key}.") for key in anew)
    ]
    return [o for o in own if not _form_problems(o, lines, loader)]


def options(group: str, loader: ConfigLoader, lines: Sequence[str] = ()) -> list[str]:
    """Options of a group, including those of outside packages and of a ``hydra.searchpath``.

    Args:
        group: its name.
        loader: see `hydra`.
        lines: overrides, of which ``hydra.searchpath`` is used.
    """
    found: list[str] = loader.get_group_options(group, ObjectType.CONFIG, PRIMARY, _searchpath(lines))
    return sorted(found)


def _accepted_form(parsed: Sequence[Override], errors: list[Problem], loader: ConfigLoader) -> list[Override]:
    """The overrides that are valid separately; the others become problems."""
    accepted: list[Override] = []
    for override in sorted(parsed, key=lambda o: not override_check.of_hydra(o.key_or_group)):
        lines = [str(o.input_line) for o in accepted]  # a search path has to precede the options found there
        if override.is_sweep_override():
            what = "several values; add --multirun to sweep, or write a list as [a,b]"
            wrong = [Problem(override.key_or_group, what, shown=str(override.input_line))]
        else:
            wrong = _form_problems(override, lines, loader)
        errors.extend(wrong)
        accepted += [] if wrong else [override]
    # in the order of typing: of two the last one counts
    return [override for override in parsed if override in accepted]


def _form_problems(override: Override, lines: Sequence[str], loader: ConfigLoader) -> list[Problem]:
    found = override_check.problems(override, group_names(loader, lines), lambda g: options(g, loader, lines))
    return list(found)


def _composed(lines: Sequence[str]) -> DictConfig:
    """Compose override lines with Hydra; NotComposedError if that fails."""
    try:
        return hydra_compose(PRIMARY, list(lines))
    except MISTAKES as error:
        raise NotComposedError(one_line(error)) from error


def _diagnosed(
    parsed: Sequence[Override], context: Sequence[str], loader: ConfigLoader, errors: list[Problem]
) -> DictConfig:
    """The configuration without the invalid overrides, each of which becomes a problem."""
    lines = [str(o.input_line) for o in parsed]
    groups = group_names(loader, lines)
    of_hydra = [str(o.input_line) for o in parsed if override_check.of_hydra(o.key_or_group)]
    # choices of options come first: which keys exist depends on them
    first = [str(o.input_line) for o in parsed if o.key_or_group in groups or str(o.input_line) in context]
    plus = [str(o.input_line) for o in parsed if o.is_add() or o.is_force_add()]
    added = [line for line in plus if line not in (*of_hydra, *first)]
    chosen = _together([], [*of_hydra, *completed(first, parsed), *added], errors)
    base = _composed(chosen)
    # unresolved: a reference that cannot be resolved is reported by _resolved
    known = flat(OmegaConf.to_container(base, resolve=False))
    values: list[str] = []
    for override in parsed:
        key, line = override.key_or_group, str(override.input_line)
        if line in (*first, *of_hydra, *added):
            continue
        if key in known:
            values.append(line)
        else:
            errors.append(_unknown(key, known, groups, base, override.is_delete()))
    return _composed(_together(chosen, values, errors))


def _together(chosen: list[str], lines: list[str], errors: list[Problem]) -> list[str]:
    """``chosen`` and the lines that compose with it, all together or else one by one; problems for the others."""
    # composing is slow, so all of them at once before one by one
    with contextlib.suppress(NotComposedError):
        _composed([*chosen, *lines])
        return [*chosen, *lines]
    for line in lines:
        try:
            _composed([*chosen, line])
            chosen = [*chosen, line]
        except NotComposedError as error:
            errors.append(Problem(line.partition("=")[0].lstrip("+~"), str(error), shown=line))
    return chosen


def _unknown(key: str, known: dict[str, Any], groups: Sequence[str], base: DictConfig, delete: bool) -> Problem:
    """The problem of a key that does not exist, or not with the chosen options."""
    group, _, name = key.partition(".")
    other = "open_clip" if base.model.kind == "tiny" else "tiny"  # of the two kinds of model
    owners: dict[str, type] = {other: schema.ModelConfig} if group == "model" else {}
    if group == SOURCES.group:
        owners = {kind: SOURCES.load(kind) for kind in SOURCES.names()}
    # a key that exists, but with other options than the chosen one; every owner has a kind
    having = [
        f"{group}={option}"
        for option, owner in owners.items()
        if name != "kind" and name in {f.name for f in fields(owner)}
    ]
    if having:
        what = having[0] if len(having) == 1 else "one of them"
        return Problem(key, f"only with {' or '.join(having)}, and this is {group}={base[group].kind}; type {what} too")
    if group == "callbacks" and name:
        there, callback = list(base.callbacks), name.partition(".")[0]
        if callback not in there:
            guess = nearest(callback, there)
            hint = f"; did you mean callbacks.{guess}?" if guess else f"; chosen are: {', '.join(there) or 'none'}"
            return Problem(key, f"no callback of this name{hint}")
        if "." in name and takes(str(base.callbacks[callback].get("_target_")), name.partition(".")[2]):
            return Problem(key, f"taken by the class, but not in its yaml; add it by typing +{key}=…")
    if key.rpartition(".")[2].lower() in EPOCHS:  # a habit from other trainers; no spelling is near
        what = "a run's length is trainer.max_steps (optimizer steps) or trainer.samples (epochs x samples of the data)"
        return Problem(key, f"unknown key; {what}: one epoch of 20,000 images is trainer.samples=20000")
    leaves = [k for k, v in known.items() if delete or not isinstance(v, dict)]
    return unknown_key(key, [*leaves, *(g for g in groups if "/" not in g)])


def group_names(loader: ConfigLoader, lines: Sequence[str] = ()) -> list[str]:
    """Names of the groups that users choose from (not Hydra's own)."""
    found: list[str] = loader.get_group_options("", ObjectType.GROUP, PRIMARY, _searchpath(lines))
    return sorted(g for g in found if g != "hydra")


def _searchpath(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.lstrip("+").startswith("hydra.searchpath")]


def _resolved(config: DictConfig, errors: list[Problem]) -> dict[str, Any]:
    """Plain values, references resolved. A wrong reference alone is reported, but keys that refer to it go too."""
    wrong: dict[str, str] = {}
    plain = _plain(config, "", wrong)
    as_typed = flat(OmegaConf.to_container(config, resolve=False)) if wrong else {}
    for key, reason in wrong.items():
        if not any(f"${{{other}}}" in str(as_typed[key]) for other in wrong):
            errors.append(Problem(key, reason))
    return {key: value for key, value in plain.items() if key != "hydra"}


def _plain(node: DictConfig, path: str, wrong: dict[str, str]) -> dict[str, Any]:
    """A mapping without the keys that cannot be resolved; these are put into ``wrong`` with the reasons."""
    found: dict[str, Any] = {}
    for key in map(str, node):
        where = join(path, key)
        try:
            # reading it would raise; refused later, by its key
            value = "???" if OmegaConf.is_missing(node, key) else node[key]
            if isinstance(value, DictConfig):
                found[key] = _plain(value, where, wrong)
            else:
                found[key] = OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
        except OmegaConfBaseException as error:
            wrong[where] = one_line(error)
    return found
