"""The application as a server that is not the till's own would call it."""

from __future__ import annotations

from tokentill.web.app import Application
from tokentill.web.asgi import EXCHANGE, Receive, Scope, Send


class WithoutExchange:
    """Answers through the events of ASGI alone."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # the application has one already
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        scope.pop(EXCHANGE)
        await self.app(scope, receive, send)

    async def drain(self, seconds: float) -> bool:
        """As the application does."""
        return await self.app.drain(seconds)
