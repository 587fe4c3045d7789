"""Delivery: the message that comes with what was bought, and the guide to the first call (R-SALE-4).

Texts come from the catalog; a line is left out where there is nothing true to say in it. The key is shown in the
message only where it is handed out with it; otherwise the message names the key that works already.

Requirement ids: R-SALE-4, R-SALE-1, R-REF-4.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from tokentill.rules.catalog import Unit
from tokentill.rules.letters import Letter

YOURS = "YOUR_API_KEY"
"""What stands in examples for a key that is not shown."""


class Delivered(Struct, frozen=True, kw_only=True):
    """What was delivered. `key`: the whole key, only where it is handed out; `key_shown`: how to recognise one.

    `endpoint`: the base URL to give to a client, ending in `/v1`. `dashboard`: a link to the usage page. `refunds`: a
    link to where a refund is asked for. `valid_until` epoch ms, None = for ever. `refund_line` is empty unless the
    guarantee is open to this customer, so that it is true.
    """

    purchase: str
    title: str
    tokens: int
    endpoint: str
    dashboard: str
    refunds: str
    model: str
    key: str | None = None
    key_shown: str | None = None
    valid_until: int | None = None
    uses: tuple[str, ...] = ()
    tip: str = ""
    refund_line: str = ""


def headline(delivered: Delivered, unit: Unit) -> str:
    """What was delivered, in a sentence."""
    if not delivered.tokens:
        return f"{delivered.title}: ready to use."
    word = unit.one if delivered.tokens == 1 else unit.many
    return f"{delivered.title}: {delivered.tokens:,} {word} delivered."


def key_line(delivered: Delivered) -> str:
    """The key, or which one to use."""
    if delivered.key is not None:
        return delivered.key
    return f"the one you have, ending in {delivered.key_shown}" if delivered.key_shown else "ask for one"


def refund_policy(delivered: Delivered) -> str:
    """The refund line and where it leads; empty where it would not be true."""
    return f"{delivered.refund_line}: {delivered.refunds}" if delivered.refund_line else ""


def message(delivered: Delivered, unit: Unit) -> str:
    """The delivery message as plain text."""
    lines = [f"Your {unit.many} are here.", "", headline(delivered, unit), f"API key: {key_line(delivered)}"]
    if delivered.key is not None:
        lines.append("Keep it now: it is shown here this once.")
    lines += [f"Endpoint: {delivered.endpoint}", "", f"Usage dashboard: {delivered.dashboard}"]
    if delivered.valid_until is not None:
        lines.append(f"Valid until: {day(delivered.valid_until)}")
    if delivered.uses:
        lines += ["", "Ready to use for:", *(f"- {use}" for use in delivered.uses)]
    closing = []
    if delivered.tip:
        closing.append(f"Tip: {delivered.tip}")
    if delivered.refund_line:
        closing.append(f"Refund policy: {refund_policy(delivered)}")
    return "\n".join([*lines, "", *closing]).rstrip() + "\n"


def letter(delivered: Delivered, unit: Unit) -> Letter:
    """The delivery message as an e-mail, with the guide below it."""
    rows = [("API key", key_line(delivered)), ("Endpoint", delivered.endpoint)]
    if delivered.valid_until is not None:
        rows.append(("Valid until", day(delivered.valid_until)))
    if delivered.uses:
        rows.append(("Ready to use for", ", ".join(delivered.uses)))
    if delivered.tip:
        rows.append(("Tip", delivered.tip))
    if delivered.refund_line:
        rows.append(("Refund policy", refund_policy(delivered)))
    sentences = [headline(delivered, unit)]
    if delivered.key is not None:
        sentences.append("Keep the key now: it is sent this once. Whoever has it can spend your tokens.")
    return Letter(
        f"Your {unit.many} are here",
        tuple(sentences),
        tuple(rows),
        ("Usage dashboard", delivered.dashboard),
        code=examples(delivered.endpoint, delivered.model),
    )


def day(at: int) -> str:
    """The day of a moment in UTC, as 2026-01-31."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def examples(endpoint: str, model: str, key: str = YOURS) -> tuple[tuple[str, str], ...]:
    """Two ways to make the first call, each with what it needs; both work as they stand, with the key put in."""
    curl = f"""\
curl {endpoint}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
    python = f"""\
from openai import OpenAI

client = OpenAI(base_url="{endpoint}", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)
"""
    return (("With curl", curl), ("With Python (pip install openai)", python))


def guide(endpoint: str, model: str, key: str = YOURS) -> str:
    """The examples as plain text."""
    return "\n".join(f"{label}:\n\n{code}" for label, code in examples(endpoint, model, key))
