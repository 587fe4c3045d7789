"""The pages where a person pays in the lab: a list of test cards, each a button."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tokentill.lab.stripe.cards import CARDS
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.world import Object

if TYPE_CHECKING:
    from tokentill.lab.stripe.api import Reply
    from tokentill.lab.stripe.server import StripeLab

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Stripe lab</title>
<style>body {{ font: 1rem/1.5 system-ui; max-width: 36rem; margin: 2rem auto; padding: 0 1rem }}
button {{ display: block; width: 100%; margin: .3rem 0; padding: .5rem; text-align: left; font: inherit }}</style>
<h1>{title}</h1>
<p>This is a test: no money moves.</p>
<p role="status"><strong>{said}</strong></p>
<form method="post">{buttons}</form>
"""


class Pages:
    """Where checkouts and invoices of a lab are paid by hand."""

    def __init__(self, lab: StripeLab) -> None:
        self._lab = lab

    async def answer(self, method: str, path: str, body: bytes, send: Reply) -> None:
        """GET shows what is to be paid; POST with a card pays it and leads back to the shop."""
        name = path.rpartition("/")[2]
        said = ""
        if method == "POST":
            card = parse_qs(body.decode(errors="replace")).get("card", [""])[0]
            back, said = self._pay(name, card)
            if back is not None:
                await _send(send, 303, "", {"location": back})
                return
        found = self._found(name)
        if found is None:
            await _send(send, 404, "There is nothing to pay here.", {})
            return
        amount = found.get("amount_total", found.get("amount_due"))
        title = f"{amount} {found['currency'].upper()} ({found['status']})"
        buttons = "".join(
            f'<button name="card" value="{card.number}">{card.number}: {escape(card.text)}</button>'
            for card in CARDS
        )
        page = PAGE.format(title=escape(title), said=escape(said), buttons=buttons)
        await _send(send, 200, page, {"content-type": "text/html; charset=utf-8"})

    def _found(self, name: str) -> Object | None:
        kind = "invoice" if name.startswith("in_") else "checkout.session"
        try:
            return self._lab.world.get(kind, name)
        except Refused:
            return None

    def _pay(self, name: str, card: str) -> tuple[str | None, str]:
        """Where to go after it was paid, or why it was not."""
        found = self._found(name)
        if found is None:
            return None, ""
        pay = self._lab.pay_invoice if name.startswith("in_") else self._lab.pay
        done = pay(name, card)
        if "error" in done:
            return None, str(done["error"]["message"])
        back = found.get("success_url") or ""
        return back.replace("{CHECKOUT_SESSION_ID}", name) or f"/pay/{name}", ""


async def _send(send: Reply, status: int, text: str, headers: dict[str, str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": text.encode()})
