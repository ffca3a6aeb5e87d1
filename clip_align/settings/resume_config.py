# SPDX-License-Identifier: Apache-2.0
"""The configuration of a resumed run: the stored one, with permitted changes."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # Hydra brings it

from clip_align import config as schema
from clip_align.config_plain import from_plain, to_plain
from clip_align.errors import Problem, UserError
from clip_align.runs.folder import RunFolder, is_run, resolve_run
from clip_align.settings.callback_check import record_key
from clip_align.settings.compose import Composed, compose
from clip_align.settings.override_check import KINDS
from clip_align.settings.quoting import as_typed
from clip_align.settings.signatures import NotFoundError, constructor
from clip_align.structure import Existing, Holds, convert, flat, plain, shown

PLACES = ("data.shards", "data.csv", "data.root")  # of the same data: compared when they have been read
# how a global batch is divided; that it stays equal can be checked once the number of ranks is known
DIVISION = ("data.batch_size", "trainer.accumulate", "trainer.devices", "trainer.kind", "trainer.reshard_after_forward")
MAY_CHANGE = ("trainer.max_steps", "trainer.samples", "data.workers", *DIVISION, *PLACES)  # and all keys of SECTIONS
SECTIONS = ("tracker", "callbacks")
MAY_CHANGE_OF_CALLBACK = ("every_n_steps", "batch_size")  # any other option may change the items
OF_THE_CALL = ("resume", "name", "dry_run", "paths", "preparation")  # belong to the command, not to the run
CHANGEABLE = (
    "trainer.max_steps or samples, data.workers, the ranks of an equal global batch, tracker, callbacks and where the "
    "data lie"
)


def resumed(composed: Composed, overrides: Sequence[str], errors: list[Problem]) -> dict[str, Any]:
    """The stored configuration of the run in ``resume=``, with the permitted changes.

    Any other key with a value that differs from the run's is an error; with the run's value it is accepted, so that one
    command with ``resume=auto`` starts a run and resumes it.

    Args:
        composed: the composed overrides.
        overrides: as typed.
        errors: receives the problems, including those of ``composed``.

    Returns:
        The configuration as plain values; ``resume`` is the run's folder, or None if ``auto`` finds no run.
    """
    requested = composed.plain.get("resume")
    run = _find(composed.plain, str(requested), errors) if requested is not None else None
    stored = _stored(run, errors) if run is not None else None
    if run is not None and requested != "auto" and "name" in composed.typed:
        errors.extend(_other_name(composed.plain, str(requested), run))
    if run is None or stored is None:
        errors.extend(composed.errors)
        fresh = requested == "auto" and composed.plain.get("name") is not None
        return {**composed.plain, "resume": None} if fresh else composed.plain
    # again, with the run's options: typed keys may exist only with those
    composed = compose(overrides, context=list(_context(stored, composed.plain)))
    errors.extend(composed.errors)
    result = {**stored, **{k: composed.plain[k] for k in ("dry_run", "paths")}, "resume": str(run.path)}
    sections = {key.partition(".")[0] for key in composed.typed}
    # in the stored form, so that 1e2 equals 100
    new = {k: _normal(k, v) for k, v in composed.plain.items() if k in sections or "experiment" in sections}
    if new.get("data") and new["data"].get("held_out") is None:  # by the number of samples: as the run was begun with
        new["data"] = {**new["data"], "held_out": stored["data"]["held_out"]}
    for key in composed.typed:
        _take_over(key, new, result, composed)
        errors.extend(_refused(key, new, stored, run))
    if new.get("data"):
        errors.extend(_other_sources(new["data"].get("shards"), stored["data"].get("shards"), run))
    if isinstance(result.get("callbacks"), Mapping):
        errors.extend(_other_items(result["callbacks"], stored["callbacks"], run.path.name))
    lengths = [
        k for k in ("max_steps", "samples") if f"trainer.{k}" in composed.typed and new["trainer"][k] is not None
    ]
    if len(lengths) == 1:  # a typed length replaces the other kind of length
        result["trainer"] = {**result["trainer"], "max_steps": None, "samples": None}
        result["trainer"][lengths[0]] = new["trainer"][lengths[0]]
    return result


def _find(new: Mapping[str, Any], requested: str, errors: list[Problem]) -> RunFolder | None:
    runs, name = str(new.get("paths", {}).get("runs", "runs")), new.get("name")
    if not requested:
        errors.append(Problem("resume", "which run? type resume=<name>, or name=<name> resume=auto"))
        return None
    if requested == "auto":
        folder = RunFolder(Path(runs) / str(name))
        return folder if name is not None and folder.config_yaml.is_file() else None  # None: starts the run
    try:
        return _of_checkpoint(runs, requested) or resolve_run(runs, requested)
    except UserError as error:
        errors.extend(Problem("resume", line) for line in error.lines)
        return None


def _of_checkpoint(runs: str, requested: str) -> RunFolder | None:
    """The run of a checkpoint file; None if ``requested`` is no file.

    UserError if its run is not resumed from this file, which must be last.ckpt or the newest of a step.
    """
    path = next((p for p in (Path(requested).expanduser(), Path(runs) / requested) if p.is_file()), None)
    if path is None or path.name == "latest":  # the text file in place of the link, which names a run
        if requested.endswith(".ckpt"):
            raise UserError(f"{requested}: no such checkpoint; name the run that it belongs to: resume=<run>")
        return None
    run = RunFolder(path.absolute().parent.parent)  # <run>/checkpoints/<file>
    if path.absolute().parent != run.checkpoints or not is_run(run.path):
        raise UserError(f"{requested}: a file in no run's checkpoints; name a run or its folder: resume=<run>")
    # steps are padded with zeros: the order of names
    newest = max((p.name for p in run.checkpoints.glob("step-*.ckpt")), default="last.ckpt")
    if path.name not in ("last.ckpt", newest):
        raise UserError(
            f"{requested}: not the newest checkpoint of its run, which is resumed from {newest} only: "
            f"type resume={run.path}"
        )
    return run


def _other_name(new: Mapping[str, Any], requested: str, run: RunFolder) -> Iterator[Problem]:
    """A problem if a name is typed that differs from the resumed run's."""
    name, runs = new.get("name"), Path(str(new.get("paths", {}).get("runs", "runs")))
    if name is not None and (runs / str(name)).resolve() != run.path.resolve():
        yield Problem("name", f"{name} with resume={requested}; a resumed run keeps its name: leave name out")


