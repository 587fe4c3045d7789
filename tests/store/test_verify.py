"""Whatever is changed behind the till's back, verify finds (R-LED-5).

The triggers that refuse it are dropped first, as somebody with the keys to the database could.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from tests.support.postgres import Server
from tests.support.stores import SECRET, Store, begin, charge, clean, connect, ok
from tokentill.ports import Heads, StoreDown, Verdict
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.store.sqlite_connection import connect as connect_sqlite
from tokentill.store.statements import statements

# R-LED-5, R-LED-1


async def fill(url: str) -> None:
    """Three organizations with a snapshot each."""
    place = Store("postgres" if url.startswith("postgresql:") else "sqlite", url)
    ledger = await place.open()
    await begin(ledger, "acme", "beta", "zeta", tokens=10_000)
    for name in ("acme", "beta", "zeta"):
        users = [f"user {number}" for number in range(60)]
        holds = await asyncio.gather(
            *(ok(ledger, name, c.Reserve(feature="generate_goal", user=user)) for user in users)
        )
        await asyncio.gather(*(ok(ledger, name, c.Settle(hold=hold.operation)) for hold in holds))
    await place.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def filled(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Store]:
    """A database that was filled once for all tests, and copied for this one."""
    if request.param == "sqlite":
        original = tmp_path_factory.getbasetemp() / "filled.db"
        if not original.exists():
            await fill(str(original))
        yield Store("sqlite", str(shutil.copy(original, tmp_path)))
    else:
        server: Server = request.getfixturevalue("postgres_server")
        database = server.create_database(server.template("filled", fill))
        yield Store("postgres", server.url(database))
        server.drop_database(database)


async def verified(store: Store, older: Heads | None = None) -> Verdict:
    ledger = await store.open()
    verdict: Verdict = await ledger.verify(older)
    await ledger.close()
    return verdict


async def tamper(store: Store, *statements: str) -> list[Any]:
    """Run statements as the owner, with nothing in their way; the rows of the last one."""
    rows: list[Any] = []
    if store.engine == "postgres":
        connection = await connect(store)
        await connection.execute("drop trigger if exists entry_append_only on entry")
        for statement in statements:
            rows = [tuple(row) for row in await connection.fetch(statement)]
        await connection.close()
    else:
        database = apsw.Connection(store.url)
        database.execute(
            "drop trigger if exists entry_never_updated; drop trigger if exists entry_never_deleted; "
            "drop trigger if exists entry_never_replaced"
        )
        for statement in statements:
            rows = database.execute(statement).fetchall()
        database.close()
    return rows


def text(store: Store, column: str) -> str:
    """An expression for a column of bytes as text."""
    return f"convert_from({column}, 'UTF8')" if store.engine == "postgres" else f"cast({column} as text)"


def blob(store: Store, expression: str) -> str:
    """An expression for text as bytes."""
    return (
        f"convert_to({expression}, 'UTF8')" if store.engine == "postgres" else f"cast({expression} as blob)"
    )


LAST_OF_ACME = "(select last_row from organization where name = 'acme')"
ACME = "(select number from organization where name = 'acme')"


async def test_nothing_is_found_where_nothing_was_done(filled: Store) -> None:
    before = await verified(filled)
    assert (before.findings, before.organizations, before.entries) == ((), 3, 375)
    assert await tamper(filled, "select count(*) from snapshot") == [(3,)]
    assert await verified(filled) == before


async def test_an_entry_edited(filled: Store) -> None:
    before = await verified(filled)
    body = blob(filled, f"replace({text(filled, 'body')}, '\"tokens\":3', '\"tokens\":1')")
    await tamper(filled, f"update entry set body = {body} where id = {LAST_OF_ACME}")
    verdict = await verified(filled)
    (finding,) = verdict.findings
    assert (finding.organization, finding.entry) == ("acme", 125)
    assert "hash does not follow" in finding.problem
    assert verdict.head == before.head, "the head is what is stored; the finding says that it is not true"


async def test_an_entry_deleted(filled: Store) -> None:
    await tamper(filled, f"delete from entry where organization = {ACME} and seq = 50")
    (finding,) = (await verified(filled)).findings
    assert (finding.organization, finding.entry) == ("acme", 51)
    assert "previous row" in finding.problem


async def test_two_entries_swapped(filled: Store) -> None:
    mine = f"organization = {ACME}"
    await tamper(
        filled,
        f"update entry set id = -1 where {mine} and seq = 50",
        "update entry set id = (select previous from entry where previous = "
        f"(select id from entry where {mine} and seq = 51)) where {mine} and seq = 51",
    )
    findings = (await verified(filled)).findings
    assert [finding.organization for finding in findings] == ["acme"]


async def test_the_contents_of_two_entries_swapped(filled: Store) -> None:
    columns = ("body", "link", "time", "kind", "status", "tokens", "balance", "key", "part")
    mine = f"organization = {ACME}"
    rows = await tamper(
        filled, f"select id, {', '.join(columns)} from entry where {mine} and seq in (50, 52) order by seq"
    )
    assert len(rows) == 2
    other = f"(select * from entry where {mine} and seq in (50, 52))"
    sets = ", ".join(f"{name} = other.{name}" for name in columns if name not in ("key", "part"))
    await tamper(
        filled, f"update entry set {sets} from {other} as other where entry.{mine} and entry.seq in (50, 52) "
        "and entry.seq <> other.seq"
    )  # fmt: skip
    findings = (await verified(filled)).findings
    assert [(finding.organization, finding.entry) for finding in findings] == [("acme", 50)]


async def cut_off(store: Store, seq: int) -> None:
    """Take away what acme's journal holds after an entry, and everything that tells of it."""
    number = (await tamper(store, f"select {ACME}"))[0][0]
    await tamper(
        store,
        f"delete from entry where organization = {number} and seq > {seq}",
        f"update organization set seq = {seq}, "
        f"last_row = (select max(id) from entry where organization = {number}), "
        f"head = (select link from entry where organization = {number} and seq = {seq}) where number = {number}",
        f"delete from snapshot where organization = {number} and seq > {seq}",
    )


