-- The statements of a table of rows, on both engines. {table} and {columns} are filled in from a struct, @1 and on
-- are the parameters.

-- name: add
insert into {table} ({columns}) values ({values}) on conflict do nothing returning 1

-- name: get
select {columns} from {table} where organization = @1 and id = @2

-- One on SQLite, a list on PostgreSQL.
-- name: among
select {columns} from {table} where id = {one}

-- name: put
update {table} set {changes} where organization = {organization} and id = {id} and version = {version} - 1 returning 1

-- Whether a row that is not there to be put is another organization's.
-- name: moved
select 1 from {table} where id = @1 and organization <> @2 and created_at = @3 limit 1

-- name: drop
delete from {table} where organization = @1 and id = @2 returning 1

-- name: find
select {columns} from {table} where {condition} order by {newest} desc, organization desc limit {limit}

-- No further than the room is full.
-- name: count
select count(*) from (select 1 from {table} where {condition} limit {limit}) as taken

-- Over an index of that column alone.
-- name: tally
select "{column}", count(*) from {table} group by "{column}"

-- name: due
select organization, id from {table} where due_at <= @1 order by due_at, id limit @2

-- On SQLite.
-- name: lease
update {table} set due_at = @3, version = version + 1 where organization = @1 and id = @2 returning {columns}

-- On PostgreSQL: a row that another claim or change holds at this moment is passed over, so claims never wait.
-- name: claim
with mine as materialized (
    select organization, id, due_at from {table}
    where (organization, id) in (select * from unnest(@1::text[], @2::text[])) and due_at <= @3
    for update skip locked
)
update {table} as its set due_at = @4, version = its.version + 1
from mine where its.organization = mine.organization and its.id = mine.id
returning mine.due_at, {own_columns}
