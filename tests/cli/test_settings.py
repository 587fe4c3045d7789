"""Settings: where they come from, and that none of them is insecure by default."""

from __future__ import annotations

import logging
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from tokentill import wiring
from tokentill.settings import HIDDEN, Settings, SettingsError, load, shown, table

SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


def test_every_setting_has_a_variable_and_a_help() -> None:
    assert [row.name for row in table()] == list(Settings.__struct_fields__)
    for row in table():
        assert row.variable == f"TOKENTILL_{row.name.upper()}"
        assert row.help.endswith(".")


def test_the_command_line_overrules_the_environment_overrules_the_default() -> None:
    """R-PLAT-5."""
    assert load({}) == Settings()
    assert load({"TOKENTILL_PORT": "9000"}).port == 9000
    assert load({"TOKENTILL_PORT": "9000"}, {"port": 9001}).port == 9001
    assert load({"TOKENTILL_PORT": "9000"}, {"port": None}).port == 9000
    assert load({"TOKENTILL_PORT": ""}).port == 8420, "an empty variable is none"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "x"), ("PORT", "-1"), ("PORT", "65536"), ("LOG_LEVEL", "loud"), ("DRAIN_SECONDS", "1.5")],
)
def test_what_cannot_be_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"TOKENTILL_{variable} cannot be '{value}'"):
        load({f"TOKENTILL_{variable}": value})


@pytest.mark.parametrize("scheme", ["mysql", "postgresq", "sqlite"])
def test_an_address_of_another_database_is_refused(scheme: str) -> None:
    """R-PLAT-5: it is no path, at which a new till would be made."""
    with pytest.raises(
        SettingsError, match=f"TOKENTILL_DATABASE cannot be '{scheme}://me@host/till': .*SQLite"
    ):
        load({"TOKENTILL_DATABASE": f"{scheme}://me:canary@host/till"})


def test_secrets_are_never_shown() -> None:
    assert {shown(name, "canary") for name in HIDDEN} == {"(set)"}
    assert shown("database", "postgresql://me:canary@host:5432/till") == "postgresql://me@host:5432/till"
    assert "canary" not in shown("database", "postgres://me:can@ary:canary@host/till")


def test_the_default_is_local_only() -> None:
    """R-PLAT-5: nobody is served by accident."""
    assert Settings().host == "127.0.0.1"


class TestSecret:
    """The secret that seals the journal (R-LED-5)."""

    def test_it_is_made_at_first_start_and_kept(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """R-PLAT-5: nothing to install, and no default that others know."""
        settings = Settings(database=str(tmp_path / "new" / "till.db"))
        with caplog.at_level(logging.WARNING):
            secret = wiring.secret_of(settings)
        assert "keep a copy" in caplog.text
        path = wiring.key_file(settings)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(secret) == 32
        assert wiring.secret_of(settings) == secret
        other = wiring.secret_of(Settings(database=str(tmp_path / "other.db")))
        assert other != secret
        assert [one.name for one in path.parent.iterdir()] == ["till.db.key"]

    def test_processes_that_start_together_get_the_same(self, tmp_path: Path) -> None:
        """R-PLAT-5."""
        settings = Settings(database=str(tmp_path / "till.db"))
        found: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: found.append(wiring.secret_of(settings))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1

    def test_a_database_without_its_key_is_refused(self, tmp_path: Path) -> None:
        """R-LED-5: a new key would hide that the journal cannot be verified."""
        (tmp_path / "till.db").touch()
        with pytest.raises(SettingsError, match="key file"):
            wiring.secret_of(Settings(database=str(tmp_path / "till.db")))
        with pytest.raises(SettingsError, match="is a folder"):
            wiring.secret_of(Settings(database=str(tmp_path)))

    def test_postgresql_needs_one(self) -> None:
        """No insecure default."""
        with pytest.raises(SettingsError, match="TOKENTILL_SECRET"):
            wiring.secret_of(Settings(database="postgresql://localhost/till"))

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            pytest.param("00" * 32, "placeholder", id="all the same"),
            pytest.param("0123456789abcdef" * 3, "needs 32", id="too short"),
            pytest.param("changeme", "hex", id="no hex"),
        ],
    )
    def test_a_weak_one_is_refused(self, text: str, why: str) -> None:
        """No insecure secret."""
        with pytest.raises(SettingsError, match=why) as refused:
            wiring.secret_of(Settings(secret=text))
        assert text not in str(refused.value)

    def test_it_may_come_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        assert wiring.secret_of(Settings(secret_file=str(tmp_path / "secret"))) == bytes.fromhex(SECRET)
        with pytest.raises(SettingsError, match="cannot be read"):
            wiring.secret_of(Settings(secret_file=str(tmp_path / "missing")))

    def test_a_longer_one_is_used_whole(self) -> None:
        one, other = (wiring.secret_of(Settings(secret=SECRET + end)) for end in ("00", "01"))
        assert len(one) == 32
        assert one != other

    def test_a_folder_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SettingsError, match="cannot be made"):
            wiring.secret_of(Settings(database=str(tmp_path / "file" / "till.db")))


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        (Settings(), "tokentill.db.spool"),
        (Settings(database="a/b.db"), "a/b.db.spool"),
        (Settings(database="postgresql://localhost/till"), "tokentill.spool"),
        (Settings(url="http://localhost:8420"), "tokentill.spool"),
        (Settings(database="a/b.db", spool="c"), "c"),
    ],
)
def test_where_charges_wait_that_could_not_be_stored(settings: Settings, folder: str) -> None:
    """R-LED-4."""
    assert settings.spool_folder == Path(folder)


def test_ids_and_time_are_the_machines() -> None:
    ids, clock = wiring.SystemIds(), wiring.SystemClock()
    made = [ids.operation() for _ in range(100)]
    assert made == sorted(set(made)), "they sort by time"
    assert all(len(one) == 32 for one in made)
    assert len({ids.secret() for _ in range(100)}) == 100
    assert clock.now() > 1_700_000_000_000


def test_a_catalog_is_a_preset_or_a_file(tmp_path: Path) -> None:
    """R-PLAN-9."""
    assert wiring.catalog_of(Settings(catalog="shop")).name == "shop"
    with pytest.raises(SettingsError, match=r"There is no catalog 'shops'"):
        wiring.catalog_of(Settings(catalog="shops"))
    with pytest.raises(SettingsError, match=r"cannot be read: No such file or directory\.$"):
        wiring.catalog_of(Settings(catalog=str(tmp_path / "missing.toml")))
    (tmp_path / "odd.toml").write_bytes(b'name = "odd"\ntitle = "\xff"\n')
    with pytest.raises(
        SettingsError, match=r"cannot be read: line 2 is not text in UTF-8\. Save it as UTF-8\.$"
    ):
        wiring.catalog_of(Settings(catalog=str(tmp_path / "odd.toml")))


def test_settings_survive_a_round_trip() -> None:
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()
