"""A till that is still to be opened: `await` it, or enter it with `async with`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """Something that is open until it is closed."""

    async def close(self) -> None:
        """Let it go."""
        ...


C = TypeVar("C", bound=Closable)


class Opening(Generic[C]):
    """What `await` opens for good, and `async with` for its block."""

    def __init__(self, open_it: Callable[[], Awaitable[C]]) -> None:
        self._open_it = open_it
        self._opened: C | None = None

    def __await__(self) -> Generator[Any, Any, C]:
        return self._open_it().__await__()

    async def __aenter__(self) -> C:
        self._opened = await self._open_it()
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()
