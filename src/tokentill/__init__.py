"""tokentill: a self-hosted till for AI tokens.

What a developer uses is in `tokentill.client` and may be imported from here: `from tokentill import Till`.
The names and their types stand in `__init__.pyi`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"

__all__ = [
    "AlreadyRan",
    "Balance",
    "Charge",
    "Code",
    "Done",
    "Fault",
    "Hold",
    "NotAllowed",
    "NotHere",
    "Receipt",
    "Refusal",
    "Refused",
    "StoreDown",
    "SyncHold",
    "SyncTill",
    "Till",
    "TimedOut",
    "WayOut",
    "__version__",
    "current_hold",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first used, so that no part of the package loads all others."""
    if name in __all__:
        return getattr(import_module("tokentill.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
