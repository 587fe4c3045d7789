"""Every command of the command line on a real database."""

from __future__ import annotations

import re

import apsw
import msgspec
import pytest

from tests.cli.conftest import Shell
from tokentill import __version__, wiring
from tokentill.catalogs import PRESETS, preset_text
from tokentill.ports import Intent
from tokentill.rules.commands import Settle
from tokentill.settings import Settings
from tokentill.store.intents import Kept


@pytest.fixture
def acme(shell: Shell) -> Shell:
    """The organization `acme` on the plan pro: 200 tokens."""
    shell.done("org", "open", "acme", "--plan", "pro")
    return shell


def test_version(shell: Shell) -> None:
    assert shell.done("version").strip() == __version__
    assert shell.json("version") == {"version": __version__}


def test_opening_an_organization(shell: Shell) -> None:
    """R-LED-1: on the catalog's default plan, on another, on none, and from an anchor on."""
    assert "Opened beta" in shell.done("org", "open", "beta")
    shell.done("org", "open", "gamma", "--plan", "enterprise")
    shell.done("org", "open", "delta", "--no-plan")
    listed = shell.json("org", "list")
    assert {name: one["plan"] for name, one in listed.items()} == {
        "beta": "starter",
        "gamma": "enterprise",
        "delta": None,
    }
    table = shell.done("org", "list")
    assert re.search(r"gamma +enterprise +active +2,000", table)
    assert list(shell.json("org", "list", "--after", "beta", "--limit", "1")) == ["delta"]


def test_showing_an_organization(acme: Shell) -> None:
    """R-LIC-4."""
    shown = acme.json("org", "show", "acme")
    assert shown["balance"]["remaining"] == 200
    assert [one["feature"] for one in shown["features"]["features"]] == ["generate_goal"]
    assert "generate_goal" in acme.done("org", "show", "acme")


def test_nothing_yet(shell: Shell) -> None:
    shell.done("key", "create", "me")
    assert "tokentill org open" in shell.done("org", "list")
    assert shell.json("org", "list") == {}
    assert "Every charge was stored" in shell.done("review")


def test_giving_taking_and_looking(acme: Shell) -> None:
    """R-LED-1, R-LED-6, R-LED-7, R-LED-8."""
    assert (
        acme.json("grant", "acme", "500", "--origin", "pack", "--reference", "order 1")["kind"] == "purchase"
    )
    assert acme.json("adjust", "acme", "-10", "--reason", "counted twice")["balance"] == 690
    charged = acme.json("consume", "acme", "generate_goal", "--user", "u1")
    assert charged["tokens"] == 3
    assert acme.json("refund", "acme", charged["operation"], "--tokens", "1")["kind"] == "refund"
    balance = acme.json("balance", "acme")
    assert (balance["monthly"], balance["additional"], balance["used"], balance["remaining"]) == (
        190,
        500,
        2,
        688,
    )
    assert re.search(r"remaining +688", acme.done("balance", "acme"))

    page = acme.json("journal", "acme", "--limit", "3")
    assert [line["kind"] for line in page["entries"]] == ["refund", "charge", "adjustment"]
    assert page["entries"][2]["actor"].startswith("cli:")
    older = acme.json("journal", "acme", "--limit", "1", "--before", page["next"])
    assert older["entries"][0]["kind"] == "purchase"
    text = acme.done("journal", "acme")
    assert re.search(r"adjustment +done +-10 +690 +counted twice", text)
    assert "adjustment -1, balance 687" in acme.done("adjust", "acme", "-1", "--reason", "one more")
    assert "adjustment 1, balance 688" in acme.done("adjust", "acme", "1", "--reason", "none more")
    assert "Older entries" not in text
    assert re.search(r"adjustment +done +1 +688 +none more", acme.done("journal", "acme", "--limit", "1"))
    assert "Older entries: --before" in acme.done("journal", "acme", "--limit", "1")


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", 3),
        ("-5", 3),
        (str(2**63), 3),
        (str(10**30), 3),
        ("1.5", 2),
        ("1e5", 2),
        ("٣", 2),
        ("", 2),
        ("1.0", 2),
        ("+7", 2),
        ("10_000", 2),
        (" 7", 2),
    ],
)
def test_amounts_that_are_none(acme: Shell, amount: str, code: int) -> None:
    """R-LED-10: what is no amount is said to be none, and nothing is changed."""
    ran = acme("grant", "acme", amount)
    assert (ran.code, "tokens" in ran.err) == (code, True)
    assert acme("consume", "acme", "generate_goal", "--quantity", amount).code in (2, 3)
    assert acme.json("balance", "acme")["remaining"] == 200


