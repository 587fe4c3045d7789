"""Mark: a number that every process on one machine sees, and that changes whenever rows that are looked up were written.

What was read while the mark stood at an even number is what is stored for as long as it stands there. Whoever writes
makes it odd before and even again after; a process that dies in between leaves it odd, so that everybody reads until
somebody has written. It lies in memory that the processes share, so asking it costs no look at the database.

Requirement ids: R-SALE-8, R-PLAT-5.
"""

from __future__ import annotations

import mmap
import os
from types import TracebackType

_SIZE = 4
_ALL = 0xFFFF_FFFF
_CLOSED = b"\1" * _SIZE


class Mark:
    """`with mark:` around the writing of rows, by one process at a time. `path` None: for this process alone.

    Raises `OSError` where the file at `path` cannot be had or the disk is full.
    """

    def __init__(self, path: str | None) -> None:
        self._memory: mmap.mmap | bytearray = bytearray(_SIZE) if path is None else _shared(path)
        self._number = memoryview(self._memory).cast("I")

    def now(self) -> int | None:
        """The mark, None while rows are being written."""
        number = self._number[0]
        return None if number & 1 else number

    def __enter__(self) -> None:
        self._number[0] |= 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._number[0] = ((self._number[0] | 1) + 1) & _ALL

    def close(self) -> None:
        """Give the memory back; from now on nothing that was read still stands."""
        number, self._number = self._number, memoryview(_CLOSED).cast("I")
        number.release()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()


def _shared(path: str) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size <= _SIZE:
            # Written, and behind the number: a file of holes on a full disk would end the process at the first store.
            os.pwrite(fd, b"\0", _SIZE)
        return mmap.mmap(fd, _SIZE)
    finally:
        os.close(fd)
