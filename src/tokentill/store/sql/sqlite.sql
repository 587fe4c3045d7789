-- Every statement of the SQLite engine. Parameters are positional, ?1 and on. Where a statement takes any number
-- of rows it shows one, in question marks alone.

-- name: begin
begin immediate

-- name: commit
commit

-- name: rollback
rollback

-- name: savepoint
savepoint call

-- name: release
release call

-- name: undo
rollback to call

-- name: data_version
pragma data_version

-- name: last_row
select coalesce(max(id), 0) from entry

-- The index is named, because statistics of a small table would have it read whole for ever after.
-- name: organizations_now
select name, number, seq, head, last_row, due_at
from organization indexed by sqlite_autoindex_organization_1 where name in (select value from json_each(?1))

-- name: snapshot
select seq, last_row, state from snapshot where organization = ?1

-- name: tail
with recursive chain (id) as (
    select ?1 where ?1 > ?2
    union all
    select entry.previous from chain join entry on entry.id = chain.id where entry.previous > ?2
)
select entry.body from chain cross join entry on entry.id = chain.id order by entry.id

-- name: between
select id, organization, body from entry where id > ?1 and id <= ?2 order by id

-- name: operations
with wanted (organization, key) as (values (?, ?))
select entry.organization, entry.body
from wanted cross join entry on entry.key = wanted.key and entry.organization = wanted.organization
order by entry.id

-- name: operation
select id, body, link from entry where key = ?1 and organization = ?2 order by id

-- name: open_organization
insert into organization (number, name, head)
values ((select coalesce(max(number), 0) + 1 from organization), ?1, ?2) returning number

-- To the end, unless it is near it.
-- name: move_account
update organization set place = (select max(place) + 1 from organization)
where number = ?1 and place < (select max(place) from organization) - ?2

-- name: drop_unopened
delete from organization where number = ?1 and seq = 0

-- name: write_entries
insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- It leaves due_at alone: to name an indexed column writes its index, though the value stays.
-- name: write_account
update organization set seq = ?1, head = ?2, last_row = ?3 where number = ?5 and seq = ?6

-- The same for many: one step of the database, and not one for each, which takes the interpreter back in between. Without
-- the likelihood a database whose statistics are of one or two accounts would read all of them, row for row of values.
-- name: write_accounts
update organization set seq = given.column1, head = given.column2, last_row = given.column3
from (select * from (values (?, ?, ?, ?, ?, ?)) where likelihood(column5 > 0, 0.0001)) as given
where organization.number = given.column5 and organization.seq = given.column6

-- name: write_due
update organization set due_at = ?1 where number = ?2

-- name: write_snapshot
insert into snapshot (organization, seq, last_row, state) values (?1, ?2, ?3, ?4)
on conflict (organization) do update set seq = excluded.seq, last_row = excluded.last_row, state = excluded.state

-- name: write_person
insert or ignore into person (organization, user, name) values (?1, ?2, ?3)

-- name: organization
select number, seq, head, last_row, due_at from organization where name = ?1

-- name: organizations
select name from organization where name > ?1 order by name limit ?2

-- name: organizations_due
select name from organization where due_at <= ?1 order by due_at limit ?2

-- name: soonest_due
select min(due_at) from organization where due_at is not null

-- name: page
with recursive chain (id, depth) as (
    select ?1, 1 where ?1 > 0
    union all
    select entry.previous, chain.depth + 1 from chain join entry on entry.id = chain.id
    where entry.previous > 0 and chain.depth < ?2
)
select entry.id, entry.previous, entry.body, entry.link, person.name
from chain cross join entry on entry.id = chain.id
left join person on person.organization = entry.organization and person.user = entry.user
order by entry.id desc

-- name: previous_of
select previous from entry where id = ?1 and organization = ?2

-- name: person
select name from person where organization = ?1 and user = ?2

-- name: forget_person
delete from person where organization = ?1 and user = ?2

-- name: operator_keys
select id, name, created_at, last_used_at, revoked_at from operator_key order by created_at, id

-- name: operator_key
select id, name, created_at, last_used_at, revoked_at, digest from operator_key where id = ?1

-- name: add_operator_key
insert into operator_key (id, name, digest, created_at) values (?1, ?2, ?3, ?4) on conflict (id) do nothing

-- name: operator_key_used
update operator_key set last_used_at = ?2 where id = ?1 and coalesce(last_used_at, 0) < ?2

-- name: revoke_operator_key
update operator_key set revoked_at = ?2 where id = ?1 and revoked_at is null

-- name: every_entry
select id, organization, previous, seq, time, kind, status, user, feature, tokens, balance, reference, key, part,
       link, body
from entry where id > ?1 order by id limit ?2

-- name: every_organization
select number, name, seq, head, last_row, due_at from organization order by number

-- name: every_snapshot
select organization, seq, last_row from snapshot

-- name: every_state
select organization, state from snapshot

-- name: tables
select count(*) from sqlite_master where type = 'table'

-- name: every_person
select organization, user, name from person

-- Here too the index is named.
-- name: follow
select entry.id, organization.name, entry.body, entry.link, person.name
from entry
join organization indexed by sqlite_autoindex_organization_2 on organization.number = entry.organization
left join person on person.organization = entry.organization and person.user = entry.user
where entry.id > ?1 order by entry.id limit ?2

-- name: cursor
select position from cursor where consumer = ?1

-- name: move_cursor
insert into cursor (consumer, position) values (?1, ?2)
on conflict (consumer) do update set position = excluded.position

-- name: meta
select value from meta where name = ?1

-- name: set_meta
insert into meta (name, value) values (?1, ?2) on conflict (name) do update set value = excluded.value
