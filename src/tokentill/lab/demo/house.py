"""The house: a tokentill of the demo's own, started as anybody would start it, on a database of its own.

Everything is done by the product's command line: the operator key is made, the server started and the
journal verified by processes of their own. No setting of the surroundings reaches them, so a demo never
touches the till that `TOKENTILL_DATABASE` or `TOKENTILL_URL` name.

The server listens on the loopback address only. It ends with the demo, however that ends: it stops as soon
as the pipe between them is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from tokentill.ports import Verdict

CATALOG = "shop"
DATABASE = "demo.db"
LOG = "server.log"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
LOG_LINES = 12
FOUND = 1
"""The exit code of `verify` when something does not fit."""

_ENDS_WITH_US = (
    "import os, signal, threading\n"
    "def watch():\n"
    "    os.read(0, 1)\n"
    "    os.kill(os.getpid(), signal.SIGTERM)\n"
    "threading.Thread(target=watch, daemon=True).start()\n"
)
_MAIN = "from tokentill.cli import main\nmain()\n"

COMMAND = (sys.executable, "-c", _MAIN)
SERVER = (sys.executable, "-c", _ENDS_WITH_US + _MAIN)


class HouseTrouble(Exception):
    """The demo's till cannot be started or asked: what happened, and what to do."""


class _Key(Struct):
    key: str


class House:
    """The demo's till: `folder` holds its files, `url` and `key` lead to it once it is open.

    `folder` None takes a fresh one, removed at the end unless `keep` was called. `command` and `server` are
    what runs `tokentill`, for tests.
    """

    def __init__(
        self,
        folder: Path | None = None,
        command: Sequence[str] = COMMAND,
        server: Sequence[str] = SERVER,
    ) -> None:
        self._given = folder
        self._command = command
        self._server = server
        self._process: Process | None = None
        self._kept = folder is not None
        self.folder = Path()
        self.url = ""
        self.key = ""

    @property
    def database(self) -> Path:
        """The file with the accounts."""
        return self.folder / DATABASE

    def keep(self) -> None:
        """Leave the files where they are at the end, for a look at them."""
        self._kept = True

    async def __aenter__(self) -> Self:
        self.folder = self._make_folder()
        try:
            made = await self._run("key", "create", "demo", "--json")
            self.key = msgspec.json.decode(made, type=_Key).key
            await self._open()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def verify(self) -> Verdict:
        """Replay the whole journal in a process of its own (R-LED-5)."""
        return msgspec.json.decode(await self._run("verify", "--json", fine=(0, FOUND)), type=Verdict)

    async def closed(self) -> None:
        """Wait until the server has ended; raises `HouseTrouble` because nobody asked it to."""
        assert self._process is not None
        await self._process.wait()
        raise HouseTrouble(f"The till ended by itself.\n{self.last_words()}")

    def hurry(self) -> None:
        """Do not wait for the server to end quietly."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def last_words(self) -> str:
        """The end of the server's log."""
        with contextlib.suppress(OSError):
            lines = (self.folder / LOG).read_text(errors="replace").splitlines()
            return "\n".join(lines[-LOG_LINES:])
        return ""

    def _make_folder(self) -> Path:
        if self._given is None:
            return Path(tempfile.mkdtemp(prefix="tokentill-demo-"))
        if any(self._given.glob(f"{DATABASE}*")):
            raise HouseTrouble(
                f"{self._given / DATABASE} is there already, and a demo never writes over one. "
                "Name another folder, or remove that file and the ones beside it first."
            )
        self._given.mkdir(parents=True, exist_ok=True)
        return self._given

    def _where(self) -> tuple[str, ...]:
        return ("--database", str(self.database), "--catalog", CATALOG)

    async def _run(self, *arguments: str, fine: Sequence[int] = (0,)) -> bytes:
        """Run a command of tokentill on the demo's database; its output."""
        process = await asyncio.create_subprocess_exec(
            *self._command, *arguments, *self._where(),
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=_surroundings(), start_new_session=True,
        )  # fmt: skip
        try:
            said, complained = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode not in fine:
            words = complained.decode(errors="replace").strip()
            raise HouseTrouble(f"`tokentill {' '.join(arguments)}` ended with {process.returncode}: {words}")
        return said

    async def _open(self) -> None:
        with (self.folder / LOG).open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._server, "serve", *self._where(),
                "--host", "127.0.0.1", "--port", "0", "--log-level", "warning",
                stdin=PIPE, stdout=PIPE, stderr=log, env=_surroundings(), start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                while not self.url:
                    said = await self._process.stdout.readline()
                    if not said:
                        raise HouseTrouble(f"The till did not start.\n{self.last_words()}")
                    found = re.search(r"http://\S+", said.decode(errors="replace"))
                    self.url = found[0] if found else ""
        except TimeoutError:
            words = self.last_words()
            raise HouseTrouble(
                f"The till did not start within {START_SECONDS_MAX:g} seconds.\n{words}"
            ) from None

    async def _close(self) -> None:
        """Ask the server to stop, and insist if it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await process.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _surroundings() -> dict[str, str]:
    """The environment without any setting of tokentill."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOKENTILL_")}
