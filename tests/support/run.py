"""One run of pytest: the processes that take part, and what ends with the last of them.

Every process of a run (the one that was started, and the workers of xdist) holds a shared lock on a
file in the run's own directory for as long as it lives. The kernel gives the lock back however the
process ends, so whoever can take it alone knows that the run is over: see `postgres_keeper`.
"""

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_VARIABLE = "TOKENTILL_TEST_RUN"  # how the workers learn the directory
_GOODBYE_SECONDS = 15.0
_held: list[int] = []


def directory() -> Path:
    """The directory of this run: every user may pass through, none but the owner may list it."""
    return Path(os.environ[_VARIABLE])


def join(*, controller: bool) -> None:
    """Take part in a run: start one as the controller, or join the controller's as a worker."""
    if controller:
        path = Path(tempfile.mkdtemp(prefix="tokentill-test-", dir=_open_to_all()))
        path.chmod(0o711)
        (path / "users.lock").touch()
        os.environ[_VARIABLE] = str(path)
    lock = os.open(directory() / "users.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_SH)
    _held.append(lock)
    # A forked child shares the lock; it must not prolong the run when its parent is gone.
    os.register_at_fork(after_in_child=_forget)


def leave(*, controller: bool) -> None:
    """Take part no more; the controller waits until what was started for the run has ended."""
    _forget()
    if not controller:
        return
    path = directory()
    if not (path / "keeper.log").exists():
        shutil.rmtree(path)
        return
    give_up = time.monotonic() + _GOODBYE_SECONDS
    while path.exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    shutil.rmtree(path, ignore_errors=True)  # left only if what was started has died before us


def over(path: Path) -> None:
    """Wait until every process of the run in `path` is gone."""
    lock = os.open(path / "users.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(lock)


def _forget() -> None:
    while _held:
        os.close(_held.pop())


def _open_to_all() -> str:
    """A directory for temporary files that an unprivileged user can reach."""
    candidates = [tempfile.gettempdir(), "/tmp", "/var/tmp"]
    return next(path for path in candidates if reachable_by_all(Path(path)))


def reachable_by_all(path: Path) -> bool:
    """Whether every user may pass through `path` and all that is above it."""
    path = path.resolve()
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents))
