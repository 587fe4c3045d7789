"""The catalogs that ship with tokentill: one TOML file per source document, and one for benchmarks.

`analysis`, `goals` and `shop` hold the figures of the three documents, each with its source beside it;
`bench` has its limits off. They are texts; `tokentill.rules.catalog_file` makes catalogs of them.

Requirement ids: R-PLAN-1, R-PLAN-2, R-PLAN-3.
"""

from importlib.resources import files

PRESETS = ("analysis", "goals", "shop", "bench")
"""The names of the catalogs that ship."""


def preset_text(name: str) -> str:
    """The TOML text of a preset; raises `KeyError` for a name that is not in `PRESETS`."""
    if name not in PRESETS:
        raise KeyError(name)
    return files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