def test_a_cap_below_nothing(acme: Shell) -> None:
    """R-PLAN-6."""
    assert "cap must be" in acme("cap", "acme", "-1").err


@pytest.mark.parametrize("name", ["", "..", " acme", "a\nb", "x" * 129])
def test_names_that_are_none(shell: Shell, name: str) -> None:
    """R-LED-10."""
    ran = shell("org", "open", name)
    assert ran.code == 3
    assert "Nothing was changed" in " ".join(ran.err.split())
    assert shell.json("org", "list") == {}


def test_a_key_makes_a_command_happen_once(acme: Shell) -> None:
    """R-LED-9."""
    for _ in range(2):
        acme.done("grant", "acme", "5", "--idempotency-key", "gift 1")
    assert acme.json("balance", "acme")["remaining"] == 205
    other = acme("grant", "acme", "6", "--idempotency-key", "gift 1")
    assert other.code == 3
    assert "key_reused" in other.err


def test_plans_payment_and_caps(acme: Shell) -> None:
    """R-PLAN-4, R-PLAN-6, R-LIC-1, R-LIC-3."""
    assert acme.json("plan", "acme", "enterprise")["plan"] == "enterprise"
    acme.done("freeze", "acme", "--reason", "card declined")
    assert acme.json("balance", "acme")["set_aside"] == 2000
    assert "past_due" in acme.done("balance", "acme")
    acme.done("restore", "acme")
    acme.done("cap", "acme", "5000")
    assert acme.json("balance", "acme")["cap"] == 5000
    acme.done("cap", "acme")
    assert acme.json("balance", "acme")["cap"] is None
    assert acme.json("reset", "acme")["kind"] == "reset"
    assert acme.json("plan", "acme", "--cancel")["kind"] == "plan_scheduled"


@pytest.mark.parametrize("words", [("plan", "acme"), ("plan", "acme", "pro", "--cancel")])
def test_a_plan_is_named_or_cancelled(acme: Shell, words: tuple[str, ...]) -> None:
    ran = acme(*words)
    assert ran.code == 2
    assert "--cancel" in ran.err


def test_unblocking(acme: Shell) -> None:
    """R-ABU-6."""
    for _ in range(5):
        assert acme("consume", "acme", "generate_goal", "--user", "m", "--quantity", "9").code == 3
    blocked = acme("consume", "acme", "generate_goal", "--user", "m")
    assert "blocked" in blocked.err
    acme.done("unblock", "acme", "m", "--reason", "a broken client")
    assert "blocked" not in acme("consume", "acme", "generate_goal", "--user", "m").err


def test_a_refusal_says_why_and_every_way_out(acme: Shell) -> None:
    """R-PLAN-7: exit code 3, in words and for programs."""
    acme.done("adjust", "acme", "-199", "--reason", "for the test")
    ran = acme("consume", "acme", "generate_goal")
    assert ran.code == 3
    assert "You've reached your limit. Upgrade or purchase credits." in ran.err
    assert "Buy 500 tokens ($29)" in ran.err
    assert "Upgrade to Enterprise ($399/mo)" in ran.err
    program = acme("consume", "acme", "generate_goal", "--json")
    assert program.code == 3
    refused = program.json["refused"]
    assert (refused["code"], refused["layer"], refused["status"]) == ("exhausted", "balance", "prevented")
    assert refused["needed"] == 3


def test_verifying(acme: Shell) -> None:
    """R-LED-5: prints the head; exit code 1 with the entry that does not fit."""
    verdict = acme.json("verify")
    assert verdict["findings"] == []
    assert verdict["head"] in acme.done("verify")
    connection = apsw.Connection(str(acme.folder / "till.db"))
    for (name,) in list(connection.execute("select name from sqlite_master where type = 'trigger'")):
        connection.execute(f'drop trigger "{name}"')
    connection.execute("update entry set tokens = tokens + 1 where tokens > 0")
    connection.close()
    ran = acme("verify")
    assert ran.code == 1
    assert "acme" in ran.out
    assert acme("verify", "--json").json["findings"]


