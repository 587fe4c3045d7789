"""Real processes for the rigs, in milliseconds: one that has imported everything forks the others.

A child runs one function, given a channel to the test: a socket of JSON lines. What it wrote there before a
`kill -9` is still read afterwards, so a line is an acknowledgement that a client has seen.
"""

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

_REPOSITORY = Path(__file__).parents[2]
_IMPORTED = (
    "tests.support.rig_chaos",
    "tests.support.rig_crowd",
    "tests.support.rig_served",
    "tests.support.rig_shop",
    "tests.support.rig_sim",
    "tests.support.rig_workers",
)
_MESSAGE_BYTES_MAX = 1 << 16
PATIENCE_SECONDS = 120.0
"""A child that is silent for so long hangs, and the rig fails."""


class Channel:
    """One end of a stream of JSON lines."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._rest = b""

    def write(self, message: Any) -> None:
        """Send one line; it is in the kernel's hands when this returns."""
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> Any:
        """The next line; None when the other end is gone."""
        while b"\n" not in self._rest:
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def lines(self) -> Iterator[Any]:
        """Every line until the other end is gone."""
        while (line := self.read()) is not None:
            yield line


class Child:
    """A process that runs one function."""

    def __init__(self, processes: "Processes", pid: int, channel: Channel) -> None:
        self._processes = processes
        self.pid = pid
        self.channel = channel

    def kill(self) -> None:
        """`kill -9`, wherever it is."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """How it ended: 0 well, 1 by an exception, minus the number of a signal."""
        return self._processes.wait(self.pid)

    def close(self) -> None:
        """Nothing more is read from it."""
        self.channel.socket.close()


class Processes:
    """The process that forks, and those it forked. Use as a context manager."""

    def __init__(self, *imported: str) -> None:
        """`imported`: modules that are known to the children before they begin, beside those of every rig."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(PATIENCE_SECONDS)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._ended: dict[int, int] = {}
        self._children: list[Child] = []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.rig_processes", str(theirs.fileno()), *imported],
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.close()
        self._control.close()
        self._process.wait()
        self._errors.close()

    def start(self, function: Callable[..., None], **arguments: Any) -> Child:
        """A new process that runs `function(channel, **arguments)`, a function of a module."""
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE_SECONDS)
        request = {"module": function.__module__, "name": function.__name__, "arguments": arguments}
        with theirs:
            socket.send_fds(self._control, [json.dumps(request).encode()], [theirs.fileno()])
        while "started" not in (answer := self._listen()):
            self._ended[answer["ended"]] = answer["status"]
        child = Child(self, answer["started"], Channel(ours))
        self._children.append(child)
        return child

    def tell(self, story: Callable[..., None], **arguments: Any) -> tuple[int, str, int]:
        """Run a story to its end, or until it is killed: how it ended, at which crossing, and after how many."""
        child = self.start(story, **arguments)
        said = list(child.channel.lines())
        child.close()
        return child.wait(), said[-1].get("place", ""), said[-1].get("crossed", 0)

    def wait(self, pid: int) -> int:
        """Wait until the child has ended."""
        while pid not in self._ended:
            answer = self._listen()
            self._ended[answer["ended"]] = answer["status"]
        return self._ended.pop(pid)

    def errors(self) -> str:
        """What the children wrote to standard error, to be shown when a rig fails."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def _listen(self) -> dict[str, int]:
        message = self._control.recv(_MESSAGE_BYTES_MAX)
        assert message, f"the process that forks has died\n{self.errors()}"
        answer: dict[str, int] = json.loads(message)
        return answer


class _Forker:
    """What the process that forks does until the test goes away."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._alive: set[int] = set()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake)

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ, self._fork)
            selector.register(self._woken, selectors.EVENT_READ, self._reap)
            going = True
            while going:
                for key, _ in selector.select():
                    going = key.data() and going
        for pid in self._alive:
            os.kill(pid, signal.SIGKILL)

    def _fork(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES_MAX, 1)
        if not message:
            return False
        pid = os.fork()
        if pid == 0:
            self._become(json.loads(message), fds[0])
        os.close(fds[0])
        self._alive.add(pid)
        self._control.send(json.dumps({"started": pid}).encode())
        return True

    def _become(self, request: dict[str, Any], fd: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            function = getattr(importlib.import_module(request["module"]), request["name"])
            function(Channel(socket.socket(fileno=fd)), **request["arguments"])
            status = 0
        except BaseException:  # noqa: BLE001  # nothing may escape into the code that forked
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 512):
                pass
        while self._alive:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._alive.discard(pid)
            ended = {"ended": pid, "status": os.waitstatus_to_exitcode(status)}
            with contextlib.suppress(BrokenPipeError):
                self._control.send(json.dumps(ended).encode())
        return True


if __name__ == "__main__":
    for _module in (*_IMPORTED, *sys.argv[2:]):
        importlib.import_module(_module)
    _Forker(socket.socket(fileno=int(sys.argv[1]))).run()
