-- Every statement of the PostgreSQL engine.

-- ---- the lane ------------------------------------------------------------------------------------------
-- Its plans are kept, whatever a table grows to: planning for every batch would take a tenth of its time. So a
-- statement that joins what it is given with a table leaves no choice: `offset 0` has the rows looked up one by one; an
-- update cannot have it, so conditions that always hold tell the planner that what it is given is little.

-- name: keep_plans
set plan_cache_mode = force_generic_plan; set enable_bitmapscan = off

-- name: begin
begin isolation level read committed

-- name: commit
commit

-- name: rollback
rollback

-- The locks first, and what has changed since; see the function.
-- name: enter
select block, unchanged from enter_batch($1, $2, $3)

-- name: more_ids
select nextval('entry_block') from generate_series(1, $1::bigint)

-- name: organizations_now
with found as materialized (
    select number, name, seq, head, due_at from organization where name = any ($1::text[])
)
select number, name, seq, head, due_at,
       (select set_config('tokentill.numbers', (select array_agg(number)::text from found), true))
from found

-- What has changed: of accounts that were known up to a sequence and a row, also the entries after it, unless there
-- are too many. The entries can be read because the setting is made first; if it were not, the hashes would not fit.
-- name: refresh
with found as materialized (
    select organization.*, wanted.seq as known, wanted.last_row as since
    from unnest($1::text[], $2::bigint[], $3::bigint[]) as wanted (name, seq, last_row)
    cross join lateral (
        select number, name, seq, head, last_row, due_at from organization where name = wanted.name offset 0
    ) as organization
),
scope as materialized (
    select set_config('tokentill.numbers', (select array_agg(number)::text from found), true)
)
select number, name, seq, head, last_row, due_at,
       case when seq > known and seq <= known + $4::bigint then (
           with recursive tail (id, previous, body) as (
               select id, previous, body from entry where id = found.last_row and id > found.since
               union all
               select entry.id, entry.previous, entry.body from tail join entry on entry.id = tail.previous
               where tail.previous > found.since
           )
           select array_agg(body order by id) from tail
       ) end as bodies
from found cross join scope

-- Each account's snapshot and the entries after it.
-- name: load
select organization.number, organization.name, organization.head, organization.last_row, organization.due_at,
       snapshot.state,
       (
           with recursive tail (id, previous, body) as (
               select id, previous, body from entry
               where id = organization.last_row and id > coalesce(snapshot.last_row, 0)
               union all
               select entry.id, entry.previous, entry.body from tail join entry on entry.id = tail.previous
               where tail.previous > coalesce(snapshot.last_row, 0)
           )
           select array_agg(body order by id) from tail
       ) as bodies
from unnest($1::bigint[]) as wanted (number)
cross join lateral (select * from organization where number = wanted.number offset 0) as organization
left join snapshot on snapshot.organization = organization.number

-- name: operations
select entry.id, entry.organization, entry.body
from unnest($1::bigint[], $2::bytea[]) as wanted (number, key)
cross join lateral (
    select id, organization, body from entry where key = wanted.key and organization = wanted.number offset 0
) as entry
order by entry.id

-- name: new_numbers
with fresh as materialized (
    select nextval('organization_number') as number from generate_series(1, $1::bigint)
)
select number,
       (
           select set_config(
               'tokentill.numbers',
               (
                   coalesce(nullif(current_setting('tokentill.numbers', true), '')::bigint[], '{}')
                   || (select array_agg(number) from fresh)
               )::text,
               true
           )
       )
from fresh

