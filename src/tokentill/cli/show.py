"""Show: values as a person reads them in a terminal, or as JSON for a program."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from tokentill.client import Balance, JournalLine, JournalView, OperatorKey, Receipt, Refusal
from tokentill.ports import IntentState, Verdict
from tokentill.rules.licence import FeatureState
from tokentill.rules.money import format_amount

WIDTH_PIPED = 160
"""Columns where standard output is no terminal, so that tables are not broken for a pipe."""


def _console(*, stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, width=None if stream.isatty() else WIDTH_PIPED, highlight=False, soft_wrap=stderr
    )


def human(renderable: object) -> None:
    """Print something rich can render; text as it is, so that no address in it is broken."""
    _console().print(renderable, soft_wrap=isinstance(renderable, Text))


def as_json(value: object) -> None:
    """Print a value as JSON, indented."""
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(encoded.decode() + "\n")


def trouble(what: str, why: str, remedy: str = "") -> None:
    """Say on standard error what went wrong, why, and what to do."""
    console = _console(stderr=True)
    console.print(Text(what, style="bold red"))
    console.print(Text(why))
    if remedy:
        console.print(Text(remedy))


def whole(refused: Refusal) -> dict[str, object]:
    """A refusal for a program, with what it does not repeat of its code: the layer, and how the journal files it."""
    facts: dict[str, object] = msgspec.to_builtins(refused)
    return {"code": refused.code, "layer": refused.layer, "status": refused.status} | facts


def refusal(refused: Refusal) -> None:
    """Say on standard error why the till refused, and every way out."""
    console = _console(stderr=True)
    console.print(Text(f"Refused ({refused.code}): {refused.message}", style="bold yellow"))
    facts = {
        "balance": refused.balance,
        "needed": refused.needed,
        "held by running operations": refused.held,
        "concerns": refused.detail,
        "try again in": None if refused.retry_after_ms is None else f"{refused.retry_after_ms / 1000:g} s",
    }
    for name, fact in facts.items():
        if fact is not None:
            console.print(Text(f"  {name}: {fact}"))
    for way in refused.ways_out:
        console.print(Text(f"  → {way.label}"))


def moment(epoch_ms: int | None) -> str:
    """A time as a person reads it, in UTC; nothing for None."""
    if epoch_ms is None:
        return ""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def number(value: int | None) -> str:
    """A whole number with its thousands set apart; nothing for None."""
    return "" if value is None else f"{value:,}"


def stacked(*parts: Text | Table) -> Group:
    """Parts below one another."""
    return Group(*parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A table whose columns that begin with "#" are numbers and stand to the right."""
    made = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left")
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def receipt(done: Receipt, *, taken: bool = False) -> Text:
    """A receipt on one line; `taken`: the tokens were taken away, which an adjustment does not say itself."""
    moved = f"{'-' if taken else ''}{number(done.tokens)}"
    parts = [f"{done.kind} {moved}" if done.tokens else done.kind]
    parts.append(f"balance {number(done.balance)}")
    if done.held:
        parts.append(f"held {number(done.held)}")
    if done.deadline is not None:
        parts.append(f"until {moment(done.deadline)} UTC")
    if done.replayed:
        parts.append("done before under this key")
    return Text(f"{', '.join(parts)} (operation {done.operation})")


def balance(organization: str, now: Balance) -> Table:
    """The balance (R-LED-1)."""
    rows: list[tuple[str, object]] = [
        ("plan", now.plan or "none"),
        ("standing", now.standing),
        ("monthly", number(now.monthly)),
        ("additional", number(now.additional)),
        ("used", number(now.used)),
        ("reserved", number(now.reserved)),
        ("remaining", number(now.remaining)),
    ]
    if now.set_aside:
        rows.append(("set aside", number(now.set_aside)))
    if now.overage_tokens:
        rows.append(("overage tokens", number(now.overage_tokens)))
    if now.credit:
        rows.append(("money credit (minor units)", number(now.credit)))
    if now.reset_at is not None:
        rows.append(("resets", f"{moment(now.reset_at)} UTC"))
    if now.scheduled:
        rows.append(("then", now.scheduled_plan or "no plan"))
    if now.notice is not None:
        rows.append(("notice", now.notice.text))
        if now.notice.recommended is not None:
            rows.append(("", now.notice.recommended.label))
    return table(["", f"#{organization}"], rows)


