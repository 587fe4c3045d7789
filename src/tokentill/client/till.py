"""The till as a developer uses it: the same in this process and over HTTP.

    async with Till.embedded("tokens.db", catalog="goals") as till:
        async with till.hold("acme", "generate_goal", user="u1") as hold:
            answer = await model(...)
            hold.charge(tokens=2)

Every call that changes something takes an `idempotency_key`: a second call with the same key and the same
arguments gives the first answer again, with other arguments it is refused (R-LED-9). Without one a key is
made for the call and used for all its tries. Lost connections are tried again within bounds; `StoreDown`
says that the outcome is not known.

Refusals are raised as `Refused`. Tokens are whole tokens, money minor units, times epoch milliseconds.

Requirement ids: R-LED-1, R-LED-3, R-LED-7, R-LED-8, R-LED-9, R-LED-10, R-ABU-6, R-ABU-8, R-LIC-1, R-LIC-3, R-LIC-4,
R-PLAN-4, R-PLAN-6, R-PLAT-5.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

from tokentill import settings, wiring
from tokentill.client.charged import Argument, reader
from tokentill.client.desk import Desk, check_key
from tokentill.client.errors import Refused
from tokentill.client.holding import Holding, marked
from tokentill.client.local import Local
from tokentill.client.opening import Opening
from tokentill.client.remote import Remote
from tokentill.ports import Clock, Ids, Ledger
from tokentill.rules import commands as c
from tokentill.rules.durations import milliseconds
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.wiring import (
    Done,
    Hold,
    Retry,
)

P = ParamSpec("P")
T = TypeVar("T")
GrantOrigin = Literal["grant", "pack", "bonus", "credit"]
When = Literal["auto", "now", "period_end"]


class Till(Desk):
    """A till. Made by `embedded`, `connect` or `over`; an async context manager that closes itself."""

    @classmethod
    def embedded(
        cls,
        database: str | os.PathLike[str] | None = None,
        *,
        catalog: str | None = None,
        secret: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        actor: str = "library",
        clerk: bool = False,
    ) -> Opening[Self]:
        """The till on a database of one's own, in this process; to be awaited or entered with `async with`.

        What is not given comes from the settings (`TOKENTILL_DATABASE`, …). `actor` stands on the record
        beside what is done by hand. `clerk`: take up what is due of sales here, as `tokentill serve` does:
        payments that arrive, top-ups, e-mail and webhooks.
        """
        given = {
            "database": None if database is None else os.fspath(database),
            "catalog": catalog,
            "secret": secret,
            "spool": None if spool is None else os.fspath(spool),
        }

        async def open_it() -> Self:
            chosen = settings.load({**os.environ, "TOKENTILL_URL": ""}, given)
            ledger = await wiring.make_ledger(chosen)
            till = cls.over(
                ledger,
                wiring.secret_of(chosen),
                chosen.spool_folder,
                actor=actor,
                open_shop=partial(wiring.shop_of, chosen, ledger),
                clerk=clerk,
            )
            return await till.__aenter__()

        return Opening(open_it)

    @classmethod
    def connect(
        cls,
        url: str,
        key: str | None = None,
        *,
        spool: str | os.PathLike[str] = "tokentill.spool",
        retry: Retry | None = None,
    ) -> Self:
        """The till at `url`, such as http://127.0.0.1:8420, with the operator key `key` (`tt_op_…`)."""
        ids = wiring.SystemIds()
        transport = Remote(url, key, retry)
        charging = wiring.charging(transport, Path(spool), wiring.name_of_url(url), retry=retry)
        return cls(transport, charging, ids, "")

    @classmethod
    def over(  # noqa: PLR0913 the parts of a till in this process
        cls,
        ledger: Ledger,
        secret: bytes,
        spool: Path,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        retry: Retry | None = None,
        actor: str = "library",
        open_shop: Callable[[], wiring.Shop] | None = None,
        clerk: bool = False,
    ) -> Self:
        """The till on a ledger that is open already; closing the till closes it, and the shop if one was opened."""
        clock = clock or wiring.SystemClock()
        ids = ids or wiring.SystemIds()
        transport = Local(ledger, secret, clock, ids, open_shop, actor)
        if clerk:
            transport.begin()
        name = wiring.name_of_ledger(secret)
        charging = wiring.charging(transport, spool, name, clock=clock, ids=ids, retry=retry)
        return cls(transport, charging, ids, actor)

    async def __aenter__(self) -> Self:
        try:
            if await self._charging.recovery.pending():
                self._charging.recovery.wake()
        except BaseException as error:
            await self._transport.close()
            if isinstance(error, OSError):
                why = f"The folder for charges that cannot be stored (the setting `spool`) cannot be read: {error}."
                raise settings.SettingsError(why) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let running operations end, then close. Charges that could not be stored wait for the next start."""
        await self._charging.close()
        await self._transport.close()

    # ---- running operations --------------------------------------------------------------------------

    def hold(
        self,
        organization: str,
        feature: str,
        *,
        user: str | None = None,
        quantity: int = 1,
        tokens: int | None = None,
        least: int | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Holding:
        """Reserve for the block of an `async with`: its end charges, an exception gives everything back.

        `tokens` is the most a metered feature may use; with `least`, what is free is enough if it is not
        less than that, and `hold.tokens` says how much it is. After `timeout` seconds (the feature's own, by
        default 30) the block is cancelled and `TimedOut` raised. Raises `Refused`, `AlreadyRan` on entering.
        """
        check_key(idempotency_key)
        reserve = _reserve(feature, user, quantity, tokens, least, timeout)
        return Holding(self._transport, self._charging, organization, reserve, idempotency_key)

    async def charge(  # noqa: PLR0913 each is a term of the charge
        self,
        organization: str,
        feature: str,
        operation: Callable[[Hold], Awaitable[T]],
        *,
        user: str | None = None,
        quantity: int = 1,
        tokens: int | None = None,
        least: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 it is the hold's time too
        idempotency_key: str | None = None,
    ) -> Done[T]:
        """Reserve, run `operation`, charge if it succeeds (`executeWithTokenRefund`, R-LED-3).

        The operation may say what it used with `hold.charge(tokens=…)`; else all that was reserved is
        charged. Raises what it raises, `TimedOut`, `Refused`, `AlreadyRan`, `StoreDown`: nothing is charged
        then.
        """
        check_key(idempotency_key)
        reserve = _reserve(feature, user, quantity, tokens, least, timeout)
        timeout_ms = reserve.timeout_ms or await self._transport.timeout_ms(feature)
        done = await self._charging.run(organization, reserve, marked(operation), timeout_ms, idempotency_key)
        if isinstance(done, Refusal):
            raise Refused(done)
        return done

    def charged(
        self,
        feature: str,
        organization: Argument,
        user: Argument | None = None,
        *,
        quantity: int = 1,
        tokens: int | None = None,
        timeout: float | None = None,
        idempotency_key: Argument | None = None,
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
        """Charge every call of the decorated async function, as `charge` does.

        `organization`, `user` and `idempotency_key` are each the name of a parameter of the function, or a
        callable of the same arguments. Inside, `current_hold()` is the hold.
        """

        def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
            if not inspect.iscoroutinefunction(function):
                raise TypeError(f"{function!r} is not async; decorate it with the `charged` of a SyncTill")
            read = reader(
                function, {"organization": organization, "user": user, "idempotency_key": idempotency_key}
            )

            @functools.wraps(function)
            async def call(*args: P.args, **kwargs: P.kwargs) -> T:
                done = await self.charge(
                    feature=feature,
                    operation=lambda _hold: function(*args, **kwargs),
                    quantity=quantity,
                    tokens=tokens,
                    timeout=timeout,
                    **read(args, kwargs),
                )
                return done.result

            return call

        return decorate

    async def consume(
        self,
        organization: str,
        feature: str,
        *,
        user: str | None = None,
        quantity: int = 1,
        tokens: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Charge at once, without running anything (`consumeToken`, R-LED-7)."""
        command = c.Charge(feature=feature, user=user, quantity=quantity, tokens=tokens)
        return await self._submit(organization, command, idempotency_key)

    async def refund(
        self,
        organization: str,
        operation: str,
        *,
        tokens: int | None = None,
        reason: str = "failed",
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Give back the charge of `operation`, whole or in part, once (`refundToken`, R-LED-7)."""
        command = c.Refund(operation=operation, tokens=tokens, reason=reason)
        return await self._submit(organization, command, idempotency_key)

    async def reserve(
        self,
        organization: str,
        feature: str,
        *,
        user: str | None = None,
        quantity: int = 1,
        tokens: int | None = None,
        least: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 it is the hold's time too
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Reserve by hand; `settle` or `release` the receipt's `operation` before its `deadline`."""
        return await self._submit(
            organization, _reserve(feature, user, quantity, tokens, least, timeout), idempotency_key
        )

    async def settle(
        self, organization: str, hold: str, tokens: int | None = None, *, output_tokens: int | None = None
    ) -> Receipt:
        """Charge `tokens` of a hold, all of it without, and give the rest back."""
        return await self._submit(
            organization, c.Settle(hold=hold, tokens=tokens, output_tokens=output_tokens), None
        )

    async def release(
        self, organization: str, hold: str, reason: Literal["failed", "timeout", "cancelled"] = "failed"
    ) -> Receipt:
        """Give a hold back and charge nothing."""
        return await self._submit(organization, c.Release(hold=hold, reason=reason), None)

    async def extend(self, organization: str, hold: str, seconds: float) -> Receipt:
        """Let a hold last at least `seconds` from now."""
        return await self._submit(organization, c.Extend(hold=hold, timeout_ms=milliseconds(seconds)), None)

    async def recover(self) -> int:
        """Try now to store the charges that could not be stored (R-LED-4); how many still cannot."""
        return await self._charging.recovery.once()


def _reserve(
    feature: str,
    user: str | None,
    quantity: int,
    tokens: int | None,
    least: int | None,
    timeout: float | None,
) -> c.Reserve:
    return c.Reserve(
        feature=feature,
        user=user,
        quantity=quantity,
        tokens=tokens,
        least=least,
        timeout_ms=None if timeout is None else milliseconds(timeout),
    )
