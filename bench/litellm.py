"""Model calls through the endpoint against LiteLLM's proxy, both before the same upstream, one worker each.

LiteLLM is installed, pinned, into an environment of its own, which needs a network; `--keep` keeps it for the next run.
Its virtual keys need a PostgreSQL, which is started here, and the query engine of Prisma, which is downloaded when its
client is generated. Where that cannot be had it runs with its master key alone, which is faster, for it then looks up
no key and writes no spend; the note beside the figure says which of the two was measured. The till checks a key,
reserves, settles and keeps its journal in either case, on SQLite with full synchronization.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import stores, world
from bench.gateway import CONNECTIONS, Side, load_of, serve_plain, serve_till
from bench.report import Figure, at_least, known, median
from bench.world import Options
from tokentill.web.serving import listen

TITLE = "model calls through the endpoint against LiteLLM's proxy"

PINS = ("litellm[proxy]==1.106.0", "prisma==0.15.0")
MASTER = "sk-bench-master"
START_SECONDS = 180
VIRTUAL = "LiteLLM with a virtual key and a budget on PostgreSQL"
MASTERED = (
    "LiteLLM with its master key alone: Prisma's engine cannot be had here, so it knows no virtual keys"
)

CONFIG = """
model_list:
  - model_name: lab
    litellm_params: {{ model: openai/lab, api_base: "{base}", api_key: none }}
general_settings:
  master_key: {master}
"""


class LiteLLM:
    """Its proxy while it runs."""

    def __init__(self, home: Path, folder: Path, base: str, database: str | None) -> None:
        config = folder / "litellm.yaml"
        config.write_text(CONFIG.format(base=base, master=MASTER))
        with listen("127.0.0.1", 0) as free:
            self.port = int(free.getsockname()[1])
        environment = _environment(home) | {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR",
        }  # fmt: skip
        if database is not None:
            environment["DATABASE_URL"] = database
        words = ["litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(self.port)]
        self._log = (folder / "litellm.log").open("wb")
        self._process = subprocess.Popen(
            [str(home / "bin" / words[0]), *words[1:], "--num_workers", "1"],
            env=environment, stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._ready(folder / "litellm.log")
        self.key = MASTER if database is None else self._virtual_key()

    def load(self, connections: int, seconds: float) -> float:
        """Calls a second."""
        return load_of(self.port, [self.key], connections, seconds).rate

    @property
    def memory(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> None:
        """Stop it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._log.close()

    def _ready(self, log: Path) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self._url}/health/liveliness", timeout=5),
            ):
                return
            time.sleep(0.5)
        self.stop()
        raise RuntimeError(f"LiteLLM did not start: {log.read_text(errors='replace')[-2000:]}")

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _virtual_key(self) -> str:
        body = json.dumps({"max_budget": 1_000_000.0, "models": ["lab"]}).encode()
        headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
        asked = urllib.request.Request(f"{self._url}/key/generate", body, headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(json.loads(answer.read())["key"])


def _environment(home: Path) -> dict[str, str]:
    """The variables of this process without those of its own environment."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return {**kept, "PATH": f"{home / 'bin'}{os.pathsep}{kept.get('PATH', '')}"}


def install(home: Path) -> bool:
    """LiteLLM in an environment of its own; whether its virtual keys can run. Raises where there is no network."""
    done = home / "installed"
    if not done.exists() or done.read_text() != " ".join(PINS):
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PINS], check=True)
        done.write_text(" ".join(PINS))
    [schema] = home.glob("lib/python*/site-packages/litellm/proxy/schema.prisma")
    words = [str(home / "bin" / "prisma"), "generate", "--schema", str(schema)]
    made = subprocess.run(words, env=_environment(home), check=False, capture_output=True, timeout=300)
    return made.returncode == 0


@contextlib.contextmanager
def _proxy(home: Path, folder: Path, base: str, *, virtual: bool) -> Iterator[LiteLLM]:
    with contextlib.ExitStack() as stack:
        database = None
        if virtual:
            server = stack.enter_context(stores.server())
            database = server.url(server.create_database())
        made = LiteLLM(home, folder, base, database)
        stack.callback(made.stop)
        yield made


def run(options: Options) -> list[Figure]:
    """Measure."""
    with world.folder() as folder, world.folder(options.keep) as kept:
        home = kept / "litellm"
        virtual = install(home)
        lab = Side(serve_plain, None)
        till = Side(serve_till, str(folder), lab.base)
        try:
            with _proxy(home, folder, lab.base, virtual=virtual) as litellm:
                ours, theirs = [], []
                for turn in range(options.rounds + 1):
                    pair = (
                        litellm.load(CONNECTIONS, options.seconds),
                        till.load(CONNECTIONS, options.seconds).rate,
                    )
                    if turn:
                        theirs.append(pair[0])
                        ours.append(pair[1])
                memory = litellm.memory, till.memory
        finally:
            for side in (till, lab):
                side.stop()
    ratio = median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return [
        at_least(
            "calls of the endpoint against LiteLLM's proxy",
            ratio,
            25,
            "×",
            note=VIRTUAL if virtual else MASTERED,
        ),
        known("calls of the endpoint", median(ours), "/s", note="one worker, key, reserve, settle, journal"),
        known("calls of LiteLLM's proxy", median(theirs), "/s", note=f"one worker, {PINS[0]}"),
        known("memory of the endpoint", memory[1], "MB"),
        known("memory of LiteLLM's proxy", memory[0], "MB"),
    ]
