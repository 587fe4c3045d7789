-- Accounts and their journal on SQLite. Integers, text and blobs only; times are epoch milliseconds.

create table meta (
    name text primary key,
    value text not null
) without rowid;

-- One row for each account. due_at is a lower bound of its next deadline (null: none), rewritten only to be
-- earlier or by the sweeper, so that hot updates touch no index. place is where the row lies in the file: an account
-- that comes into use moves to the end, so that a batch of a few accounts among a million changes few pages.
create table organization (
    place integer primary key,
    name text not null unique,
    number integer not null unique,
    seq integer not null default 0,
    head blob not null,
    last_row integer not null default 0,
    due_at integer
);
create index organization_due on organization (due_at) where due_at is not null;

-- The fold of an account's entries up to seq; written only when the entries since the last one outweigh it.
create table snapshot (
    organization integer primary key references organization (number),
    seq integer not null,
    last_row integer not null,
    state blob not null
);

-- The journal, appended by rowid. previous is the row of the organization's entry before, 0 for its first.
-- body holds the canonical bytes that link covers; the other columns repeat parts of it for plain SQL.
create table entry (
    id integer primary key,
    organization integer not null references organization (number),
    previous integer not null,
    seq integer not null,
    time integer not null,
    kind text not null,
    status text not null,
    user text,
    feature text,
    tokens integer not null,
    balance integer not null,
    reference text,
    key blob,
    part integer not null,
    link blob not null,
    body blob not null
);
create unique index entry_key on entry (key, organization, part) where key is not null;

create trigger entry_never_updated before update on entry
begin
    select raise(abort, 'the journal is append-only: an entry is never changed');
end;
create trigger entry_never_deleted before delete on entry
begin
    select raise(abort, 'the journal is append-only: an entry is never deleted');
end;
-- `insert or replace` deletes what stands in its way without asking the trigger above.
create trigger entry_never_replaced before insert on entry
when exists (select 1 from entry where id = new.id)
    or exists (select 1 from entry where key = new.key and organization = new.organization and part = new.part)
begin
    select raise(abort, 'the journal is append-only: an entry is never replaced');
end;

-- What names a person, beside the journal, so that it can be erased.
create table person (
    organization integer not null references organization (number),
    user text not null,
    name text not null,
    primary key (organization, user)
) without rowid;

create table operator_key (
    id text primary key,
    name text not null,
    digest blob not null,
    created_at integer not null,
    last_used_at integer,
    revoked_at integer
) without rowid;

-- How far each consumer of the journal has read.
create table cursor (
    consumer text primary key,
    position text not null
) without rowid;
