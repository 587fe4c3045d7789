"""The sections of a catalog that say which models are sold: what they mean, what is refused, what is warned of."""

import pytest

from tests.rules.test_catalog_file import FEATURE, HEAD, PACK, PLAN, WHOLE, problems, read
from tokentill.catalogs import preset_text
from tokentill.rules.catalog_file import load
from tokentill.rules.models import Model, Target, Upstream

UPSTREAM = """
[upstreams.there]
base_url = "https://example.com/v1"
key_env = "THERE_KEY"
"""
MODEL = """
[models.op]
upstreams = ["there:big"]
"""
SOLD = WHOLE + UPSTREAM + MODEL


def test_a_catalog_may_sell_no_model() -> None:
    # R-SALE-5
    catalog = read(WHOLE)
    assert (catalog.upstreams, catalog.models) == ({}, {})


def test_what_holds_when_little_is_said() -> None:
    # R-SALE-5, R-PLAN-3
    catalog = read(SOLD)
    assert catalog.upstreams == {"there": Upstream("there", "openai", "https://example.com/v1", "THERE_KEY")}
    assert catalog.models == {
        "op": Model("op", "op", "op", (Target("there", "big"),), 128_000, 4_096, 30_000, 600_000)
    }


def test_everything_said() -> None:
    # R-SALE-5
    text = """
[upstreams.claude]
kind = "anthropic"
base_url = "http://127.0.0.1:9000/v1/"
[upstreams.echo]
kind = "echo"
[models."big.one"]
title = "The big one"
feature = "op"
upstreams = ["claude:a/b:c", "echo:echo"]
context_tokens = 200_000
output_tokens_max = 8_000
first_byte_seconds = 5
total_minutes = 2
"""
    catalog = read(WHOLE + text)
    assert catalog.upstreams["claude"] == Upstream("claude", "anthropic", "http://127.0.0.1:9000/v1")
    assert catalog.upstreams["echo"] == Upstream("echo", "echo")
    targets = (Target("claude", "a/b:c"), Target("echo", "echo"))
    assert catalog.models["big.one"] == Model(
        "big.one", "The big one", "op", targets, 200_000, 8_000, 5_000, 120_000
    )


CANARY = "sk-canary0123456789"
TARGET = 'write the name of an upstream, a colon and the model there, such as "openai:gpt-4o"'
ADDRESS = "not the address of an API; write https://host/v1, without a name, a query or a fragment"
VARIABLE = (
    "upstreams.x.key_env: not the name of an environment variable; write its name, such as OPENAI_API_KEY, "
    "and never the key itself"
)


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ('[upstreams.x]\nbase_url = "example.com"',
         f"upstreams.x.base_url: {ADDRESS}"),
        ('[upstreams.x]\nbase_url = "https://me:secret@example.com/v1"',
         f"upstreams.x.base_url: {ADDRESS}"),
        ("[upstreams.x]\n", "upstreams.x.base_url: missing; write a text"),
        (f'[upstreams.x]\nbase_url = "https://e.com/v1"\nkey_env = "{CANARY}"',
         VARIABLE),
        ('[upstreams.x]\nkind = "echo"\nkey_env = "KEY"',
         "upstreams.x.key_env: the echo upstream is built in and calls nobody; remove it"),
        ('[upstreams.x]\nkind = "opnai"\nbase_url = "https://e.com/v1"',
         'upstreams.x.kind: "opnai" does not fit here; did you mean "openai"?'),
        ('[models.other]\nupstreams = ["there:x"]',
         "models.other.feature: missing, and no feature has the id of the model; allowed here: op"),
        ('[models.other]\nfeature = "opp"\nupstreams = ["there:x"]',
         'models.other.feature: "opp" does not fit here; did you mean "op"?'),
        ('[models.other]\nfeature = "op"\nupstreams = ["ther:x"]',
         'models.other.upstreams: "ther" is not an upstream; did you mean "there"?'),
        ('[models.other]\nfeature = "op"\nupstreams = ["there"]',
         f'models.other.upstreams: "there" does not name a model; {TARGET}'),
        ('[models.other]\nfeature = "op"\nupstreams = []',
         f"models.other.upstreams: nobody would answer this model; {TARGET}"),
        ('[models.other]\nfeature = "op"\nupstreams = ["there:x"]\nfirst_byte_minutes = 11\ntotal_minutes = 20',
         "models.other.first_byte_seconds: no first byte is waited for so long; write 10 minutes or less"),
        ('[models.other]\nfeature = "op"\nupstreams = ["there:x"]\ntotal_seconds = 3',
         "models.other.total_seconds: no call lasts so long; write first_byte_seconds or more, and at most 4 hours"),
        ('[models.other]\nfeature = "op"\nupstreams = ["there:x"]\nprice = 3',
         "models.other.price: unknown key; allowed here: "),
    ],
)  # fmt: skip
def test_what_is_refused(written: str, wrong: str) -> None:
    # R-SALE-5
    [problem] = problems(SOLD + written + "\n")
    assert problem.partition(": ")[2].startswith(wrong)
    assert CANARY not in problem


def warned(text: str) -> list[tuple[str, str]]:
    return [(finding.code, finding.path) for finding in load(text, "till.toml")[1]]


@pytest.mark.parametrize(
    ("base", "plain"),
    [
        ("http://api.example.com/v1", True),
        ("http://8.8.8.8/v1", True),
        ("https://api.example.com/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("http://192.168.1.4/v1", False),
        ("http://vllm:8000/v1", False),
        ("http://vllm.internal/v1", False),
        ("http://localhost:11434/v1", False),
    ],
)
def test_plain_text_over_a_public_network_is_warned_of(base: str, plain: bool) -> None:
    # R-SALE-5
    text = SOLD.replace("https://example.com/v1", base)
    assert (("upstream-plain", "upstreams.there.base_url") in warned(text)) == plain


def test_what_is_warned_of() -> None:
    # R-SALE-5
    before = warned(SOLD)
    idle = '[upstreams.idle]\nkind = "echo"\n'
    assert set(warned(SOLD + idle)) - set(before) == {("upstream-unused", "upstreams.idle")}
    wide = "context_tokens = 10\noutput_tokens_max = 11\n"
    assert set(warned(SOLD + wide)) - set(before) == {("no-effect", "models.op.output_tokens_max")}
    pack = PACK + 'model = "none"\n'
    text = HEAD + FEATURE + PLAN + pack + UPSTREAM + MODEL
    assert set(warned(text)) - set(before) == {("pack-model-unknown", "packs.small.model")}


def test_the_shop_sells_its_models_and_an_echo() -> None:
    # R-SALE-4, R-SALE-5
    catalog = read(preset_text("shop"))
    assert set(catalog.models) == {"gpt-4", "gpt-4o-mini", "text-embedding-3-small", "echo"}
    assert {pack.model for pack in catalog.packs.values()} <= set(catalog.models)
    assert catalog.upstreams["openai"].key_env == "OPENAI_API_KEY"
    assert "no AI" in catalog.models["echo"].title
