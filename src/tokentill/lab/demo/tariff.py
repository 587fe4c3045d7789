"""The tariff: what things cost by the demo's own arithmetic, read straight from the catalog's text.

It shares no code with the till, whose reader and pricing it is there to check: TOML, fractions, rounding up
once for each request, and nothing else.

Requirement ids: R-PLAN-3, R-LED-3.
"""

from __future__ import annotations

import math
import tomllib
from fractions import Fraction
from typing import Any


class Tariff:
    """The figures of a catalog file."""

    def __init__(self, text: str) -> None:
        self._figures: dict[str, Any] = tomllib.loads(text)

    def request(self, feature: str, read: int, written: int) -> int:
        """Tokens that one served request costs."""
        rates = self._figures["features"][feature]
        cost = Fraction(read * rates["input_per_1000"] + written * rates.get("output_per_1000", 0), 1000)
        return math.ceil(cost)

    def pack(self, ident: str) -> int:
        """Tokens in a pack."""
        return int(self._figures["packs"][ident]["tokens"])

    def plan(self, ident: str | None) -> int:
        """Tokens a plan brings when it begins."""
        return 0 if ident is None else int(self._figures["plans"][ident]["tokens"])
