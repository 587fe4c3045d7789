"""Webhook: an event of a payment provider, verified, kept, and taken in once, in whatever order events come.

`receive` answers as soon as the event is stored; from then on nothing loses it. `process` reads it into
happenings and takes them in. What has no purchase yet waits and is tried again, at once at first and every hour
in the end, because events overtake one another and the order that they belong to. What nobody can make sense of is
given up in the end; a provider that cannot be reached is asked for as long as that takes.

Requirement ids: R-PACK-3, R-PACK-10, R-LIC-1.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.learn import Learning
from tokentill.flows.means import Means, later, log
from tokentill.ports import Added, Inbound, StoreDown, VendorDown, VendorRefused
from tokentill.rules.rows import ProviderEvent
from tokentill.rules.waiting import LEASE_MS, TRIES_MAX, try_at


class UnknownProvider(Exception):
    """There is no payment provider of this name here."""


class Webhooks:
    """Takes events in."""

    def __init__(self, means: Means, learning: Learning) -> None:
        self._means = means
        self._learning = learning

    async def receive(self, provider: str, inbound: Inbound) -> ProviderEvent | None:
        """Keep the event; None if it is known already. It is left to the caller for a while, then to the clerk.

        Raises `UnknownProvider`, `BadSignature`, `VendorDown` or `StoreDown`; then the provider sends it again.
        """
        added = await self._keep(provider, inbound)
        return added.row if added.how == "new" else None

    async def take_in(self, provider: str, inbound: Inbound) -> None:
        """Keep the event and return when the accounts know of it, whoever kept it first. Raises as `receive` does."""
        await self.process((await self._keep(provider, inbound)).row)

    async def process(self, event: ProviderEvent) -> ProviderEvent:
        """Take the event in; how it stands then. Raises `StoreDown`, and then it stays as it was."""
        if event.state in ("done", "ignored", "dead"):
            return await self._means.change(event, lambda row: later(row, None))
        try:
            facts = await self._means.payments[event.provider].happenings(event)
            _, unknown = await self._learning.learn(event.provider, facts)
        except StoreDown:
            raise
        except VendorDown:
            return await self._again(event, "the provider could not be reached", patient=True)
        except VendorRefused as refusal:
            return await self._again(event, f"the provider refused: {refusal.code}")
        except Exception as error:  # noqa: BLE001 a bug in one event must not keep the others waiting, nor lose it
            log.error("an event could not be taken in", event_id=event.id, trouble=type(error).__name__)
            return await self._again(event, f"failed: {type(error).__name__}")
        if unknown:
            what = ", ".join(sorted({str(fact.__struct_config__.tag) for fact in unknown}))
            return await self._again(event, f"no purchase is known for: {what}")
        state = "done" if facts else "ignored"
        return await self._means.change(
            event, lambda row: later(replace(row, state=state, problem=None), None)
        )

    async def revive(self, ident: str) -> ProviderEvent | None:
        """Try an event once more from the beginning, also one that was given up; None if there is none."""
        found = await self._means.rows.find(ProviderEvent, {"id": ident}, limit=1)
        if not found:
            return None
        now = self._means.clock.now()
        return await self._means.change(
            found[0], lambda row: later(replace(row, state="new", tries=0, problem=None), now)
        )

    async def _keep(self, provider: str, inbound: Inbound) -> Added[ProviderEvent]:
        payments = self._means.payments.get(provider)
        if payments is None:
            raise UnknownProvider(provider)
        now = self._means.clock.now()
        event = await payments.event(inbound, now)
        return await self._means.rows.add(replace(event, due_at=now + LEASE_MS))

    async def _again(self, event: ProviderEvent, problem: str, *, patient: bool = False) -> ProviderEvent:
        """It waits for a while; one that waited too long is given up unless `patient`, and a person must look."""
        tries = event.tries + 1
        state = "waiting"
        due_at: int | None = try_at(tries, self._means.clock.now())
        if patient and tries >= TRIES_MAX:
            text = f"Events of {event.provider} have waited for half a day, {event.id} first: {problem}."
            await self._means.alert("", "late_events", event.provider, text)
        elif tries >= TRIES_MAX:
            state, due_at = "dead", None
            text = f"Event {event.id} of type {event.type} was given up after {tries} tries: {problem}."
            await self._means.alert("", "dead_event", event.id, text)
        return await self._means.change(
            event,
            lambda row: (
                row
                if row.state in ("done", "ignored", "dead")
                else later(replace(row, state=state, tries=max(row.tries, tries), problem=problem), due_at)
            ),
        )
