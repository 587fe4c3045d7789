-- What the refund engine keeps: quotes and what became of them, uses of the guarantee, and what refunds ask of purchases.
--
-- As in 0002_rows, a table is a struct of tokentill.rules and each of its fields a column.

alter table purchase add column credit_used integer not null default 0;
alter table purchase add column further text not null default '[]';
alter table purchase add column replaces text;
alter table purchase add column replaced_by text;
alter table purchase add column earlier text not null default '[]';
alter table purchase add column approach text;
alter table purchase add column carried integer;
alter table purchase add column withdrawal_waived_at integer;
alter table purchase add column claims text not null default '[]';
alter table purchase add column taking text;
alter table purchase add column taken text not null default '[]';
alter table purchase add column accounted integer not null default 0;
alter table purchase add column sweep text not null default '';
alter table embedded_payment add column refund_keys text not null default '[]';
alter table embedded_payment add column invoice_refunds text not null default '[]';

-- Each refund quote that was shown, and what became of it.
create table refund (
    id text not null check (length(id) between 1 and 400),
    organization text not null check (length(organization) <= 128),
    version integer not null,
    created_at integer not null,
    due_at integer,
    purchase text not null,
    quote text not null,
    item text not null,
    segment text not null,
    approach text,
    reason text,
    text text not null,
    since_ms integer not null,
    "user" text,
    region text,
    state text not null,
    choice text,
    larger text,
    payer text,
    accepted_at integer,
    money integer not null,
    credit integer not null,
    tokens integer not null,
    guarantee integer not null,
    needs text not null,
    signals text not null,
    seen text not null,
    opinions text not null,
    ends text,
    problem text,
    tries integer not null,
    next text,
    upgrade text,
    settled_at integer,
    use_credit integer not null,
    ends_plan integer not null,
    told text,
    primary key (organization, id)
);
create index refund_id on refund (id);
create index refund_due on refund (due_at) where due_at is not null;
create index refund_purchase on refund (purchase);
create index refund_state on refund (state, id);

-- Who has used the guarantee; a row each for the customer and the payment method.
create table guarantee (
    id text not null check (length(id) between 1 and 400),
    organization text not null check (length(organization) <= 128),
    version integer not null,
    created_at integer not null,
    due_at integer,
    refund text not null,
    owner text not null,
    primary key (organization, id)
);
create index guarantee_id on guarantee (id);
create index guarantee_due on guarantee (due_at) where due_at is not null;
