# SPDX-License-Identifier: Apache-2.0
"""A rank layout as Lightning wants to be given it."""

from __future__ import annotations

import os

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

from clip_align.training.launch_ranks import RankLayout


class LayoutEnvironment(ClusterEnvironment):
    """The ranks are there already, whoever has started them, and machines may have different numbers of them.

    Lightning's own environments multiply the devices of one machine with the number of machines.

    Args:
        layout: this rank among the others.
    """

    def __init__(self, layout: RankLayout) -> None:
        super().__init__()
        self._layout = layout

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Host of the store in which the ranks have met."""
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        """Port of that store."""
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        """Given to the Trainer, never looked for by it."""
        return False

    def world_size(self) -> int:
        """Number of ranks, on all machines."""
        return self._layout.world

    def set_world_size(self, size: int) -> None:
        """Lightning's product of devices and machines, which is not the number of ranks everywhere."""

    def global_rank(self) -> int:
        """This rank among all."""
        return self._layout.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning's guess from the machine's number, which is not this rank everywhere."""

    def local_rank(self) -> int:
        """The number of this rank's device among those that it sees."""
        return self._layout.gpu_number

    def node_rank(self) -> int:
        """This rank's machine."""
        return self._layout.node

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Nothing to compare: both come from the layout."""
