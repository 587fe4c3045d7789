"""The outbox: events as signed webhooks, to be delivered once, often, late, out of order, or forged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tokentill.lab.paypal.authority import Authority
from tokentill.ports import Inbound


@dataclass
class Outbox:
    """Webhooks that wait. `stamp` tells the time as PayPal writes it; `cert_url` is where the certificate is served."""

    authority: Authority
    webhook_id: str
    ids: Iterator[str]
    stamp: Callable[[], str]
    cert_url: Callable[[], str]
    told: list[Inbound] = field(default_factory=list)

    def tell(self, kind: str, type_: str, resource: Mapping[str, Any]) -> None:
        """Note an event."""
        event = {
            "id": f"WH-{next(self.ids)}",
            "create_time": self.stamp(),
            "resource_type": kind,
            "event_type": type_,
            "event_version": "1.0",
            "resource_version": "2.0",
            "summary": type_.lower(),
            "resource": resource,
            "links": [],
        }
        self.told.append(self.signed(json.dumps(event).encode()))

    def signed(self, body: bytes, **changed: str) -> Inbound:
        """A body as a signed webhook. `changed` gives other headers, named by their last word, or `webhook` or `seal`.

        `transmission_id`, `transmission_time`, `cert_url` and `auth_algo` are signed as given; `transmission_sig`
        stands as given; `webhook` is the webhook id that is signed.
        """
        ident = changed.get("transmission_id", f"t-{next(self.ids)}")
        time = changed.get("transmission_time", self.stamp())
        seal = self.authority.signature(ident, time, changed.get("webhook", self.webhook_id), body)
        headers = {
            "content-type": "application/json",
            "paypal-transmission-id": ident,
            "paypal-transmission-time": time,
            "paypal-transmission-sig": changed.get("transmission_sig", seal),
            "paypal-cert-url": changed.get("cert_url", self.cert_url()),
            "paypal-auth-algo": changed.get("auth_algo", "SHA256withRSA"),
        }
        return Inbound(body, headers)

    def take(self, *types: str) -> list[Inbound]:
        """The webhooks that wait, oldest first, of these types or all; they wait no more."""
        wanted = [one for one in self.told if not types or json.loads(one.body)["event_type"] in types]
        self.told = [one for one in self.told if not any(one is taken for taken in wanted)]
        return wanted


async def deliver(url: str, webhooks: Sequence[Inbound], times: int = 1) -> list[int]:
    """Post webhooks to an address, each `times` over, one after the other; the statuses they were answered with."""
    statuses = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        for one in webhooks:
            for _ in range(times):
                async with session.post(url, data=one.body, headers=dict(one.headers)) as response:
                    statuses.append(response.status)
    return statuses
