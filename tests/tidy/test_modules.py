"""Which modules there are, and what they import."""

from tests.tidy import source

# What nobody needs to import, because it is where a program or a reader starts.
ENTRANCES = {"tokentill.cli", "tokentill.client"}

# The whole of what rules are made of, beside the rules themselves.
PLAIN = {
    "__future__", "abc", "binascii", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math",
    "msgspec", "numbers", "operator", "re", "statistics", "string", "struct", "textwrap", "tomllib",
    "types", "typing", "unicodedata", "zoneinfo",
}  # fmt: skip


def test_no_module_is_dead() -> None:
    """A module is alive when another one, a test or a benchmark imports it."""
    needed = set(ENTRANCES)
    for path in source.python("src", "tests", "bench"):
        own = source.module(path) if path.is_relative_to(source.SRC) else ""
        needed |= source.imported(path) - {own}
    modules = {source.module(p): p for p in source.python("src") if p.name != "__init__.py"}
    assert sorted(set(modules) - needed) == []


def test_rules_are_made_of_plain_values() -> None:
    strangers = [
        f"{source.name(path)} imports {name}"
        for path in source.python("src/tokentill/rules")
        for name in sorted(source.imported(path))
        if name.partition(".")[0] not in PLAIN
        and name != "tokentill"
        and not name.startswith("tokentill.rules")
    ]
    assert strangers == []
