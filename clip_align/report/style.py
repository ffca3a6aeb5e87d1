# SPDX-License-Identifier: Apache-2.0
"""How figure and page look: sizes of cells, colours of curves and of their names, how often a page is loaded again."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
TEXT_COLOURS = ("#005F96", "#B34E00", "#007A59", "#9C4677", "#946200", "#1F75A8", "#000000", "#6F5524")  # darker
REFRESH_SECONDS = 10  # after which a browser loads the page of a run under way again
INK, MUTED, FAINT = "#1a1a1a", "#5c5c5c", "#b4b4b4"


@dataclass(frozen=True)
class Layout:
    """Sizes in inches (font in points) of one cell of the figure; names stand in the right margin."""

    columns: int
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    font: float
    dpi: int
    note_characters: int
    note_lines: int
    tick_fraction: float  # least distance of ticks, as a fraction of the axis

    @property
    def axes_inches(self) -> tuple[float, float]:
        """Width and height of the axes."""
        return self.width - self.left - self.right, self.height - self.top - self.bottom


WIDE = Layout(2, 6.1, 3.9, 0.52, 1.78, 0.62, 0.34, 8.5, 130, 104, 2, 0.13)
