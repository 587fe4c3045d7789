"""Together: rows that every call asks for, looked up together where they are asked for together.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from tokentill.ports import StoreDown
from tokentill.rules.rows import Row

R = TypeVar("R", bound=Row)


class Among(Protocol):
    """Reads the rows of some ids, all as of one moment."""

    def __call__(self, kind: type[R], ids: Sequence[str]) -> Awaitable[Sequence[R]]:
        """Those that there are."""
        ...


class Together:
    """Look-ups by id. One that runs serves nobody who asks after it began, so none tells what was before."""

    def __init__(self, among: Among) -> None:
        self._among = among
        self._wanted: dict[type[Row], dict[str, asyncio.Future[Any]]] = {}
        self._running: dict[type[Row], asyncio.Task[None]] = {}

    async def look(self, kind: type[R], row_id: str) -> R | None:
        """The row of this id, None if there is none. Raises `StoreDown`."""
        all_wanted = self._wanted.setdefault(kind, {})
        wanted = all_wanted.get(row_id)
        if wanted is None:
            wanted = all_wanted[row_id] = asyncio.get_running_loop().create_future()
        if kind not in self._running:
            self._running[kind] = asyncio.ensure_future(self._run(kind))
        found: R | None = await asyncio.shield(wanted)
        return found

    async def _run(self, kind: type[Row]) -> None:
        try:
            while wanted := self._wanted.pop(kind, None):
                await self._find(kind, wanted)
        finally:
            del self._running[kind]

    async def _find(self, kind: type[Row], wanted: dict[str, asyncio.Future[Any]]) -> None:
        try:
            found = {row.id: row for row in await self._among(kind, tuple(wanted))}
        except BaseException as trouble:
            for future in wanted.values():
                if not future.done():
                    future.set_exception(trouble if isinstance(trouble, Exception) else StoreDown())
                    future.exception()  # whoever waits hears of it; nobody may be waiting any more
            if not isinstance(trouble, Exception):
                raise
            return
        for row_id, future in wanted.items():
            if not future.done():
                future.set_result(found.get(row_id))
