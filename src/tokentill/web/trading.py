"""Trading: the shop's routes for a client in the same process, read and answered as over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from tokentill.flows.shop import Shop
from tokentill.ports import OperatorKey
from tokentill.rules.refusals import Code, Refusal
from tokentill.web.call import Call
from tokentill.web.care import CARE
from tokentill.web.handover_routes import HANDOVERS
from tokentill.web.key_routes import KEYS
from tokentill.web.office_routes import OFFICE
from tokentill.web.orders import NO_SIMULATION
from tokentill.web.problems import Halt, Problem
from tokentill.web.reconciling import RECONCILING
from tokentill.web.refund_routes import REFUNDS
from tokentill.web.routing import Bound
from tokentill.web.shop_routes import SHOP

PLACES: Mapping[str, tuple[str, str]] = {
    route.name: (route.method, route.path)
    for route in (*SHOP, *OFFICE, *CARE, *REFUNDS, *KEYS, *RECONCILING, *HANDOVERS)
}
"""Method and path of every route of the shop, by its name."""


class Trader:
    """Does what the routes of the shop do. `actor` stands on the record of what is done by hand."""

    def __init__(self, shop: Shop, actor: str) -> None:
        self.shop = shop
        self._operator = OperatorKey("", actor, 0, None, None)
        self._bound = {
            route.name: Bound(route)
            for route in (*SHOP, *OFFICE, *CARE, *REFUNDS, *KEYS, *RECONCILING, *HANDOVERS)
        }

    async def trade(
        self,
        name: str,
        params: Sequence[str],
        body: Mapping[str, Any],
        query: Mapping[str, Any],
        key: str | None,
    ) -> Struct | Refusal:
        """What the route of this name answers. Raises `StoreDown`."""
        bound = self._bound[name]
        handle = bound.route.trade
        assert handle is not None, "a route of the shop"
        try:
            call = Call(bound.params([quote(one, safe="").encode() for one in params]), self._operator)
            call.key = key
            bound.read(call, msgspec.json.encode(body), urlencode(query).encode())
        except Halt as halt:
            problem = msgspec.json.decode(halt.answer.body, type=Problem)
            return Refusal(Code.INVALID, problem.detail, detail=halt.field)
        return await handle(self.shop, call)

    def no_simulation(self) -> Refusal | None:
        """Why no simulated organization can be opened here."""
        return NO_SIMULATION if self.shop.testclock is None else None
