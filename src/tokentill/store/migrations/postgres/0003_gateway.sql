-- What the endpoint for model calls keeps: keys of customers, and answers to be given again.
--
-- As in 0002_rows, a table is a struct of tokentill.rules and each of its fields a column.

-- The key of a customer, whose secret is kept as a digest only.
create table api_key (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    digest bytea not null,
    name text not null,
    shown text not null,
    purse text not null,
    works_until bigint not null,
    "user" text,
    features text not null,
    models text not null,
    read_only bigint not null,
    bought bigint not null,
    spend_max bigint,
    expires_at bigint,
    revoked_at bigint,
    used_at bigint,
    primary key (organization, id)
);
create index api_key_id on api_key (id);
create index api_key_due on api_key (due_at) where due_at is not null;
create index api_key_bought on api_key (organization, bought, works_until);
create index api_key_works_until on api_key (organization, works_until);
create index api_key_purse on api_key (purse, id);

-- What is handed to a customer with a purchase: the seed of its key until it was handed out, and when what happened.
create table handover (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    purchase text not null,
    seed text not null,
    shown_at bigint,
    first_call_at bigint,
    waiting bigint not null,
    primary key (organization, id)
);
create index handover_id on handover (id);
create index handover_due on handover (due_at) where due_at is not null;
create index handover_waiting on handover (organization, waiting);

-- When the offer was shown that led to an order.
alter table purchase add column offered_at bigint;

-- What a call under an idempotency key answered, encrypted, until it expires; after that, that it ran.
create table stored_answer (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    digest text not null,
    state text not null,
    attempt bigint not null,
    hold text not null,
    started_at bigint not null,
    expires_at bigint not null,
    status bigint not null,
    facts text not null,
    sealed text not null,
    primary key (organization, id)
);
create index stored_answer_id on stored_answer (id);
create index stored_answer_due on stored_answer (due_at) where due_at is not null;

-- A transaction of tokentill_app sees the rows of the organizations that it has named, and those of none.
-- Rows are changed and deleted: unlike the journal they are the present, not the record.
do $$
declare
    name text;
begin
    foreach name in array array['api_key', 'handover', 'stored_answer']
    loop
        execute format('alter table %I enable row level security, force row level security', name);
        execute format(
            'create policy app on %I to tokentill_app using (organization = any ((select array_append('
            'coalesce(nullif(current_setting(''tokentill.organizations'', true), ''''), ''{}'')::text[], ''''))::text[]))',
            name
        );
        execute format('create policy audit on %I for select to tokentill_audit using (true)', name);
        execute format('grant select, insert, update, delete on %I to tokentill_app', name);
        execute format('grant select on %I to tokentill_audit', name);
    end loop;
end
$$;