def test_verifying_against_a_file_of_heads(acme: Shell) -> None:
    """R-LED-5: the file is made, then compared and renewed; a journal that was cut short leaves it as it is."""
    file = acme.folder / "heads.jsonl"
    assert "was made" in acme.done("verify", "--head-file", str(file))
    first = file.read_text()
    assert first.splitlines()[0].startswith('{"accounts":1,')
    acme.done("grant", "acme", "5")
    copy = (acme.folder / "till.db").read_bytes()
    found = acme.json("verify", "--head-file", str(file))
    assert (found["findings"], found["compared"]) == ([], 1)
    second = file.read_text()
    assert second != first
    assert "is missing" in acme.done("verify", "--head-file", str(file))
    acme.done("grant", "acme", "6")
    acme.done("verify", "--head-file", str(file))
    newest = file.read_text()
    for name in ("till.db-wal", "till.db-shm"):
        (acme.folder / name).unlink(missing_ok=True)
    (acme.folder / "till.db").write_bytes(copy)
    assert acme("verify").code == 0, "alone, an older database fits"
    ran = acme("verify", "--head-file", str(file))
    assert ran.code == 1
    assert "went to" in ran.out
    assert file.read_text() == newest
    assert acme("verify", "--head-file", str(file), "--json").json["findings"][0]["organization"] == "acme"


@pytest.mark.parametrize(
    "text", ["", "{}", '{"accounts":2,"head":"00"}\n{"organization":"a","entry":1,"link":""}', "[1]"]
)
def test_a_file_of_heads_that_is_none(acme: Shell, text: str) -> None:
    file = acme.folder / "heads.jsonl"
    file.write_text(text)
    ran = acme("verify", "--head-file", str(file))
    assert ran.code == 2
    assert str(file) in ran.err
    assert file.read_text() == text
    assert acme("verify", "--head-file", str(acme.folder / "no" / "heads")).code == 2


def test_reviewing(acme: Shell) -> None:
    """R-LED-4: what could not be stored, and what became of it."""
    spool = acme.folder / "till.db.spool"
    spool.mkdir()
    secret = wiring.secret_of(Settings(database=str(acme.folder / "till.db")))
    kept = Kept(Intent("acme", Settle(hold="0" * 32, tokens=2), 2, 1_767_225_600_000))
    (spool / f"{wiring.name_of_ledger(secret)}.jsonl").write_bytes(msgspec.json.encode(kept) + b"\n")
    assert "waiting to be stored" in acme.done("review")
    assert "look at it" in acme.done("review", "--retry")
    [state] = acme.json("review")
    assert (state["outcome"], state["intent"]["tokens"]) == ("reviewed", 2)
    assert acme.json("journal", "acme", "--limit", "1")["entries"][0]["kind"] == "review"


def test_operator_keys(shell: Shell) -> None:
    """R-SALE-8."""
    made = shell.json("key", "create", "me")
    assert made["key"].startswith(f"tt_op_{made['id']}_")
    assert "tt_op_" in shell.done("key", "create", "you")
    assert [key["name"] for key in shell.json("key", "list")] == ["me", "you"]
    assert made["key"] not in shell.done("key", "list")
    assert "Revoked" in shell.done("key", "revoke", made["id"])
    again = shell("key", "revoke", made["id"])
    assert again.code == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_catalogs_that_ship_can_be_used_and_shown(shell: Shell, preset: str) -> None:
    """R-PLAN-1, R-PLAN-2, R-PLAN-3."""
    assert shell.json("catalog", "check", preset)["ok"]
    shown = shell.json("catalog", "show", "--catalog", preset)
    assert shown["name"] == preset
    assert shown["title"] in shell.done("catalog", "show", "--catalog", preset)


def test_a_catalog_file_is_checked(shell: Shell) -> None:
    """R-PLAN-9: every mistake with its line, exit code 1."""
    file = shell.folder / "mine.toml"
    file.write_text(preset_text("goals").replace("tokens = 200", 'tokens = "many"'))
    ran = shell("catalog", "check", str(file))
    assert ran.code == 1
    assert re.search(r"mine\.toml:\d+: ", ran.out)
    assert not shell("catalog", "check", str(file), "--json").json["ok"]
    unusable = shell("org", "open", "acme", TOKENTILL_CATALOG=str(file))
    assert unusable.code == 5
    assert "The catalog cannot be used" in unusable.err