async def test_a_journal_cut_off_shows_against_the_head_kept_elsewhere(filled: Store) -> None:
    before = await verified(filled)
    await cut_off(filled, 120)
    verdict = await verified(filled)
    assert verdict.findings == (), "inside the database nothing tells"
    assert verdict.head != before.head
    assert verdict.entries == before.entries - 5
    (finding,) = (await verified(filled, before.heads())).findings
    assert finding.organization == "acme"
    assert finding.problem == "the journal ends at entry 120, but went to 125 before"


async def test_a_journal_that_has_grown_fits_its_older_heads(filled: Store) -> None:
    older = (await verified(filled)).heads()
    assert [(head.organization, head.entry) for head in older.accounts] == [
        ("acme", 125),
        ("beta", 125),
        ("zeta", 125),
    ]
    ledger = await filled.open()
    await begin(ledger, "new")
    await charge(ledger, "acme")
    assert (await ledger.verify(older)).findings == ()
    newer = (await ledger.verify(older)).heads()
    assert len(newer.accounts) == 4
    assert (await ledger.verify(newer)).findings == ()
    await ledger.close()


async def test_a_history_written_anew_shows_against_older_heads(filled: Store) -> None:
    """Even by somebody who has the secret, and goes on beyond where it was."""
    older = (await verified(filled)).heads()
    await cut_off(filled, 120)
    ledger = await filled.open()
    for _ in range(9):
        await charge(ledger, "acme")
    assert (await ledger.verify()).findings == ()
    (finding,) = (await ledger.verify(older)).findings
    await ledger.close()
    assert (finding.organization, finding.entry) == ("acme", 125)
    assert "written anew" in finding.problem


async def test_heads_that_were_changed_are_found(filled: Store) -> None:
    older = (await verified(filled)).heads()
    first, *others = older.accounts
    for accounts in (
        tuple(others),
        (replace(first, entry=120), *others),
        (replace(first, entry=-1), *others),
        (replace(first, link="00" * 16), *others),
        (replace(first, link="none"), *others),
        (first, first, *others),
    ):
        (finding, *_) = (await verified(filled, Heads(older.head, accounts))).findings
        assert finding.problem == "the older heads were changed, or are those of another till"


async def test_a_journal_cut_off_without_its_account_is_found(filled: Store) -> None:
    await tamper(filled, f"delete from entry where organization = {ACME} and seq > 120")
    (finding,) = (await verified(filled)).findings
    assert "the account stands at entry 125, but the journal ends at 120" in finding.problem


