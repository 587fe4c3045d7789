"""Reference: the page `docs/reference/client.md`, rendered from the client's own signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from tokentill.client import Fault, NotAllowed, NotHere, Refused, StoreDown, SyncTill, Till
from tokentill.rules.refusals import Refusal
from tokentill.wiring import AlreadyRan, Charge, Done, Hold, TimedOut

_HEAD = """\
# Client

<!-- Rendered from tokentill.client; a test holds it in step. -->

`from tokentill import Till` for async code, `SyncTill` for code without. [Embed the till](../how-to/embed.md)
shows them at work, [Sell](../how-to/sell.md) the shop. Its views have the fields of the
[HTTP API](http.md)'s answers. Tokens are whole tokens, money minor units, times epoch milliseconds, time-outs seconds.
"""

_SYNC = """\
Every method of `Till`, without `await`, with the same arguments and answers. The block of `hold` is a
`with`; the operation of `charge` and the function under `charged` are ordinary functions."""

_INTERNAL = frozenset({"over"})
"""Methods for whoever brings a ledger of their own, not for applications."""

LINE_CHARS_MAX = 90

_VIEWS = re.compile(r"\b[bkorv]\.(?=[A-Z])")
"""How the client's own modules abbreviate where the views are."""


def page() -> str:
    """The whole page."""
    parts = [_HEAD.rstrip("\n"), "", "## `Till`", "", _text(Till)]
    for name, method in _methods(Till):
        kind = "async def" if inspect.iscoroutinefunction(method) else "def"
        code = ["```python", f"{kind} {name}{_signature(method)}: ...", "```"]
        parts += ["", f"### `{name}`", "", *code, "", _text(method)]
    parts += ["", "## `SyncTill`", "", _SYNC, "", _sync_rules()]
    for value in (Hold, Charge, Done):
        parts += ["", f"## `{value.__name__}`", "", _text(value)]
        for name, method in _methods(value):
            parts += ["", f"- `{name}{_signature(method)}`: {' '.join(_text(method).split())}"]
    parts += ["", "## What is raised", "", "| raised | means |", "|---|---|"]
    for raised in (Refused, TimedOut, AlreadyRan, StoreDown, NotAllowed, Fault, NotHere):
        parts.append(f"| `{raised.__name__}` | {' '.join(_text(raised).split())} |")
    parts += ["", "## `Refusal`", "", _text(Refusal), "", "[All refusals](refusals.md)."]
    return "\n".join(parts) + "\n"


def _sync_rules() -> str:
    """What the module of `SyncTill` says about its blocks and threads: the end of its page."""
    text = _text(inspect.getmodule(SyncTill))
    return text[text.index("A block of `till.hold`") : text.index("\n\nRequirement ids")]


def _methods(kind: type) -> Iterator[tuple[str, object]]:
    """The public methods of a class in the order in which they are written, those of its bases after them."""
    seen: set[str] = set()
    for base in kind.__mro__[:-1]:
        for name, member in vars(base).items():
            method = getattr(member, "__func__", member)
            if inspect.isfunction(method) and not name.startswith("_") and name not in seen | _INTERNAL:
                seen.add(name)
                yield name, method


def _signature(method: object) -> str:
    """The signature as it is written, on several lines where one is too long."""
    assert inspect.isfunction(method), "only functions are asked for theirs"
    signature = inspect.signature(method)
    words: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        word = f"{parameter.name}: {parameter.annotation}"
        if parameter.default is not inspect.Parameter.empty:
            word += f" = {parameter.default!r}"
        words.append(word)
    answer = _VIEWS.sub("", str(signature.return_annotation))
    line = f"({', '.join(words)}) -> {answer}"
    if len(line) <= LINE_CHARS_MAX:
        return line
    return "(\n" + "".join(f"    {word},\n" for word in words) + f") -> {answer}"


def _text(thing: object) -> str:
    return inspect.getdoc(thing) or ""
