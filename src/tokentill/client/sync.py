"""The till for code without `async`: every call runs on an event loop in a thread of the till's own.

    with SyncTill.embedded("tokens.db", catalog="goals") as till:
        with till.hold("acme", "generate_goal", user="u1") as hold:
            answer = model(...)
            hold.charge(tokens=2)

Its methods are made from those of `Till`, with the same arguments and answers. A block of `till.hold`
cannot be interrupted from outside: if it ends after its time, it is charged 0 and `TimedOut` is raised then.
An operation of `till.charge` runs in a thread of its own; after its time `TimedOut` is raised at once, and
if it still succeeds it is charged 0. Make the till after a process has forked, not before.

Requirement ids: R-LED-3.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from tokentill.client.charged import Argument, reader
from tokentill.client.holding import Holding, entered
from tokentill.client.till import Till
from tokentill.wiring import Charge, Done, Hold

P = ParamSpec("P")
T = TypeVar("T")


class Background:
    """An event loop in a thread, which runs coroutines for other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tokentill", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of `work`; if the caller is interrupted, `work` is cancelled."""
        if self.stopped or threading.current_thread() is self._thread:
            work.close()
            why = "is closed" if self.stopped else "cannot be used on its own event loop; use Till there"
            raise RuntimeError(f"this SyncTill {why}")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def stopped(self) -> bool:
        """Whether the loop has ended."""
        return self._loop.is_closed()

    def stop(self) -> None:
        """End the loop and its thread."""
        if not self.stopped:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class SyncHold:
    """The hold of a running operation (see `Hold`), for code without `async`."""

    def __init__(self, hold: Hold, background: Background) -> None:
        self._hold = hold
        self._background = background
        self.id = hold.id
        self.tokens = hold.tokens
        self.output_tokens_max = hold.output_tokens_max

    @property
    def deadline(self) -> int | None:
        """Until when the hold lasts, epoch ms."""
        return self._hold.deadline

    @property
    def outcome(self) -> Charge | None:
        """What became of its charge, once it has ended well."""
        return self._hold.outcome

    def charge(self, tokens: int, output_tokens: int | None = None) -> None:
        """Say what the operation used in all, to be charged when it succeeds; the last word counts."""
        self._hold.charge(tokens, output_tokens)

    def extend(self, seconds: float) -> bool:
        """Ask for `seconds` from now on; False if the hold has ended already."""
        return self._background.run(self._hold.extend(seconds))


class SyncHolding:
    """The context manager that `SyncTill.hold` gives."""

    def __init__(self, holding: Holding, background: Background) -> None:
        self._holding = holding
        self._background = background
        self._leave: Callable[[], None] | None = None

    def __enter__(self) -> SyncHold:
        hold = self._background.run(self._holding.begin())
        self._leave = entered(hold)
        return SyncHold(hold, self._background)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leave is not None:
            self._leave()
        self._background.run(self._holding.end(error))


