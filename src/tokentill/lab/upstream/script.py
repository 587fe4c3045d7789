"""What the upstream of the lab shall do, said in the request itself: the text of the last message is the script.

Words of the form `name=value` steer it, everything else is only counted. Nothing else is random or timed.

    answer=12           write that many words (default 5)
    delay=0.5           wait so many seconds before the first byte
    pace=0.01           and so many between two chunks of a stream
    usage=real|none|zero|huge|garbage    what to say of the tokens used
    do=hang             never answer
    do=drip             one byte at a time
    do=cut              end the connection in the middle of the answer
    do=garbage          answer bytes that are no JSON
    do=flood            answer two gigabytes that say nothing
    do=endless          stream, for ever, one event that has no end
    do=error:500        answer with that status
    do=late             as `hang`, but answer when told to

Words of the answer are `w0 w1 …`: whoever counts them knows what was delivered. A word is a token.
"""

from __future__ import annotations

from msgspec import Struct


class Script(Struct, frozen=True):
    """The script of one call."""

    answer: int = 5
    delay: float = 0.0
    pace: float = 0.0
    usage: str = "real"
    do: str = ""


def read(text: str) -> Script:
    """The script in a text; unknown words are text."""
    found: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals and name in Script.__struct_fields__:
            found[name] = value
    return Script(
        answer=min(int(found.get("answer", "5")), 1_000_000),
        delay=float(found.get("delay", "0")),
        pace=float(found.get("pace", "0")),
        usage=found.get("usage", "real"),
        do=found.get("do", ""),
    )


HUGE = 10**9


def usage_of(said: str, read: int, written: int) -> tuple[int, int] | None:
    """What is said of the tokens used: None = nothing."""
    if said == "none":
        return None
    if said == "zero":
        return (0, 0)
    if said == "huge":
        return (HUGE, HUGE)
    return (read, written)
