"""What a figure is: it is drawn, has facts for its words, and the table that it shows."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.data import Networks, Report


class Drawing:
    """A figure of these results; one that does not look into the networks can do without them."""

    def __init__(self, report: Report, networks: Networks | None = None) -> None:
        self.report, self._networks = report, networks

    @property
    def networks(self) -> Networks:
        if self._networks is None:
            raise ValueError("expected the networks")
        return self._networks

    def draw(self) -> Figure:
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """What its words tell, in templates/figures."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The numbers that it shows."""
        raise NotImplementedError
