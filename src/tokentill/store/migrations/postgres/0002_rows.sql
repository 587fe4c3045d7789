-- What the shop keeps beside the journal: purchases, events of payment providers, notices, and the like.
--
-- A table is a struct of tokentill.rules and each of its fields a column. Times are epoch milliseconds, truths 0
-- or 1, money is minor units; what is no single value is JSON text. version counts the changes of a row, due_at is
-- when it must be looked at next. A row belongs to an organization or, where that is empty, to the operator.
--
-- Beside its primary key each table has an index to find a row of any organization by its id, or the newest ones,
-- and one of what is due. The others are listed in tokentill.store.rows.

-- An order and everything that is known of it, as JSON where it is a set of facts; from state on what is read off
-- them. It counts toward a limit until slot_until or promo_until, which is checked where a purchase is added.
create table purchase (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    kind text not null,
    item text not null,
    title text not null,
    amount bigint not null,
    currency text not null,
    list_amount bigint not null,
    tokens bigint not null,
    bonus bigint not null,
    valid_days bigint,
    promo text,
    provider text not null,
    mode text not null,
    source text not null,
    "user" text,
    slot_ms bigint not null,
    asked text not null,
    credit bigint not null,
    payer text,
    return_url text not null,
    problem text,
    plan_start bigint,
    plan_end bigint,
    periods bigint not null,
    flagged text,
    checkout text,
    url text,
    expires_at bigint,
    payments text not null,
    declines text not null,
    decline_code text,
    ended bigint not null,
    refunds text not null,
    refunds_failed text not null,
    disputes text not null,
    suspicions text not null,
    outgoes text not null,
    subscription text,
    invoice text,
    failed_at bigint,
    voided bigint not null,
    doing text,
    done text not null,
    delivered_at bigint,
    lots text not null,
    state text not null,
    paid_at bigint,
    payment text,
    method text,
    refunded bigint not null,
    slot_until bigint not null,
    promo_until bigint not null,
    primary key (organization, id)
);
create index purchase_id on purchase (id);
create index purchase_due on purchase (due_at) where due_at is not null;
create index purchase_slot_until on purchase (organization, kind, slot_until);
create index purchase_paid_at on purchase (organization, kind, paid_at);
create index purchase_promo on purchase (promo, promo_until) where promo is not null;
create index purchase_method on purchase (method, slot_until) where method is not null;
create index purchase_state on purchase (state, id);
create index purchase_flagged on purchase (flagged, id) where flagged is not null;
create index purchase_subscription on purchase (subscription, id) where subscription is not null;
create index purchase_invoice on purchase (invoice) where invoice is not null;

-- Which purchase an object of a payment provider belongs to.
create table reference (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    purchase text not null,
    owner text not null,
    primary key (organization, id)
);
create index reference_id on reference (id);
create index reference_due on reference (due_at) where due_at is not null;
create index reference_purchase on reference (purchase);

-- Events of payment providers as they were sent, each stored once, before it is answered.
create table provider_event (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    provider text not null,
    type text not null,
    body text not null,
    state text not null,
    tries bigint not null,
    problem text,
    primary key (organization, id)
);
create index provider_event_id on provider_event (id);
create index provider_event_due on provider_event (due_at) where due_at is not null;
create index provider_event_state on provider_event (state, id);
create index provider_event_type on provider_event (type, id);

-- A subscription at a provider: who bills the plan that the account holds.
create table subscription (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    provider text not null,
    ref text not null,
    plan text,
    status text not null,
    amount bigint,
    currency text not null,
    next_plan text,
    change text,
    customer text,
    saved text,
    period_end bigint,
    ends_at bigint,
    trial_end bigint,
    read_at bigint not null,
    card text,
    primary key (organization, id)
);
create index subscription_id on subscription (id);
create index subscription_due on subscription (due_at) where due_at is not null;
create index subscription_status on subscription (status, id);
create index subscription_plan on subscription (plan, id) where plan is not null;
create index subscription_customer on subscription (customer) where customer is not null;

-- A payment method an organization has used.
create table payer (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    provider text not null,
    method text not null,
    customer text,
    saved text,
    label text not null,
    used_at bigint not null,
    forgotten_at bigint,
    primary key (organization, id)
);
create index payer_id on payer (id);
create index payer_due on payer (due_at) where due_at is not null;
create index payer_method_used_at on payer (method, used_at);
create index payer_customer on payer (customer) where customer is not null;

-- Auto top-up of an organization.
create table top_up (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    enabled bigint not null,
    threshold bigint not null,
    pack text not null,
    ceiling bigint not null,
    use_credit bigint not null,
    stopped text,
    stopped_at bigint,
    month text not null,
    spent bigint not null,
    purchase text,
    untold text not null,
    primary key (organization, id)
);
create index top_up_id on top_up (id);
create index top_up_due on top_up (due_at) where due_at is not null;

