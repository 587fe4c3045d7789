"""Delivery: the message that comes with what was bought, and the guide to the first call (R-SALE-4).

Texts come from the catalog; a line is left out where there is nothing true to say in it. The key is shown in the
message once, where it was made at this very moment; otherwise the message names the key that works already.

Requirement ids: R-SALE-4, R-SALE-1, R-REF-4.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from tokentill.rules.catalog import Pack, Unit


class Delivered(Struct, frozen=True, kw_only=True):
    """What was delivered. `key`: the whole key, only at the moment it is made; `key_shown`: how to recognise one.

    `endpoint`: the base URL to give to a client, ending in `/v1`. `valid_until` epoch ms, None = for ever.
    `guaranteed`: the guarantee is open to this customer, so that the refund line is true.
    """

    pack: Pack
    tokens: int
    endpoint: str
    dashboard: str
    key: str | None = None
    key_shown: str | None = None
    valid_until: int | None = None
    guaranteed: bool = False


def message(delivered: Delivered, unit: Unit) -> str:
    """The delivery message as plain text."""
    pack = delivered.pack
    word = unit.one if delivered.tokens == 1 else unit.many
    lines = [f"Your {word} are here.", "", f"{pack.title}: {delivered.tokens:,} {word} delivered."]
    if delivered.key is not None:
        lines.append(f"API key: {delivered.key}")
        lines.append("Keep it now: it is shown this once.")
    elif delivered.key_shown is not None:
        lines.append(f"API key: the one you have, ending in {delivered.key_shown}")
    lines.append(f"Endpoint: {delivered.endpoint}")
    lines.append("")
    lines.append(f"Usage dashboard: {delivered.dashboard}")
    if delivered.valid_until is not None:
        lines.append(f"Valid until: {day(delivered.valid_until)}")
    if pack.uses:
        lines += ["", "Ready to use for:", *(f"- {use}" for use in pack.uses)]
    closing = []
    if pack.tip:
        closing.append(f"Tip: {pack.tip}")
    if pack.refund_line and delivered.guaranteed:
        closing.append(f"Refund policy: {pack.refund_line}")
    return "\n".join([*lines, "", *closing]).rstrip() + "\n"


def day(at: int) -> str:
    """The day of a moment in UTC, as 2026-01-31."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def guide(endpoint: str, model: str, key: str = "YOUR_API_KEY") -> str:
    """Two ways to make the first call; both work as they stand, with the key put in."""
    return f"""\
With curl:

curl {endpoint}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

With Python (pip install openai):

from openai import OpenAI

client = OpenAI(base_url="{endpoint}", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)
"""
