"""The examples of the documentation run, in order, as a reader would run them."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy import source
from tokentill.rules import catalog_file

DOCS = source.ROOT / "docs"
RUN = [
    "README.md",
    *(
        source.name(path)
        for path in sorted((*DOCS.glob("*.md"), *DOCS.glob("how-to/*.md")))
        if "```python" in path.read_text()
    ),
]
BEFORE = {"docs/how-to/back-up-and-verify.md": "tokentill org open acme --plan pro"}
"""What has happened before the reader comes to a page."""

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRAMES = re.compile(r"[\s\u2500-\u257f]+")
"""Space and the lines that tables are drawn with."""


class Reader:
    """Somebody who follows a page in an empty folder, block by block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = str(Path(sys.executable).parent)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TOKENTILL_")}
        self.environment = {**kept, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        self.servers: list[subprocess.Popen[str]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self.environment["TOKENTILL_PORT"] = self.port  # what the pages call 8420

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if command[0] == "bash" else None,
            text=True,
            timeout=60,
            check=False,
        )

    def python(self, block: str) -> str:
        done = self.run([sys.executable, "-W", "error", "-c", block])
        assert done.returncode == 0, block
        return done.stdout

    def console(self, block: str) -> None:
        """Each command after a prompt; what stands below it is in what it prints, whatever else is."""
        for part in block.split("$ ")[1:]:
            command, _, shown = part.partition("\n")
            if command.endswith("&"):
                printed = self.serve(command.removesuffix("&"))
            else:
                done = self.run(["bash", "-c", command])
                assert done.returncode == (3 if shown.startswith("Refused") else 0), done.stdout
                printed = done.stdout
            flat = FRAMES.sub(" ", printed)
            for line in shown.splitlines():
                assert line.strip() in flat, f"{command}\n{printed}"

    def serve(self, command: str) -> str:
        """A server in the background; its first line."""
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.servers.append(server)
        assert server.stdout is not None
        return server.stdout.readline()

    def follow(self, text: str) -> None:
        """Run the page's blocks in order, and hold its Python to the output it shows."""
        printed: str | None = None
        for language, block in FENCED.findall(text.replace("8420", self.port)):
            if language == "python":
                printed = self.python(block)
            elif language == "console":
                self.console(block)
            elif language == "text":
                assert block == printed
            elif language == "toml" and (named := re.match(r'name = "(\w+)"', block)):
                (self.folder / f"{named[1]}.toml").write_text(block)

    def leave(self) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0
            assert server.stdout is not None
            server.stdout.close()


@pytest.mark.parametrize("name", RUN)
def test_examples_run(name: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        if name in BEFORE:
            assert reader.run(["bash", "-c", BEFORE[name]]).returncode == 0
        reader.follow((source.ROOT / name).read_text())
    finally:
        reader.leave()


def test_pieces_of_a_catalog_fit_the_whole() -> None:
    blocks = [
        block
        for language, block in FENCED.findall((DOCS / "how-to/write-a-catalog.md").read_text())
        if language == "toml"
    ]
    whole, *pieces = blocks
    assert catalog_file.load(whole, "acme.toml")[1] == ()
    for piece in pieces:
        catalog_file.load(whole + piece, "acme.toml")