def test_dubious_selling_is_warned_of(shell: Shell) -> None:
    """R-PACK-8, R-PACK-9."""
    file = shell.folder / "mine.toml"
    nobody = re.sub(r"^percent = 100", "percent = 0", preset_text("analysis"), flags=re.MULTILINE)
    file.write_text(nobody + "\n[promos.FREE]\npercent_off = 100\n")
    found = shell.done("catalog", "check", str(file))
    for what in ("rollout: no organization is offered a pack", "promos.FREE: the code holds for ever"):
        assert what in found


def test_settings_in_force(shell: Shell) -> None:
    """No secret is ever printed."""
    ran = shell("settings", TOKENTILL_SECRET="0123456789abcdef" * 4, TOKENTILL_PORT="9000")
    assert "9000" in ran.out
    assert "0123456789abcdef" not in ran.out
    assert "(set)" in ran.out
    assert shell.json("settings", "--host", "::1")["host"] == "::1"


def test_health(acme: Shell) -> None:
    """R-PLAT-3."""
    assert acme.json("health")["ok"]
    assert "yes" in acme.done("health")


class TestTrouble:
    """What happened, what it means, what to do; and an exit code for it."""

    def test_a_database_that_is_not_there(self, shell: Shell) -> None:
        ran = shell("balance", "acme")
        assert ran.code == 5
        assert "There is no database" in ran.err
        assert "tokentill org open" in ran.err
        assert list(shell.folder.iterdir()) == [], "and none was made"

    def test_a_key_file_that_has_gone(self, acme: Shell) -> None:
        (acme.folder / "till.db.key").unlink()
        ran = acme("balance", "acme")
        assert ran.code == 5
        assert "backup" in ran.err

    def test_another_secret(self, acme: Shell) -> None:
        ran = acme("balance", "acme", TOKENTILL_SECRET="0123456789abcdef" * 4)
        assert ran.code == 4
        assert "secret" in ran.err

    def test_a_catalog_that_does_not_exist(self, shell: Shell) -> None:
        ran = shell("org", "open", "acme", "--catalog", "gaols")
        assert ran.code == 5
        assert "analysis, goals, shop" in ran.err

    def test_a_setting_that_cannot_be(self, shell: Shell) -> None:
        ran = shell("balance", "acme", TOKENTILL_PORT="no port")
        assert ran.code == 5
        assert "TOKENTILL_PORT" in ran.err

    def test_an_organization_that_does_not_exist(self, acme: Shell) -> None:
        ran = acme("balance", "nobody")
        assert (ran.code, ran.out) == (3, "")
        assert "unknown_organization" in ran.err

    def test_a_server_that_is_not_there(self, shell: Shell) -> None:
        ran = shell("balance", "acme", "--url", "nonsense")
        assert ran.code == 2
        assert "http://127.0.0.1:8420" in ran.err

    def test_a_command_that_is_not_right(self, shell: Shell) -> None:
        assert shell("grant", "acme").code == 2
        assert shell("grant", "acme", "many").code == 2
        assert shell("no-such-command").code == 2

    def test_verify_over_http(self, shell: Shell) -> None:
        ran = shell("verify", TOKENTILL_URL="http://127.0.0.1:9")
        assert ran.code == 2
        assert "where its database is" in ran.err


def test_a_low_balance_and_a_refusal_say_what_they_are(acme: Shell) -> None:
    """R-PLAN-8, R-ABU-7: the notice with days and a pack, the code beside a refused entry."""
    acme.json("adjust", "acme", "-195", "--reason", "nearly empty")
    acme("consume", "acme", "generate_goal", "--user", "u1", "--quantity", "2")
    shown = acme.json("balance", "acme")["notice"]
    assert (shown["code"], shown["left"]) == ("tokens", 5)
    assert shown["text"].startswith("You're running low on tokens.")
    assert "Buy " in acme.done("balance", "acme")
    assert re.search(r"warning +done.*tokens", acme.done("journal", "acme"))
    assert re.search(r"refused +prevented.*exhausted", acme.done("journal", "acme"))
