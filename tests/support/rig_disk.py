"""A disk that can be told to fail, and that remembers in which order it was written.

`Disk` is a layer below SQLite's files (an apsw VFS): the files are real, and every write, truncation, sync and
deletion is also a record. From the records `images` rebuilds what a power cut could have left: of what was
not synced yet nothing, all, or any part, a write cut at any of its sectors.

What a cut may leave: everything a file was told to sync, in the order of the syncs of that file; of later
changes any subset, each write whole or with any of its 512-byte sectors missing. A file that was never synced
may be absent, one that was deleted may be back, until the folder is synced: SQLite does that with the first
sync of a journal or log it has opened.
"""

import contextlib
import itertools
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import apsw
from msgspec import Struct

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

SECTOR = 512
_numbers = itertools.count(1)

Kind = Literal["write", "truncate", "sync", "delete", "acknowledge", "read"]


class Record(Struct, frozen=True):
    """One thing that happened.

    `at`: the offset of a write, the length after a truncation, 1 for a sync or a deletion that syncs the folder.
    """

    kind: Kind
    file: str
    at: int = 0
    data: bytes = b""
    told: Any = None


class _Watched(apsw.VFSFile):
    """A file of which `Disk` sees every change."""

    def __init__(self, disk: "Disk", name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = (
            "" if name is None else Path(name.filename() if isinstance(name, apsw.URIFilename) else name).name
        )
        self._new = self._name.endswith(("-wal", "-journal"))
        super().__init__("", name, flags)

    @override
    def xRead(self, amount: int, offset: int) -> bytes:
        if self._disk.before is not None:
            self._disk.before(Record("read", self._name, offset))
        return super().xRead(amount, offset)

    @override
    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.happens(Record("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    @override
    def xTruncate(self, newsize: int) -> None:
        self._disk.happens(Record("truncate", self._name, newsize))
        super().xTruncate(newsize)

    @override
    def xSync(self, flags: int) -> None:
        self._disk.happens(Record("sync", self._name, 1 if self._new else 0))
        self._new = False
        if self._disk.flush:
            super().xSync(flags)


class Disk(apsw.VFS):
    """Register with `with Disk() as disk`, and open databases with `vfs=disk.name`.

    `before` is called with everything before it happens, reads too, and may raise instead (`apsw.FullError`,
    `apsw.IOError`); reads are not recorded. `flush` False: the host's own disk is not made to sync, only the
    records say so.
    """

    def __init__(self, *, flush: bool = False) -> None:
        self.name = f"rig-disk-{next(_numbers)}"
        self.records: list[Record] = []
        self.before: Callable[[Record], None] | None = None
        self.flush = flush
        super().__init__(self.name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    @override
    def xOpen(self, name: Any, flags: list[int]) -> _Watched:
        return _Watched(self, name, flags)

    @override
    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.happens(Record("delete", Path(filename).name, 1 if syncdir else 0))
        super().xDelete(filename, syncdir)

    def happens(self, record: Record) -> None:
        if self.before is not None:
            self.before(record)
        self.records.append(record)

    def acknowledged(self, told: Any) -> None:
        """A client was told this now."""
        self.records.append(Record("acknowledge", "", told=told))


def _apply(content: bytearray | None, record: Record) -> bytearray | None:
    """The content of a file after `record`."""
    if record.kind == "delete":
        return None
    content = bytearray() if content is None else content
    if record.kind == "write":
        if len(content) < record.at:
            content.extend(bytes(record.at - len(content)))
        content[record.at : record.at + len(record.data)] = record.data
    else:
        del content[record.at :]
    return content


def _torn(record: Record, dice: random.Random) -> list[Record]:
    """A write of which only some sectors arrived. Sectors are the disk's, not the write's."""
    pieces, start, end = [], record.at, record.at + len(record.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if dice.randrange(2):
            piece = record.data[start - record.at : stop - record.at]
            pieces.append(Record("write", record.file, start, piece))
        start = stop
    return pieces


class Image(Struct):
    """What a power cut left: the files, what had been acknowledged by then, and which way it was made."""

    files: dict[str, bytes]
    acknowledged: int
    cut: int
    way: str

    def write(self, folder: Path) -> None:
        """Put the files into an empty folder."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class Cuts:
    """Walks along the records; `image` is what a cut at this place can leave."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self._safe: dict[str, bytearray] = {}
        self._open: dict[str, list[Record]] = {}
        self.acknowledged = 0
        self.at = 0

    def step(self) -> Record:
        """Let the next record happen."""
        record = self.records[self.at]
        self.at += 1
        if record.kind == "acknowledge":
            self.acknowledged += 1
        elif record.kind == "sync" or (record.kind == "delete" and record.at):
            if record.kind == "delete":
                self._open.setdefault(record.file, []).append(record)
            else:
                self._keep(record.file, len(self._open.get(record.file, ())))
            if record.at:
                for name, changes in list(self._open.items()):
                    deleted = [number for number, change in enumerate(changes, 1) if change.kind == "delete"]
                    self._keep(name, deleted[-1] if deleted else 0)
        else:
            self._open.setdefault(record.file, []).append(record)
        return record

    def _keep(self, name: str, count: int) -> None:
        """The first `count` open changes of a file are on the disk."""
        changes = self._open.pop(name, [])
        for change in changes[:count]:
            content = _apply(self._safe.get(name), change)
            if content is None:
                self._safe.pop(name, None)
            else:
                self._safe[name] = content
        if changes[count:]:
            self._open[name] = changes[count:]

    def pending(self) -> int:
        """How many changes a cut could still undo."""
        return sum(map(len, self._open.values()))

    def image(self, way: Literal["none", "all", "some", "torn"], dice: random.Random) -> Image:
        """Of what was not synced: nothing, all, some, or some of it in part."""
        files = {name: bytes(content) for name, content in self._safe.items()}
        for name, changes in self._open.items():
            content = self._safe.get(name)
            content = None if content is None else bytearray(content)
            for change in changes:
                for part in self._kept(change, way, dice):
                    content = _apply(content, part)
            if content is not None:
                files[name] = bytes(content)
            else:
                files.pop(name, None)
        return Image(files, self.acknowledged, self.at, way)

    def _kept(self, change: Record, way: str, dice: random.Random) -> list[Record]:
        if way == "none":
            return []
        if way == "all":
            return [change]
        if way == "torn" and change.kind == "write" and dice.randrange(2):
            return _torn(change, dice)
        return [change] if dice.randrange(2) else []


def images(records: list[Record], dice: random.Random, count: int) -> Iterator[Image]:
    """About `count` images, spread evenly over every place where the power can go.

    At each place: nothing of what is open, all of it, and random parts of it as often as `count` allows.
    """
    places = sum(record.kind != "acknowledge" for record in records)
    each = count / max(1, places)
    cuts = Cuts(records)
    owed = 0.0
    while cuts.at < len(records):
        record = cuts.step()
        if record.kind == "acknowledge":
            continue
        owed += each
        ways: Iterator[Literal["none", "all", "some", "torn"]]
        ways = itertools.chain(
            ("none", "all") if cuts.pending() else ("all",), itertools.cycle(("torn", "some"))
        )
        while owed >= 1:
            owed -= 1
            way = next(ways)
            yield cuts.image(way, dice)
            if not cuts.pending():
                owed = min(owed, 1.0)


def empty(folder: Path) -> None:
    """Remove the files of the last image."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