def journal(page: JournalView) -> Group:
    """A page of the journal."""
    columns = ["#entry", "time (UTC)", "kind", "status", "user", "feature", "#tokens", "#balance", "reason"]
    rows = [
        (
            line.entry,
            moment(line.time),
            line.kind,
            line.status,
            line.user_name or line.user,
            line.feature,
            f"-{number(line.tokens)}" if took(line) else number(line.tokens),
            number(line.balance),
            why(line),
        )
        for line in page.entries
    ]
    more = Text(f"Older entries: --before {page.next}") if page.next is not None else Text("")
    return Group(table(columns, rows), more)


def took(line: JournalLine) -> bool:
    """Whether an entry whose kind does not say so took tokens away: an adjustment from lots, not by a lot of its own."""
    return line.kind == "adjustment" and "lot" not in line.details


def why(line: JournalLine) -> str | None:
    """Why an entry is there: what was given as its reason, or the code of a refusal, a warning, an alert."""
    code = line.details.get("code")
    text = line.reason or (None if code is None else str(code))
    count = line.details.get("count", 1)
    return text if count == 1 else f"{text} × {count}"


def features(states: Sequence[FeatureState]) -> Table:
    """Features with on/off and why (R-LIC-4)."""
    rows = [(one.feature, one.group, "on" if one.on else "off", one.reason) for one in states]
    return table(["feature", "group", "now", "why"], rows)


def keys(found: Sequence[OperatorKey]) -> Table:
    """Operator keys without their secrets."""
    rows = [
        (key.id, key.name, moment(key.created_at), moment(key.last_used_at), moment(key.revoked_at))
        for key in found
    ]
    return table(["id", "name", "made (UTC)", "last used", "revoked"], rows)


def verdict(found: Verdict, head_file: Path | None, compared: int | None) -> Group:
    """What verifying found (R-LED-5). `compared`: with how many accounts of the file, None if there was none."""
    what = f"{number(found.entries)} entries of {number(found.organizations)} organizations"
    if not found.findings:
        good = Text(f"Every one of {what} fits.", style="green")
        keep = "Keep it outside the database: it shows if the journal is cut short later."
        if head_file is not None and compared is None:
            keep = f"{head_file} was made. Name it again next time: then a journal that was cut short shows."
        elif head_file is not None:
            keep = f"Nothing of the {number(compared)} accounts in {head_file} is missing. It now has the new heads."
        return Group(good, Text(f"Head: {found.head}\n{keep}"))
    rows = [(one.organization, one.entry, one.row, one.problem) for one in found.findings]
    bad = Text(f"Of {what} not all fit. The first that does not, of each organization:", style="bold red")
    return Group(bad, table(["organization", "#entry", "#row", "problem"], rows))


def intents(states: Sequence[IntentState]) -> Table:
    """Charges whose operation succeeded while they could not be stored (R-LED-4)."""
    rows = [
        (
            state.intent.organization,
            state.intent.settle.hold,
            number(state.intent.tokens),
            moment(state.intent.at),
            {None: "waiting to be stored", "settled": "charged later", "reviewed": "charged 0: look at it"}[
                state.outcome
            ],
            moment(state.ended_at),
        )
        for state in states
    ]
    return table(["organization", "operation", "#tokens", "succeeded (UTC)", "state", "ended"], rows)


def money(amount: int | None, currency: str) -> str:
    """An amount of minor units as money; "custom" for None."""
    return "custom" if amount is None else format_amount(amount, currency)
