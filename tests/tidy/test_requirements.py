"""Requirements are pinned with hashes, say where nothing comes from, and each has its reason."""

import re
import tomllib

import pytest

from tests.tidy import source

FILES = ("build", "run", "dev")
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[A-Za-z0-9.+!]+)(?: ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pins(file: str) -> dict[str, str]:
    text = (source.ROOT / "requirements" / f"{file}.txt").read_text()
    return {pin["name"]: pin["version"] for pin in map(PIN.fullmatch, text.splitlines()) if pin}


def named(requirements: list[object]) -> set[str]:
    """The names in a list of requirements as pyproject.toml writes them."""
    return {re.split(r"[^A-Za-z0-9_-]", entry)[0].lower() for entry in requirements if isinstance(entry, str)}


def direct() -> dict[str, set[str]]:
    """What the project asks for by name, for each requirements file."""
    project = tomllib.loads((source.ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    run, build = named(project["project"]["dependencies"]), named(groups["build"])
    return {"run": run, "build": build, "dev": run | build | named(groups["dev"])}


@pytest.mark.parametrize("file", FILES)
def test_a_line_is_a_pin_or_a_hash(file: str) -> None:
    """So there is no room for the address of an index, a link or a path."""
    lines = (source.ROOT / "requirements" / f"{file}.txt").read_text().splitlines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []


@pytest.mark.parametrize("file", FILES)
def test_what_the_project_asks_for_is_pinned(file: str) -> None:
    assert direct()[file] - set(pins(file)) == set()


@pytest.mark.parametrize("file", ["build", "run"])
def test_development_uses_what_is_run(file: str) -> None:
    assert pins(file).items() <= pins("dev").items()


def test_each_dependency_has_its_reason() -> None:
    text = (source.ROOT / "docs/decisions/0001-dependencies.md").read_text()
    reasons = set(re.findall(r"^\| `([a-z0-9-]+)` \| \S.{10,} \|$", text, flags=re.MULTILINE))
    assert reasons == direct()["dev"]