async def test_an_organization_deleted(filled: Store) -> None:
    before = await verified(filled)
    await tamper(
        filled,
        f"delete from entry where organization = {ACME}",
        f"delete from snapshot where organization = {ACME}",
        f"delete from person where organization = {ACME}",
        "delete from organization where name = 'acme'",
    )
    verdict = await verified(filled)
    assert (verdict.findings, verdict.organizations) == ((), 2)
    assert verdict.head != before.head
    (finding,) = (await verified(filled, before.heads())).findings
    assert (finding.organization, finding.entry) == ("acme", None)
    assert finding.problem == "the account is gone; it had 125 entries before"


async def test_entries_without_their_organization(filled: Store) -> None:
    await tamper(filled, "delete from organization where name = 'acme'")
    findings = (await verified(filled)).findings
    assert {finding.problem for finding in findings} == {
        "the entry's organization is not there",
        "the snapshot's organization is not there",
    }


async def test_a_chain_made_anew_without_the_key(filled: Store) -> None:
    rows = await tamper(filled, f"select id, body from entry where organization = {ACME} order by id")
    wrong = b"a key that was guessed, 32 bytes"
    head = chain.root(wrong, "acme")
    statements = []
    form = r"'\x{}'" if filled.engine == "postgres" else "x'{}'"
    for row, body in rows:
        head = chain.link(wrong, head, bytes(body))
        statements.append(f"update entry set link = {form.format(head.hex())} where id = {row}")
    statements.append(f"update organization set head = {form.format(head.hex())} where name = 'acme'")
    await tamper(filled, *statements)
    (finding,) = (await verified(filled)).findings
    assert (finding.organization, finding.entry) == ("acme", 1)
    assert wrong != SECRET


@pytest.mark.parametrize(
    "change",
    [
        "time = time + 1",
        "kind = 'bonus'",
        "status = 'failed'",
        "{user} = 'somebody else'",
        "feature = 'another'",
        "tokens = tokens - 1",
        "balance = balance + 1",
        "reference = 'ref'",
        "key = null",
        "part = part + 5",
        "seq = seq + 1000",
    ],
)
async def test_a_typed_column_changed(filled: Store, change: str) -> None:
    change = change.format(user="user_id" if filled.engine == "postgres" else "user")
    await tamper(filled, f"update entry set {change} where organization = {ACME} and seq = 124")
    (finding,) = (await verified(filled)).findings
    assert finding.organization == "acme"
    assert finding.problem == "its columns do not repeat its content"


async def test_an_entry_moved_to_another_organization(filled: Store) -> None:
    other = "(select number from organization where name = 'beta')"
    await tamper(filled, f"update entry set organization = {other} where id = {LAST_OF_ACME}")
    findings = (await verified(filled)).findings
    assert {finding.organization for finding in findings} == {"acme", "beta"}


@pytest.mark.parametrize("change", ["state", "last_row", "seq"])
async def test_a_snapshot_changed(filled: Store, change: str) -> None:
    values = {
        "state": blob(filled, f"replace({text(filled, 'state')}, '\"seq\"', '\"sEq\"')"),
        "last_row": "last_row + 1",
        "seq": "seq - 1",
    }
    await tamper(filled, f"update snapshot set {change} = {values[change]} where organization = {ACME}")
    (finding,) = (await verified(filled)).findings
    assert finding.organization == "acme"
    assert finding.problem == "the snapshot is not the fold of the entries up to it"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("seq = 124", "stands at entry 124"),
        ("last_row = 1", "stands at entry 125"),
        ("head = (select link from entry where seq = 124 limit 1)", "stands at entry 125"),
        ("due_at = 9000000000000000", "the sweeper would come"),
        ("due_at = null", "the sweeper would come"),
        ("name = 'acme!'", "hash does not follow"),
    ],
)
async def test_an_account_changed(filled: Store, change: str, problem: str) -> None:
    await tamper(filled, f"update organization set {change} where name = 'acme'")
    (finding,) = (await verified(filled)).findings
    assert problem in finding.problem


REPLACE_KEY = """insert or replace into entry
select id + 1000, organization, previous, seq, time, kind, status, user, feature, tokens, balance, reference, key, part,
       link, body
from entry where key is not null"""


