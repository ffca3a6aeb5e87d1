# SPDX-License-Identifier: Apache-2.0
"""Shipped options whose callbacks have no loader in this release: announced, and never in the way of others' options.

Hydra takes the first yaml of a name on its search path, and the shipped ones are first. A yaml of the same name in an
outside package, or in a ``hydra.searchpath``, is found before a placeholder.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigSource
from omegaconf import OmegaConf

from clip_align.config import conf_dir
from clip_align.settings import yaml_keys
from clip_align.settings.callback_check import not_in_this_release

EXPERIMENT = "experiment"
SHIPPED = "main"  # Hydra's name for the folder that it was initialized with


def placeholders(group: str) -> frozenset[str]:
    """Shipped options of a group whose callbacks, or some of them, have no loader yet."""
    if group == "callbacks":
        there = {name: conf_dir() / group / f"{name}.yaml" for name in yaml_keys.options(group)}
        return frozenset(n for n, path in there.items() if any(map(not_in_this_release, yaml_keys.targets(path))))
    if group == EXPERIMENT:
        return frozenset(name for name in yaml_keys.options(group) if _chooses_placeholders(name))
    return frozenset()


def _chooses_placeholders(experiment: str) -> bool:
    content = OmegaConf.to_container(OmegaConf.load(conf_dir() / EXPERIMENT / f"{experiment}.yaml"))
    defaults = content.get("defaults", ()) if isinstance(content, dict) else ()
    chosen = [entry.get("override /callbacks") or () for entry in defaults if isinstance(entry, dict)]
    return any(placeholders("callbacks").intersection(names) for names in chosen)


class Repository(ConfigRepository):
    """Hydra's yaml files, in which a placeholder comes after any other yaml of its name."""

    def _find_object_source(self, config_path: str, object_type: ObjectType | None) -> ConfigSource | None:
        found = super()._find_object_source(config_path, object_type)
        if found is None or found.provider != SHIPPED or object_type != ObjectType.CONFIG:
            return found
        other = next((s for s in self.sources if s.provider != SHIPPED and s.is_config(config_path)), None)
        path = PurePosixPath(config_path)
        return other if other is not None and path.stem in placeholders(str(path.parent)) else found