-- name: write
with opened as (
    insert into organization (number, name, seq, head, last_row, due_at)
    select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[])
    returning 1
),
moved as (
    update organization set seq = new.seq, head = new.head, last_row = new.last_row, due_at = new.due_at
    from unnest($7::bigint[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[])
        as new (seq, head, last_row, due_at, number, before)
    where organization.number = new.number and organization.seq = new.before
        and new.number > 0 and new.seq > 0 and new.last_row >= 0
    returning 1
),
written as (
    insert into entry (
        id, organization, previous, seq, time, kind, status, user_id, feature, tokens, balance, reference, key, part,
        link, body
    )
    select * from unnest(
        $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::text[],
        $20::text[], $21::text[], $22::bigint[], $23::bigint[], $24::text[], $25::bytea[], $26::bigint[],
        $27::bytea[], $28::bytea[]
    )
    returning 1
),
kept as (
    insert into snapshot (organization, seq, last_row, state)
    select * from unnest($29::bigint[], $30::bigint[], $31::bigint[], $32::bytea[])
    on conflict (organization) do update
        set seq = excluded.seq, last_row = excluded.last_row, state = excluded.state
    returning 1
),
named as (
    insert into person (organization, user_id, name)
    select * from unnest($33::bigint[], $34::text[], $35::text[])
    on conflict do nothing
)
select (select count(*) from opened), (select count(*) from moved), (select count(*) from written),
       (select count(*) from kept)

-- name: is_stored
select exists (select from entry where id = $1 and link = $2)

-- ---- reads of one organization -------------------------------------------------------------------------

-- name: scope
select set_config('tokentill.organizations', $1::text[]::text, true)

-- name: previous_of
select previous from entry where id = $1 and organization = $2

-- name: last_row
select last_row from organization where number = $1

-- name: page
with recursive chain (id, depth) as (
    select $1::bigint, 1::bigint where $1::bigint > 0
    union all
    select entry.previous, chain.depth + 1 from chain join entry on entry.id = chain.id
    where entry.previous > 0 and chain.depth < $2::bigint
)
select entry.id, entry.previous, entry.body, entry.link, person.name
from chain
join entry on entry.id = chain.id
left join person on person.organization = entry.organization and person.user_id = entry.user_id
order by chain.depth

-- name: operation
select entry.id, entry.body, entry.link, person.name
from entry
left join person on person.organization = entry.organization and person.user_id = entry.user_id
where entry.key = $1 and entry.organization = $2
order by entry.id

-- name: forget_person
delete from person where organization = $1 and user_id = $2 returning 1

-- ---- operator keys -------------------------------------------------------------------------------------

-- name: operator_keys
select id, name, created_at, last_used_at, revoked_at from operator_key order by created_at, id

-- name: operator_key
select id, name, created_at, last_used_at, revoked_at, digest from operator_key where id = $1

-- name: add_operator_key
insert into operator_key (id, name, digest, created_at) values ($1, $2, $3, $4)
on conflict (id) do nothing returning 1

-- name: operator_key_used
update operator_key set last_used_at = $2 where id = $1 and coalesce(last_used_at, 0) < $2

-- name: revoke_operator_key
update operator_key set revoked_at = $2 where id = $1 and revoked_at is null returning 1

-- ---- reads over all organizations ----------------------------------------------------------------------

-- name: organizations
select name from organization where name > $1 order by name limit $2

-- name: organizations_due
select name from organization where due_at <= $1 order by due_at limit $2

-- name: soonest_due
select due_at from organization where due_at is not null order by due_at limit 1

-- name: database_time
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- Transactions below the oldest that still runs will write nothing more, so what they wrote is complete.
-- name: follow
select entry.xid, entry.id, organization.name, entry.body, entry.link, person.name
from entry
join organization on organization.number = entry.organization
left join person on person.organization = entry.organization and person.user_id = entry.user_id
where (entry.xid, entry.id) > ($1::bigint, $2::bigint)
    and entry.xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + $3::bigint
order by entry.xid, entry.id
limit $4

-- The oldest entry that no cursor may read yet.
-- name: oldest_unreadable
select time from entry
where xid >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint + $1::bigint
order by xid, id
limit 1

-- name: every_entry
select id, organization, previous, seq, time, kind, status, user_id, feature, tokens, balance, reference, key, part,
       link, body
from entry where id > $1 order by id limit $2

-- name: every_organization
select number, name, seq, head, last_row, due_at from organization where number > $1 order by number limit $2

-- name: every_snapshot
select organization, seq, last_row from snapshot where organization > $1 order by organization limit $2

-- name: every_state
select organization, state from snapshot where organization > $1 order by organization limit $2

-- name: every_person
select organization, user_id, name from person where (organization, user_id) > ($1, $2)
order by organization, user_id limit $3

-- name: cursor
select position from cursor where consumer = $1

-- name: move_cursor
insert into cursor (consumer, position) values ($1, $2)
on conflict (consumer) do update set position = excluded.position

-- ---- rows: what is not made from their structs ---------------------------------------------------------

-- In the array's order, like the lock of a batch, so that there is nothing to deadlock on.
-- name: lock_rooms
select count(pg_advisory_xact_lock(hash)) from unnest($1::bigint[]) as hash

-- ---- migrations ----------------------------------------------------------------------------------------

-- name: migration_lock
select pg_advisory_xact_lock(8248452173612543)

-- name: has_meta
select to_regclass('meta') is not null

-- name: meta
select value from meta where name = $1

-- name: set_meta
insert into meta (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value

-- name: newest_xid
select max(xid) from entry

-- name: next_xid
select pg_snapshot_xmax(pg_current_snapshot())::text::bigint

-- name: missing_role
select not exists (select from pg_roles where rolname = $1)

-- name: can_set_role
select pg_has_role(
    session_user, $1, case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end
)

-- A superuser has every right anyway, and no grant changes that.
-- name: inherits_role
select pg_has_role(session_user, $1, 'USAGE') and not rolsuper from pg_roles where rolname = session_user
