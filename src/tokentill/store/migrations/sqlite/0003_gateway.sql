-- What the endpoint for model calls keeps: keys of customers, and answers to be given again.
--
-- As in 0002_rows, a table is a struct of tokentill.rules and each of its fields a column.

-- The key of a customer, whose secret is kept as a digest only.
create table api_key (
    id text not null check (length(id) between 1 and 400),
    organization text not null check (length(organization) <= 128),
    version integer not null,
    created_at integer not null,
    due_at integer,
    digest blob not null,
    name text not null,
    shown text not null,
    purse text not null,
    works_until integer not null,
    "user" text,
    features text not null,
    models text not null,
    read_only integer not null,
    bought integer not null,
    spend_max integer,
    expires_at integer,
    revoked_at integer,
    used_at integer,
    primary key (organization, id)
);
create index api_key_id on api_key (id);
create index api_key_due on api_key (due_at) where due_at is not null;
create index api_key_bought on api_key (organization, bought, works_until);
create index api_key_works_until on api_key (organization, works_until);
create index api_key_purse on api_key (purse, id);

-- What is handed to a customer with a purchase: the seed of its key until it was handed out, and when what happened.
create table handover (
    id text not null check (length(id) between 1 and 400),
    organization text not null check (length(organization) <= 128),
    version integer not null,
    created_at integer not null,
    due_at integer,
    purchase text not null,
    seed text not null,
    shown_at integer,
    first_call_at integer,
    waiting integer not null,
    primary key (organization, id)
);
create index handover_id on handover (id);
create index handover_due on handover (due_at) where due_at is not null;
create index handover_waiting on handover (organization, waiting);

-- When the offer was shown that led to an order.
alter table purchase add column offered_at integer;

-- What a call under an idempotency key answered, encrypted, until it expires; after that, that it ran.
create table stored_answer (
    id text not null check (length(id) between 1 and 400),
    organization text not null check (length(organization) <= 128),
    version integer not null,
    created_at integer not null,
    due_at integer,
    digest text not null,
    state text not null,
    attempt integer not null,
    hold text not null,
    started_at integer not null,
    expires_at integer not null,
    status integer not null,
    facts text not null,
    sealed text not null,
    primary key (organization, id)
);
create index stored_answer_id on stored_answer (id);
create index stored_answer_due on stored_answer (due_at) where due_at is not null;
