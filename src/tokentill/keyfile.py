"""Key file: the till's own secret, from the settings or from the file that an SQLite database gets at first start.

Requirement ids: R-PLAT-5.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from tokentill.settings import Settings, SettingsError

SECRET_BYTES = 32
SECRET_VARIETY_MIN = 8
"""A secret with fewer different bytes than this is a placeholder that somebody forgot to replace."""

Random = Callable[[int], bytes]
"""So many random bytes."""

MEMORY = ":memory:"

log = logging.getLogger(__name__)


def secret_of(settings: Settings, random: Random) -> bytes:
    """The 32 bytes that seal the journal; raises `SettingsError` where there is none or it is not one.

    For an SQLite database without a secret, the file `<database>.key` is made beside it at first start,
    readable by its owner alone. A database whose key file has gone is refused, not given a new key.
    """
    if settings.secret is not None:
        return _secret(settings.secret, "TOKENTILL_SECRET")
    if settings.secret_file is not None:
        return _read_secret(Path(settings.secret_file))
    if settings.postgres:
        raise SettingsError(
            "A PostgreSQL database needs a secret, which seals the journal. Make one with "
            '`python3 -c "import secrets; print(secrets.token_hex(32))"` and give it as TOKENTILL_SECRET, '
            "or as a file named by TOKENTILL_SECRET_FILE. Keep a copy: without it the journal cannot be "
            "verified."
        )
    if settings.database == MEMORY:
        return random(SECRET_BYTES)
    path = key_file(settings)
    if Path(settings.database).is_dir():
        raise SettingsError(f"The database {settings.database} is a folder. Name a file in it.")
    if not path.exists():
        if Path(settings.database).exists():
            raise SettingsError(
                f"The database {settings.database} exists, but its key file {path} does not. The key seals "
                "the journal, so a new one cannot stand in for it. Put the file back from your backup, or "
                "give the secret as TOKENTILL_SECRET."
            )
        _make_secret(path, random)
    return _read_secret(path)


def key_file(settings: Settings) -> Path:
    """Where the secret of an SQLite database is kept."""
    return Path(f"{settings.database}.key")


def _make_secret(path: Path, random: Random) -> None:
    """Write a new secret to `path` unless somebody else just did; whole or not at all."""
    draft = path.with_name(f"{path.name}.{random(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(random(SECRET_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            draft.unlink()
    except OSError as error:
        raise SettingsError(
            f"The key file {path} cannot be made ({error.strerror}). Choose a folder that can be written "
            "with TOKENTILL_DATABASE, or give the secret as TOKENTILL_SECRET."
        ) from error
    log.warning("made the key file %s, which seals the journal: keep a copy of it with your backups", path)


def _read_secret(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The secret file {path} cannot be read: {error}.") from error
    return _secret(text, str(path))


def _secret(text: str, source: str) -> bytes:
    try:
        raw = bytes.fromhex(text.strip())
    except ValueError as error:
        raise SettingsError(f"The secret in {source} is not written in hex digits.") from error
    if len(raw) < SECRET_BYTES:
        raise SettingsError(f"The secret in {source} has {len(raw)} bytes; it needs {SECRET_BYTES} or more.")
    if len(set(raw)) < SECRET_VARIETY_MIN:
        raise SettingsError(f"The secret in {source} looks like a placeholder. Use random digits.")
    if len(raw) == SECRET_BYTES:
        return raw
    return blake2b(raw, digest_size=SECRET_BYTES, person=b"tokentill secret").digest()
