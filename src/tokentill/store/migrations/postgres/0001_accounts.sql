-- Accounts and their journal on PostgreSQL 15 or newer. Integers, text and bytes only; times are epoch
-- milliseconds. The roles tokentill_app and tokentill_audit exist before this runs.
--
-- Row-level security. A transaction that acts as tokentill_app names its organizations in the setting
-- tokentill.organizations (an array of names) and sees nothing else; reading them gives their numbers, which
-- go into tokentill.numbers, with which the other tables compare. Unset or empty means none.
-- tokentill_audit reads everything and writes nothing. The login role owns the tables and is bound too (force):
-- it may become either role and inherits the rights of neither, so that it sees nothing before it has.

create table meta (
    name text primary key,
    value text not null
);

-- One row for each account. due_at is a lower bound of its next deadline (null: none), rewritten only to be
-- earlier or by the sweeper, so that hot updates touch no index and find room on their page.
create sequence organization_number;
create table organization (
    number bigint primary key,
    name text collate "C" not null unique,
    seq bigint not null,
    head bytea not null,
    last_row bigint not null,
    due_at bigint
) with (fillfactor = 50);
create index organization_due on organization (due_at) where due_at is not null;

-- The fold of an account's entries up to seq; written only when the entries since the last one outweigh it.
create table snapshot (
    organization bigint primary key,
    seq bigint not null,
    last_row bigint not null,
    state bytea not null
);

-- The journal. A batch draws a block of ids once it holds the locks of its organizations, so ids rise within
-- an organization. previous is the row of the organization's entry before, 0 for its first. body holds the
-- canonical bytes that link covers; the other columns repeat parts of it for plain SQL. xid is the
-- transaction that wrote the row: cursors read below the oldest one that still runs.
-- No foreign key: the policy admits only numbers of organizations that exist, and checking one for every
-- entry would cost a sixth of the rate.
create sequence entry_block increment 1024;
create table entry (
    id bigint primary key,
    organization bigint not null,
    previous bigint not null,
    seq bigint not null,
    time bigint not null,
    kind text not null,
    status text not null,
    user_id text,
    feature text,
    tokens bigint not null,
    balance bigint not null,
    reference text,
    key bytea,
    part bigint not null,
    link bytea not null,
    body bytea not null,
    xid bigint not null default (pg_current_xact_id()::text::bigint)
);
create unique index entry_key on entry (key, organization, part) where key is not null;
create index entry_xid on entry (xid, id);
-- For plain SQL by time; a few bytes for every 128 pages.
create index entry_time on entry using brin (to_timestamp(time / 1000.0));

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the journal is append-only: an entry is never changed or deleted'
        using errcode = 'restrict_violation';
end
$$;
create trigger entry_append_only before update or delete or truncate on entry
    for each statement execute function refuse_change();

-- What names a person, beside the journal, so that it can be erased.
create table person (
    organization bigint not null,
    user_id text not null,
    name text not null,
    primary key (organization, user_id)
);

create table operator_key (
    id text primary key,
    name text not null,
    digest bytea not null,
    created_at bigint not null,
    last_used_at bigint,
    revoked_at bigint
);

-- How far each consumer of the journal has read.
create table cursor (
    consumer text primary key,
    position text not null
);

alter table organization enable row level security, force row level security;
alter table snapshot enable row level security, force row level security;
alter table entry enable row level security, force row level security;
alter table person enable row level security, force row level security;

-- The inner select is evaluated once for a statement, not once for a row, and so is the cast in it; the cast
-- outside only says that it is an array and no set of rows. "Is true" keeps the planner from searching the index of
-- names for every name that may be seen, where it is to search for one: each row would cost as much as the whole list.
create policy app on organization to tokentill_app
    using (
        (name = any ((select nullif(current_setting('tokentill.organizations', true), '')::text[])::text[])) is true
    );
create policy app on snapshot to tokentill_app
    using (organization = any ((select nullif(current_setting('tokentill.numbers', true), '')::bigint[])::bigint[]));
create policy app on entry to tokentill_app
    using (organization = any ((select nullif(current_setting('tokentill.numbers', true), '')::bigint[])::bigint[]));
create policy app on person to tokentill_app
    using (organization = any ((select nullif(current_setting('tokentill.numbers', true), '')::bigint[])::bigint[]));
create policy audit on organization for select to tokentill_audit using (true);
create policy audit on snapshot for select to tokentill_audit using (true);
create policy audit on entry for select to tokentill_audit using (true);
create policy audit on person for select to tokentill_audit using (true);

-- A batch takes the locks of its organizations, in the array's order, draws its block of ids after them, so that ids
-- rise within an organization, names the organizations, and counts those whose journal still ends in the link that
-- the lane knows; their numbers are set. The links are 16 bytes each, one after the other. Only a later statement sees
-- what those who held the locks have written; in a volatile function each is one. What may be seen is the caller's.
create function enter_batch(locks bigint[], names text[], links bytea, out block bigint, out unchanged bigint)
language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock(lock) from unnest(locks) as lock;
    block := nextval('entry_block');
    perform set_config('tokentill.organizations', names::text, true);
    select count(*), set_config('tokentill.numbers', array_agg(number)::text, true) into unchanged
    from unnest(names) with ordinality as wanted (name, place)
    cross join lateral (select number, head from organization where name = wanted.name offset 0) as organization
    where head = substring(links from 16 * place::int - 15 for 16);
end
$$;

-- A row for each of the refusals that one entry counts, a thousand at most; one where it counts none.
-- It is a function of its own so that the planner expects one row, not the thousand it expects of a series.
create function each_counted(body bytea) returns setof bigint
language plpgsql immutable strict parallel safe rows 1 as $$
begin
    return query select generate_series(
        1, least(coalesce((convert_from(body, 'UTF8')::jsonb ->> 'count')::bigint, 1), 1000)
    );
end
$$;

-- The journal as the business rules' monitoring queries know it (R-FIN-3). tokens_deducted: what a charge
-- took, less what the refund of a failed operation gave back. user_id is the host's own name of the user
-- where it has not been erased. details is the whole entry, its reason among it. An entry that counts the
-- refusals of a minute is as many rows (R-ABU-7), because the queries count rows.
create view ai_token_usage_log with (security_invoker = true) as
select
    to_timestamp(entry.time / 1000.0) as created_at,
    coalesce(person.name, entry.user_id) as user_id,
    organization.name as organization_id,
    entry.feature,
    case
        when entry.kind = 'charge' then entry.tokens
        when entry.kind = 'refund' and entry.part = 2 then -entry.tokens
        else 0
    end as tokens_deducted,
    entry.balance as balance_after,
    jsonb_build_object(
        'status', entry.status, 'kind', entry.kind, 'sequence', entry.seq, 'operation', encode(entry.key, 'hex')
    ) as metadata,
    convert_from(entry.body, 'UTF8')::jsonb as details
from entry
join organization on organization.number = entry.organization
left join person on person.organization = entry.organization and person.user_id = entry.user_id
left join lateral each_counted(case when entry.kind = 'refused' then entry.body end) on true;

grant select, insert, update on organization, snapshot to tokentill_app;
grant select, insert on entry to tokentill_app;
grant select, insert, delete on person to tokentill_app;
grant select, insert, update on operator_key, cursor to tokentill_app;
grant usage on sequence organization_number, entry_block to tokentill_app;
grant select on ai_token_usage_log to tokentill_app;
grant select on meta, organization, snapshot, entry, person, operator_key, cursor, ai_token_usage_log
    to tokentill_audit;
