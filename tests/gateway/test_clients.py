"""OpenAI's and Anthropic's own Python clients, unmodified, by changing the base URL (R-SALE-5)."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.gateways import Gateway
from tokentill.flows.api_keys import Scope

TOKENS = 100_000
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look", "description": "Look",
        "parameters": {"type": "object", "properties": {"at": {"type": ["string", "null"]}}},
    },
}  # fmt: skip
IMAGE: Any = [
    {"type": "text", "text": "answer=3"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000}},
]


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as made:
        yield made


@pytest.fixture
async def claude(gateway: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as made:
        yield made


async def test_chat(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.with_raw_response.create(
        model="big", messages=[{"role": "user", "content": "answer=3"}], tools=[TOOL]
    )
    assert answer.parse().choices[0].message.content == "w0 w1 w2 "
    assert answer.headers["x-tokentill-charged"] == "4"
    assert gateway.lab.asked[0]["tools"] == [TOOL]
    seen = await client.chat.completions.create(model="big", messages=[{"role": "user", "content": IMAGE}])
    assert seen.usage is not None
    assert gateway.lab.asked[1]["messages"][0]["content"] == IMAGE


async def test_chat_streams(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="big", messages=[{"role": "user", "content": "answer=3"}], stream=True
    )
    chunks = [chunk async for chunk in stream]
    # Whoever takes the first choice of every chunk, as most programs do, is not surprised by one without any.
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "w0 w1 w2 "
    assert chunks[-1].to_dict()["tokentill"]["charged"] == 4  # type: ignore[index]  # what to_dict gives is an object
    told = await client.chat.completions.create(
        model="big", messages=[{"role": "user", "content": "answer=3"}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    last = [chunk async for chunk in told][-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


async def test_responses(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="big", input="answer=3")
    assert answer.output_text == "w0 w1 w2 "
    stream = await client.responses.create(model="big", input="answer=3", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.completed"
    assert events[-1].to_dict()["tokentill"]["charged"] == 4  # type: ignore[index]  # what to_dict gives is an object
    assert await gateway.spent(TOKENS) == 8
    # The client's own helper puts the answer together from its events.
    async with client.responses.stream(model="echo", input="Hello") as told:
        said = await (await told.until_done()).get_final_response()
    assert said.output_text == "Echo (no AI): Hello"


async def test_completions_embeddings_and_models(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    old = await client.completions.create(model="big", prompt="answer=3")
    assert old.choices[0].text == "w0 w1 w2 "
    made = await client.embeddings.create(model="big", input=["one", "two"], encoding_format="float")
    assert len(made.data) == 2
    models = [model.id async for model in client.models.list()]
    assert models[0] == "big"
    assert (await client.models.retrieve("big")).id == "big"
    for name in ("gpt-9", "a/b%c"):
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(name)
    narrow = client.with_options(
        api_key=await gateway.open(0, "narrow", Scope(models=("fixed",), read_only=True))
    )
    assert [model.id async for model in narrow.models.list()] == ["fixed"]
    with pytest.raises(openai.NotFoundError):
        await narrow.models.retrieve("big")


async def test_openais_errors(gateway: Gateway, client: openai.AsyncOpenAI) -> None:
    poor = client.with_options(api_key=await gateway.open(0, "poor"))
    with pytest.raises(openai.APIStatusError) as refused:
        await poor.chat.completions.create(model="big", messages=[{"role": "user", "content": "x"}])
    assert refused.value.status_code == 402
    assert refused.value.code == "insufficient_quota"
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["tokentill"]["offers"][0]["id"] == "small"
    wrong = client.with_options(api_key="nonsense")
    with pytest.raises(openai.AuthenticationError):
        await wrong.models.list()
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])
    assert missing.value.code == "model_not_found"
    stream = await client.chat.completions.create(
        model="big", messages=[{"role": "user", "content": "do=cut answer=9"}], stream=True
    )
    with pytest.raises(openai.APIError):
        _ = [chunk async for chunk in stream]
    assert await gateway.spent(TOKENS) == 0


async def test_messages(gateway: Gateway, claude: anthropic.AsyncAnthropic) -> None:
    answer = await claude.messages.create(
        model="big", max_tokens=50, messages=[{"role": "user", "content": "answer=3"}],
        tools=[{"name": "look", "input_schema": {"type": "object"}}],
    )  # fmt: skip
    assert answer.content[0].to_dict()["text"] == "w0 w1 w2 "
    assert gateway.lab.asked[0]["model"] == "claude-there"
    assert gateway.lab.headers[0]["anthropic-version"]
    assert gateway.lab.headers[0]["x-api-key"] != gateway.key
    async with claude.messages.stream(
        model="big", max_tokens=50, messages=[{"role": "user", "content": "answer=3"}]
    ) as stream:
        assert "".join([text async for text in stream.text_stream]) == "w0 w1 w2 "
        assert (await stream.get_final_message()).usage.output_tokens == 3
    assert await gateway.spent(TOKENS) == 8


async def test_a_stream_that_is_cut_at_its_cap_ends_as_the_clients_expect(
    gateway: Gateway, client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic
) -> None:
    # R-ABU-4
    gateway.lab.obeys = False
    async with claude.messages.stream(
        model="big", max_tokens=20, messages=[{"role": "user", "content": "answer=90"}]
    ) as stream:
        assert (await stream.get_final_message()).stop_reason == "max_tokens"
    async with client.responses.stream(model="big", max_output_tokens=20, input="answer=90") as helped:
        events = [event async for event in helped]
    last: Any = events[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
    assert last.sequence_number == len(events) - 1
    told = await client.chat.completions.create(
        model="big", max_tokens=20, messages=[{"role": "user", "content": "answer=90"}], stream=True
    )
    assert [chunk async for chunk in told][-1].choices[0].finish_reason == "length"


async def test_anthropics_errors(gateway: Gateway, claude: anthropic.AsyncAnthropic) -> None:
    poor = claude.with_options(api_key=await gateway.open(0, "poor"))
    with pytest.raises(anthropic.APIStatusError) as refused:
        await poor.messages.create(model="big", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert refused.value.status_code == 402
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["error"]["tokentill"]["offers"]
    with pytest.raises(anthropic.APIStatusError):
        async with claude.messages.stream(
            model="big", max_tokens=50, messages=[{"role": "user", "content": "do=cut answer=9"}]
        ) as stream:
            await stream.get_final_message()
    assert await gateway.spent(TOKENS) == 0