-- What an operator should look at, raised once for each cause.
create table alert (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    code text not null,
    text text not null,
    seen_by text,
    seen_at bigint,
    primary key (organization, id)
);
create index alert_id on alert (id);
create index alert_due on alert (due_at) where due_at is not null;
create index alert_code on alert (code, id);

-- Kill switches; no row means on.
create table switch (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    "on" bigint not null,
    reason text not null,
    actor text not null,
    at bigint not null,
    primary key (organization, id)
);
create index switch_id on switch (id);
create index switch_due on switch (due_at) where due_at is not null;

-- Codes that bring tokens once, each under a digest.
create table redemption_code (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    shown text not null,
    batch text not null,
    tokens bigint not null,
    title text not null,
    valid_days bigint,
    expires_at bigint,
    used_at bigint,
    used_by text,
    purchase text,
    revoked bigint not null,
    primary key (organization, id)
);
create index redemption_code_id on redemption_code (id);
create index redemption_code_due on redemption_code (due_at) where due_at is not null;
create index redemption_code_batch on redemption_code (batch, id);
create index redemption_code_purchase on redemption_code (purchase) where purchase is not null;

-- Where an organization gets its e-mail.
create table contact (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    email text not null,
    name text not null,
    quiet text not null,
    primary key (organization, id)
);
create index contact_id on contact (id);
create index contact_due on contact (due_at) where due_at is not null;
create index contact_email on contact (email);

-- Addresses that get signed webhooks.
create table endpoint (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    url text not null,
    secret text not null,
    events text not null,
    enabled bigint not null,
    failing_since bigint,
    primary key (organization, id)
);
create index endpoint_id on endpoint (id);
create index endpoint_due on endpoint (due_at) where due_at is not null;

-- Notices on their way: an e-mail, or an event to an endpoint.
create table message (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    channel text not null,
    "to" text not null,
    type text not null,
    body text not null,
    state text not null,
    tries bigint not null,
    problem text,
    sent_at bigint,
    primary key (organization, id)
);
create index message_id on message (id);
create index message_due on message (due_at) where due_at is not null;
create index message_state on message (state, id);
create index message_to on message ("to", id);
create index message_type on message (type, id);

-- What the embedded provider, which moves no money, remembers of a payment.
create table embedded_payment (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    purchase text not null,
    title text not null,
    amount bigint not null,
    currency text not null,
    expires_at bigint not null,
    success_url text not null,
    cancel_url text not null,
    state text not null,
    card text not null,
    tries bigint not null,
    paid_at bigint,
    refunded bigint not null,
    dispute text,
    warned bigint not null,
    plan text,
    recurring bigint not null,
    interval text,
    interval_days bigint not null,
    trial_days bigint not null,
    anchor bigint not null,
    billed bigint not null,
    next_at bigint,
    failed_at bigint,
    failures bigint not null,
    ends_at bigint,
    ended bigint not null,
    draft text,
    edition bigint not null,
    credited text not null,
    untold text not null,
    primary key (organization, id)
);
create index embedded_payment_id on embedded_payment (id);
create index embedded_payment_due on embedded_payment (due_at) where due_at is not null;
create index embedded_payment_purchase on embedded_payment (purchase);

-- What customers say: ratings and support tickets.
create table feedback (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    kind text not null,
    tally text not null,
    text text not null,
    score bigint,
    topic text,
    purchase text,
    primary key (organization, id)
);
create index feedback_id on feedback (id);
create index feedback_due on feedback (due_at) where due_at is not null;
create index feedback_tally on feedback (tally, id);
create index feedback_kind on feedback (kind, id);

-- What plans and packs brought and used in a month that is over.
create table margin_month (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    month text not null,
    lines text not null,
    booked text not null,
    primary key (organization, id)
);
create index margin_month_id on margin_month (id);
create index margin_month_due on margin_month (due_at) where due_at is not null;
create index margin_month_month on margin_month (month, id);

-- The check of each month's margins.
create table margin_check (
    id text collate "C" not null check (length(id) between 1 and 400),
    organization text collate "C" not null check (length(organization) <= 128),
    version bigint not null,
    created_at bigint not null,
    due_at bigint,
    reached text not null,
    done_at bigint,
    primary key (organization, id)
);
create index margin_check_id on margin_check (id);
create index margin_check_due on margin_check (due_at) where due_at is not null;

-- A transaction of tokentill_app sees the rows of the organizations that it has named, and those of none.
-- Rows are changed and deleted: unlike the journal they are the present, not the record.
do $$
declare
    name text;
begin
    foreach name in array array[
        'purchase', 'reference', 'provider_event', 'subscription', 'payer', 'top_up', 'alert', 'switch',
        'redemption_code', 'contact', 'endpoint', 'message', 'embedded_payment', 'feedback', 'margin_month',
        'margin_check'
    ]
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
