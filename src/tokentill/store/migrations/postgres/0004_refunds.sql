-- What the refund engine keeps: quotes and what became of them, uses of the guarantee, and what refunds ask of purchases.
--
-- As in 0002_rows, a table is a struct of tokentill.rules and each of its fields a column.

alter table purchase add column credit_used bigint not null default 0;
alter table purchase add column further text not null default '[]';
alter table purchase add column replaces text;
alter table purchase add column replaced_by text;
alter table purchase add column earlier text not null default '[]';
alter table purchase add column approach text;
alter table purchase add column carried bigint;
alter table purchase add column withdrawal_waived_at bigint;
alter table purchase add column claims text not null default '[]';
alter table purchase add column taking text;
alter table purchase add column taken text not null default '[]';
alter table purchase add column accounted bigint not null default 0;
alter table purchase add column sweep text not null default '';
alter table embedded_payment add column refund_keys text not null default '[]';
alter table embedded_payment add column invoice_refunds text not null default '[]';

-- Each refund quote that was shown, and what became of it.
create table refund (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    purchase text not null,
    quote text not null,
    item text not null,
    segment text not null,
    approach text,
    reason text,
    text text not null,
    since_ms bigint not null,
    "user" text,
    region text,
    state text not null,
    choice text,
    larger text,
    payer text,
    accepted_at bigint,
    money bigint not null,
    credit bigint not null,
    tokens bigint not null,
    guarantee bigint not null,
    needs text not null,
    signals text not null,
    seen text not null,
    opinions text not null,
    ends text,
    problem text,
    tries bigint not null,
    next text,
    upgrade text,
    settled_at bigint,
    use_credit bigint not null,
    ends_plan bigint not null,
    told text,
    primary key (organization, id)
);
create index refund_id on refund (id);
create index refund_due on refund (due_at) where due_at is not null;
create index refund_purchase on refund (purchase);
create index refund_state on refund (state, id);

-- Who has used the guarantee; a row each for the customer and the payment method.
create table guarantee (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    refund text not null,
    owner text not null,
    primary key (organization, id)
);
create index guarantee_id on guarantee (id);
create index guarantee_due on guarantee (due_at) where due_at is not null;

-- A transaction of tokentill_app sees the rows of the organizations that it has named, and those of none.
-- Rows are changed and deleted: unlike the journal they are the present, not the record.
do $$
declare
    name text;
begin
    foreach name in array array['refund', 'guarantee']
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
