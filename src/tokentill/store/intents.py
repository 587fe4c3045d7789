"""Intents in a file: charges that could not be stored yet, kept apart from the database (R-LED-4).

One file of JSON lines, only ever appended to, each line on the disk (fsync) before `keep` returns. Several
processes may share it: a lock on the file keeps lines whole. A line that was cut by a crash was never
acknowledged; it is skipped, and the next one starts on a line of its own. A folder may serve several tills:
each has a file of its own name, so that no charge is ever sent to another till than the one that held it.

Requirement ids: R-LED-4.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from tokentill.ports import Intent, IntentOutcome, IntentState
from tokentill.store import faults

SUFFIX = ".jsonl"


class Kept(Struct, frozen=True, tag_field="line", tag="kept"):
    """The line of a new intent."""

    intent: Intent


class Ended(Struct, frozen=True, tag_field="line", tag="ended"):
    """The line of how an intent ended."""

    organization: str
    hold: str
    outcome: IntentOutcome
    at: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Kept | Ended)


class FileIntents:
    """The intents of the till `name` in `folder`, which is made when the first one is kept."""

    def __init__(self, folder: Path, name: str = "intents") -> None:
        self._path = folder / f"{name}{SUFFIX}"

    async def keep(self, intent: Intent) -> None:
        """Remember `intent`; returns after it is on the disk. Raises `OSError` if it cannot be."""
        await asyncio.to_thread(self._append, _encoder.encode(Kept(intent)))

    async def end(self, intent: Intent, outcome: IntentOutcome, at: int) -> None:
        """Remember how `intent` ended."""
        line = Ended(intent.organization, intent.settle.hold, outcome, at)
        await asyncio.to_thread(self._append, _encoder.encode(line))

    async def states(self) -> Sequence[IntentState]:
        """Every intent that was ever kept, oldest first."""
        return await asyncio.to_thread(read, self._path)

    def _append(self, line: bytes) -> None:
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            faults.hit("intent.opened")
            size = os.fstat(handle).st_size
            cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            whole = (b"\n" if cut else b"") + line + b"\n"
            if os.write(handle, whole) != len(whole):
                raise OSError(f"{self._path} could not be written whole")
            faults.hit("intent.written")
            os.fsync(handle)
            faults.hit("intent.synced")
        finally:
            os.close(handle)
        if size == 0:
            _sync_folder(self._path.parent)


def read(path: Path) -> list[IntentState]:
    """The intents of one file, oldest first; none if there is no file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    states: dict[tuple[str, str], IntentState] = {}
    for line in lines:
        try:
            found = _decoder.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(found, Kept):
            key = (found.intent.organization, found.intent.settle.hold)
            states.setdefault(key, IntentState(found.intent))
        elif (found.organization, found.hold) in states:
            key = (found.organization, found.hold)
            states[key] = IntentState(states[key].intent, found.outcome, found.at)
    return list(states.values())


def read_all(folder: Path) -> list[IntentState]:
    """The intents of every till that uses the folder, for a person to look at."""
    return [state for path in sorted(folder.glob(f"*{SUFFIX}")) for state in read(path)]


def _sync_folder(folder: Path) -> None:
    """A new file survives a power cut only once its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