async def test_the_journal_refuses_to_be_changed(lasting: Store) -> None:
    # Invariant 7
    ledger = await lasting.open()
    await begin(ledger, "acme")
    await charge(ledger, "acme")
    if lasting.engine == "postgres":
        connection = await connect(lasting)
        for statement in (
            "update entry set tokens = 0",
            "update entry set tokens = 0 where false",
            "delete from entry",
            "truncate entry",
            "insert into entry select * from entry on conflict (id) do update set tokens = 0",
        ):
            with pytest.raises(Exception, match="append-only") as raised:
                await connection.execute(statement)
            assert getattr(raised.value, "sqlstate", None) == "23001"
        await connection.close()
    else:
        database = apsw.Connection(lasting.url)
        for statement in (
            "update entry set tokens = 0",
            "delete from entry",
            "insert into entry select * from entry where true on conflict (id) do update set tokens = 0",
            "insert or replace into entry select * from entry",
            "replace into entry select * from entry",
            # What stands in the way may have another row and the same operation.
            REPLACE_KEY,
        ):
            with pytest.raises(apsw.ConstraintError, match="append-only"):
                database.execute(statement)
        database.close()
        # On the till's own connections, where the triggers are off, no such statement can even be prepared.
        own = connect_sqlite(lasting.url)
        for statement in (
            "update entry set tokens = 0",
            "delete from entry",
            "insert into entry select * from entry where true on conflict (id) do update set tokens = 0",
        ):
            with pytest.raises(apsw.AuthError):
                own.execute(statement)
        own.close()
        lane = ledger._connection
        assert lane.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, -1) == 0
        with pytest.raises(apsw.AuthError):
            await ledger._write(lambda connection: connection.execute("delete from entry").fetchall())
    await clean(ledger)
    await lasting.close()


def test_no_statement_of_the_till_replaces() -> None:
    """On its own connections nothing but this keeps an insert from replacing an entry."""
    for sql in statements("sqlite").values():
        assert "replace" not in sql.lower()


async def test_a_users_name_changed(filled: Store) -> None:
    """What happened to whom: the opaque id in the journal is made from the name, so another one shows."""
    await tamper(filled, f"update person set name = 'eve' where organization = {ACME} and name = 'user 1'")
    (finding,) = (await verified(filled)).findings
    assert finding.organization == "acme"
    assert "is not that of this user" in finding.problem
    await tamper(filled, f"delete from person where organization = {ACME} and name = 'eve'")
    assert (await verified(filled)).findings == (), "a name may be erased"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("update entry set body = cast(body as text) where id = {last}", "not stored as bytes"),
        ("update entry set link = 'x' where id = {last}", "hash does not follow"),
        ("update entry set seq = 'x' where id = {last}", "columns do not repeat"),
        ("update entry set organization = 'x' where id = {last}", "organization is not there"),
        ("update snapshot set state = 'x' where organization = {acme}", "snapshot is not the fold"),
        ("update organization set head = 'x' where name = 'acme'", "hold what they cannot hold"),
        ("update organization set seq = 'x' where name = 'acme'", "hold what they cannot hold"),
        ("update organization set due_at = 'x' where name = 'acme'", "hold what they cannot hold"),
        ("update organization set name = x'00' where name = 'acme'", "hold what they cannot hold"),
        ("update person set name = x'00' where organization = {acme}", "is not that of this user"),
    ],
)
async def test_a_column_that_holds_what_it_cannot(change: str, problem: str, tmp_path: Path) -> None:
    """SQLite keeps whatever it is given in any column; verify names the place and goes on."""
    place = Store("sqlite", str(tmp_path / "till.db"))
    await fill(place.url)
    await tamper(place, "drop trigger if exists none", change.format(last=LAST_OF_ACME, acme=ACME))
    found = (await verified(place)).findings
    assert any(problem in finding.problem for finding in found), found
    assert all("beta" not in finding.organization for finding in found)
    await place.close()


def cut_short(file: Path, kept: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])


@pytest.mark.parametrize("kept", [0.3, 0.7])
async def test_a_file_cut_short(tmp_path: Path, kept: float) -> None:
    place = Store("sqlite", str(tmp_path / "till.db"))
    await fill(place.url)
    await place.close()
    cut_short(Path(place.url), kept)
    with pytest.raises(StoreDown, match="malformed"):
        await verified(place)
    await place.close()


@pytest.mark.parametrize(
    ("content", "problem"), [(b"not a database at all\n" * 100, "not a database"), (None, "another program")]
)
async def test_a_file_that_is_no_tills(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "till.db"
    if content is None:
        database = apsw.Connection(str(path))
        database.execute("create table customer (name)")
        database.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreDown, match=problem):
        await Store("sqlite", str(path)).open()
    if content is None:
        database = apsw.Connection(str(path))
        assert database.execute("select name from sqlite_master").fetchall() == [("customer",)]
        database.close()
    else:
        assert path.read_bytes() == content