def _blocking(
    method: Callable[Concatenate[Till, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncTill, P], T]:
    """The method of `Till` as a method of `SyncTill`."""

    @functools.wraps(method)
    def call(self: SyncTill, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.background.run(method(self.till, *args, **kwargs))

    return call


def _block(
    method: Callable[Concatenate[Till, P], Holding],
) -> Callable[Concatenate[SyncTill, P], SyncHolding]:
    @functools.wraps(method)
    def call(self: SyncTill, /, *args: P.args, **kwargs: P.kwargs) -> SyncHolding:
        return SyncHolding(method(self.till, *args, **kwargs), self.background)

    return call


def _opened(make: Callable[P, Any]) -> Callable[P, SyncTill]:
    @functools.wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> SyncTill:
        return SyncTill(lambda: make(*args, **kwargs))

    return call


class SyncTill:
    """A till for code without `async`. Made by `embedded` or `connect`; a context manager that closes itself."""

    embedded = staticmethod(_opened(Till.embedded))
    connect = staticmethod(_opened(Till.connect))

    def __init__(self, make: Callable[[], Any]) -> None:
        async def open_it() -> Till:
            made: Till = await make().__aenter__()
            return made

        self.background = Background()
        try:
            self.till = self.background.run(open_it())
        except BaseException:
            self.background.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let running operations end, then close. Closing again changes nothing."""
        if self.background.stopped:
            return
        try:
            self.background.run(self.till.close())
        finally:
            self.background.stop()

    hold = _block(Till.hold)
    consume = _blocking(Till.consume)
    refund = _blocking(Till.refund)
    reserve = _blocking(Till.reserve)
    settle = _blocking(Till.settle)
    release = _blocking(Till.release)
    extend = _blocking(Till.extend)
    open = _blocking(Till.open)
    grant = _blocking(Till.grant)
    adjust = _blocking(Till.adjust)
    plan = _blocking(Till.plan)
    freeze = _blocking(Till.freeze)
    restore = _blocking(Till.restore)
    reset = _blocking(Till.reset)
    cap = _blocking(Till.cap)
    unblock = _blocking(Till.unblock)
    balance = _blocking(Till.balance)
    journal = _blocking(Till.journal)
    operation = _blocking(Till.operation)
    organizations = _blocking(Till.organizations)
    features = _blocking(Till.features)
    check = _blocking(Till.check)
    catalog = _blocking(Till.catalog)
    health = _blocking(Till.health)
    forget_user = _blocking(Till.forget_user)
    create_key = _blocking(Till.create_key)
    keys = _blocking(Till.keys)
    revoke_key = _blocking(Till.revoke_key)
    verify = _blocking(Till.verify)
    recover = _blocking(Till.recover)
    packs = _blocking(Till.packs)
    buy = _blocking(Till.buy)
    purchases = _blocking(Till.purchases)
    purchase = _blocking(Till.purchase)
    look_at_purchase = _blocking(Till.look_at_purchase)
    cancel_purchase = _blocking(Till.cancel_purchase)
    pay_invoice = _blocking(Till.pay_invoice)
    topup = _blocking(Till.topup)
    set_topup = _blocking(Till.set_topup)
    stop_topup = _blocking(Till.stop_topup)
    payment_methods = _blocking(Till.payment_methods)
    forget_payment_method = _blocking(Till.forget_payment_method)
    portal = _blocking(Till.portal)
    subscription = _blocking(Till.subscription)
    change_subscription = _blocking(Till.change_subscription)
    cancel_subscription = _blocking(Till.cancel_subscription)
    move_clock = _blocking(Till.move_clock)
    redeem = _blocking(Till.redeem)
    create_api_key = _blocking(Till.create_api_key)
    api_keys = _blocking(Till.api_keys)
    rotate_api_key = _blocking(Till.rotate_api_key)
    limit_api_key = _blocking(Till.limit_api_key)
    hand_over = _blocking(Till.hand_over)
    handovers = _blocking(Till.handovers)
    revoke_api_key = _blocking(Till.revoke_api_key)
    reconcile = _blocking(Till.reconcile)

    faq = _blocking(Till.faq)
    rate = _blocking(Till.rate)
    ticket = _blocking(Till.ticket)
    feedback = _blocking(Till.feedback)
    feedback_months = _blocking(Till.feedback_months)
    forget_words = _blocking(Till.forget_words)
    margin = _blocking(Till.margin)
    refund_reasons = _blocking(Till.refund_reasons)
    quote_refund = _blocking(Till.quote_refund)
    accept_refund = _blocking(Till.accept_refund)
    withdraw_refund = _blocking(Till.withdraw_refund)
    refund_of = _blocking(Till.refund_of)
    refunds = _blocking(Till.refunds)
    refund_queue = _blocking(Till.refund_queue)
    approve_refund = _blocking(Till.approve_refund)
    deny_refund = _blocking(Till.deny_refund)
    adjust_refund = _blocking(Till.adjust_refund)
    refund_report = _blocking(Till.refund_report)
    create_codes = _blocking(Till.create_codes)
    codes = _blocking(Till.codes)
    revoke_code = _blocking(Till.revoke_code)
    switches = _blocking(Till.switches)
    switch = _blocking(Till.switch)
    alerts = _blocking(Till.alerts)
    see_alert = _blocking(Till.see_alert)
    events = _blocking(Till.events)
    retry_event = _blocking(Till.retry_event)
    contact = _blocking(Till.contact)
    set_contact = _blocking(Till.set_contact)
    forget_contact = _blocking(Till.forget_contact)
    endpoints = _blocking(Till.endpoints)
    add_endpoint = _blocking(Till.add_endpoint)
    remove_endpoint = _blocking(Till.remove_endpoint)
    messages = _blocking(Till.messages)
    send_message = _blocking(Till.send_message)

    def charge(
        self, organization: str, feature: str, operation: Callable[[SyncHold], T], **terms: Any
    ) -> Done[T]:
        """Reserve, run `operation`, charge if it succeeds; the terms are those of `Till.charge`."""
        context = copy_context()

        async def run(hold: Hold) -> T:
            work = _in_thread(lambda: context.run(_inside, hold, operation, SyncHold(hold, self.background)))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                # A thread cannot be stopped. What it still achieves is charged 0 and counted.
                return await work

        return self.background.run(self.till.charge(organization, feature, run, **terms))

    def charged(
        self, feature: str, organization: Argument, user: Argument | None = None, **terms: Any
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Charge every call of the decorated function; see `Till.charged`."""
        key = terms.pop("idempotency_key", None)

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            if inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__qualname__} is async; decorate it with the `charged` of a Till")
            read = reader(function, {"organization": organization, "user": user, "idempotency_key": key})

            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> T:
                who = read(args, kwargs)
                return self.charge(
                    feature=feature, operation=lambda _hold: function(*args, **kwargs), **who, **terms
                ).result

            return call

        return decorate


def _inside(hold: Hold, operation: Callable[[SyncHold], T], given: SyncHold) -> T:
    leave = entered(hold)
    try:
        result = operation(given)
        if inspect.iscoroutine(result):  # it was not begun, so there is nothing to charge
            result.close()
            raise TypeError(f"{operation!r} is async; give it to a Till. Nothing was charged")
        return result
    finally:
        leave()


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """`work` in a thread of its own, which does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # there is a result where there is no error

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:  # noqa: BLE001 it is raised where the outcome is awaited
            result, error = None, raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="tokentill-operation", daemon=True).start()
    return future