def _stored(run: RunFolder, errors: list[Problem]) -> dict[str, Any] | None:
    """A run's stored configuration with all keys, checked; None and a problem if unreadable."""
    refused = "cannot be read ({}); without it the run cannot continue"
    try:
        loaded = yaml.safe_load(run.config_yaml.read_text(encoding="utf-8"))
        if isinstance(loaded, dict):
            # keys that an older release did not have get their defaults
            return to_plain(from_plain(loaded))
        what = "empty" if loaded is None else "keys and values are not in it"
        errors.append(Problem("resume", f"{run.config_yaml} {refused.format(what)}"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        errors.append(Problem("resume", f"{run.config_yaml} {refused.format(reason)}"))
    except UserError as error:
        errors.extend(Problem("resume", f"{run.config_yaml}: {line}") for line in error.lines)
    return None


def _context(stored: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Overrides for the run's groups, schedule and callbacks, so that typed keys refer to the run's own options.

    Callbacks are given key by key, not by the names of their yaml files, since some have none (+callbacks.mine=…).

    Args:
        stored: the run's configuration.
        new: the one that is typed; a group that is of the run's kind there stays, since its option may be more than the
            kind, as model=vit_b_32 of an experiment is.
    """
    for group in KINDS:  # an option has the name of its module, in another package too
        typed, kind = new.get(group), stored[group]["kind"]
        if not isinstance(typed, Mapping) or typed.get("kind") != kind:
            yield f"{group}={kind.rpartition('.')[2]}"
    yield f"evaluation.every_n_steps={as_typed(stored['evaluation']['every_n_steps'])}"
    yield "callbacks=[]"  # those of the run alone, not the default ones
    for name, callback in stored["callbacks"].items():
        for key, value in {"_target_": callback["target"], **callback["arguments"]}.items():
            yield f"++callbacks.{name}.{key}={as_typed(value)}"


def _normal(section: str, value: object) -> Any:
    """A section in the form of a stored configuration; unchanged if it is invalid (reported elsewhere)."""
    found: list[Problem] = []
    built = convert(typing.get_type_hints(schema.Config).get(section, Any), value, section, found)
    return plain(value if found else built)


def _take_over(key: str, new: Mapping[str, Any], result: dict[str, Any], composed: Composed) -> None:
    """Copy a typed key into ``result`` if it may change: a whole section, or one of its keys."""
    section, _, name = key.partition(".")
    if key == "trainer" and isinstance(group := new.get(section), Mapping):  # trainer=ddp: its options differ in kind
        result[section] = {**result[section], "kind": group.get("kind")}
    elif section == "callbacks":
        result[section] = _callbacks(new[section], result[section], composed.typed)
    elif key in SECTIONS and key in composed.groups:
        result[section] = new[section]
    elif section == "tracker" or key in MAY_CHANGE:
        result[section] = {**result[section], name: new[section].get(name)}


def _callbacks(new: Mapping[str, Any], stored: Mapping[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """The chosen callbacks; those of the stored run keep its arguments, except typed ones."""
    result = dict(new)
    for name, callback in new.items():
        path, old = f"callbacks.{name}", stored.get(name)
        if old is None or path in typed or not isinstance(callback, Mapping):
            continue
        if callback.get("target") == old["target"]:
            # an argument may be a mapping
            keys = {key.removeprefix(f"{path}.").partition(".")[0] for key in typed if key.startswith(f"{path}.")}
            changed = {key: value for key, value in callback["arguments"].items() if key in keys}
            # the stored ones: those of its yaml may have changed since
            result[name] = {**old, "arguments": {**old["arguments"], **changed}}
    return result


def _other_sources(new: object, stored: object, run: RunFolder) -> Iterator[Problem]:
    """A problem if the number of sources or their weights would change."""
    if not isinstance(new, list) or not isinstance(stored, list):
        return
    # paths may differ: shards may have been moved
    weights = [[source["weight"] for source in sources if isinstance(source, Mapping)] for sources in (new, stored)]
    if weights[0] != weights[1]:
        what = (
            f"sources with weights {shown(weights[0])} are not what {run.path.name} was started with "
            f"({shown(weights[1])}); when a run is resumed its shards may lie elsewhere, but not be mixed otherwise"
        )
        yield Problem("data.shards", what)


def _other_items(new: Mapping[str, Any], stored: Mapping[str, Any], run: str) -> Iterator[Problem]:
    """A problem for every option that would continue a curve of the run with other items.

    ``new``, ``stored``: callbacks by their key in the config, as plain values.
    """
    # by what they write: a callback may be stored under another key of the config
    curves = {_curve(name, callback): callback for name, callback in stored.items()}
    for name, callback in new.items():
        if not isinstance(callback, Mapping) or _curve(name, callback) not in curves:
            continue
        before = curves[_curve(name, callback)]
        path, another = f"callbacks.{name}", f"give it another name, +callbacks.{name}.name=…"
        if callback.get("target") != before["target"]:
            what = f"{run} was started with another class for this curve ({before['target']}); {another}"
            yield Problem(path, what)
            continue
        for key in {**before["arguments"], **callback.get("arguments", {})}:
            old, value = before["arguments"].get(key), callback["arguments"].get(key)
            if key in (*MAY_CHANGE_OF_CALLBACK, "name") or old == value:
                continue
            if _only_moved(str(before["target"]), key, old, value):
                continue
            what = (
                f"{shown(value)} is not what {run} was started with ({shown(old)}), and this curve "
                f"would continue with other items; {another}"
            )
            yield Problem(f"{path}.{key}", what)


def _curve(name: str, callback: Mapping[str, Any]) -> tuple[str, str]:
    """Identity of a callback's curves: family (or class, if unknown) and name."""
    target = str(callback.get("target"))
    key = record_key(name, target, callback.get("arguments") or {})
    return ("", key) if key else (target, name)  # a pair in both cases, so that they never meet


def _only_moved(target: str, argument: str, old: object, new: object) -> bool:
    """Whether an argument is a path whose two values end in the same name, as moved files do.

    What lies there is compared at the first event.
    """
    try:
        parameters = constructor(target) or {}
    except NotFoundError:  # a problem of its own, see callback_check
        return False
    markers = parameters[argument].markers if argument in parameters else ()
    if not any(isinstance(marker, Existing | Holds) for marker in markers):
        return False
    return isinstance(old, str) and isinstance(new, str) and Path(old).name == Path(new).name


def _refused(key: str, new: Mapping[str, Any], stored: Mapping[str, Any], run: RunFolder) -> Iterator[Problem]:
    """A problem for everything under a typed key that would change and must not."""
    if key.partition(".")[0] in (*OF_THE_CALL, *SECTIONS):
        return
    before, after = flat(stored), flat(new)
    for name, old in before.items():
        now = after.get(name, old)
        # a whole group of a run of an earlier release may lack keys that there are now
        inside = isinstance(old, Mapping) and name == key and "." in name
        changes = _other_entries(old, now) if inside else not isinstance(old, Mapping) and old != now
        under = key == "experiment" or name == key or name.startswith(f"{key}.")
        if not changes or not under or name.partition(".")[0] in (*OF_THE_CALL, *SECTIONS):
            continue
        renamed = _renamed(name, after[name], before)
        if name not in MAY_CHANGE or renamed:
            yield Problem(
                name,
                f"{shown(after[name])} is not what {run.path.name} was started with ({shown(old)}); "
                f"when a run is resumed, only {CHANGEABLE} may change{renamed}",
            )


def _other_entries(old: Mapping[str, Any], now: object) -> bool:
    """Whether a key whose value is a mapping, as ``data.caption_fields``, has got further entries, or none."""
    return not isinstance(now, Mapping) or bool(set(now) - set(old))


def _renamed(name: str, typed: object, stored: Mapping[str, Any]) -> str:
    """What to type instead of ``trainer.accumulate`` for a run of an earlier release, where it meant something else.

    Args:
        name: the key that was typed.
        typed: its value.
        stored: the run's keys and values.
    """
    now = "trainer.accumulate_grad_batches"
    if name != "trainer.accumulate" or typed != stored.get(now):
        return ""
    return f"; for the {typed} batches of its steps, which an earlier release called so, type {now}={typed} or nothing"
