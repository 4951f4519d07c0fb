"""Anthropic's Python SDK, unchanged but for its base URL, in front of each provider."""

import asyncio

import anthropic
import pytest
from pydantic import BaseModel

from conftest import GATEWAY, IMAGE_URL, KEY, PDF, PNG, SECONDS, base64
from received import Received, checksum
from scenarios import BREAKING_STREAMS, assert_reasoning_came_back, assert_second_turn

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city"],
    },
}
TIME = {
    "name": "get_time",
    "description": "The time in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
HELLO = [{"role": "user", "content": "Say hello."}]
QUESTION = [{"role": "user", "content": "The weather in Paris and the time in Oslo?"}]
THINKING = {"type": "enabled", "budget_tokens": 2048}


@pytest.fixture(scope="module")
def client():
    with anthropic.Anthropic(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=SECONDS) as client:
        yield client


@pytest.fixture
def create(client, model):
    def create(scenario, messages=HELLO, max_tokens=4096, **options):
        return client.messages.create(model=model(scenario), messages=messages, max_tokens=max_tokens, **options)

    return create


@pytest.fixture
def stream(client, model):
    """The SDK's helper, which builds the message from a stream's events."""

    def stream(scenario, messages=HELLO, max_tokens=4096, **options):
        with client.messages.stream(
            model=model(scenario), messages=messages, max_tokens=max_tokens, **options
        ) as stream:
            return stream.get_final_message()

    return stream


@pytest.fixture
def describe(create):
    """Sends a request to a model that answers with what the provider received."""
    return lambda messages, **options: Received(text_of(create("describe", messages, **options)))


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def calls_of(message):
    return [block for block in message.content if block.type == "tool_use"]


# --- Answers


def test_a_whole_answer_has_text_stop_reason_and_usage(create):
    message = create("chat")
    assert message.type == "message" and message.role == "assistant" and message.id and message.model
    assert text_of(message) and message.stop_reason == "end_turn" and message.stop_sequence is None
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_a_streamed_answer_says_the_same_as_a_whole_one(create, stream):
    whole, streamed = create("chat"), stream("chat")
    assert text_of(streamed) == text_of(whole) and streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens


def test_the_events_of_a_stream_come_in_anthropics_order(create):
    events = list(create("chat", stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds[1] == "content_block_start" and kinds[-3] == "content_block_stop"
    assert kinds.count("content_block_delta") > 1
    assert events[0].message.content == [] and events[0].message.stop_reason is None


def test_an_answer_cut_at_the_token_limit_says_so(create, stream):
    assert create("chat", max_tokens=5).stop_reason == "max_tokens"
    assert stream("chat", max_tokens=5).stop_reason == "max_tokens"


def test_an_answer_that_was_filtered_says_so(create):
    assert create("filtered").stop_reason == "refusal"


def test_cached_tokens_are_told_apart(create, stream):
    for message in (create("usage"), stream("usage")):
        assert message.usage.cache_read_input_tokens > 0 and message.usage.input_tokens > 0


async def _answer(model):
    async with anthropic.AsyncAnthropic(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=SECONDS) as client:
        whole = await client.messages.create(model=model, messages=HELLO, max_tokens=100)
        async with client.messages.stream(model=model, messages=HELLO, max_tokens=100) as stream:
            text = "".join([text async for text in stream.text_stream])
    return text_of(whole), text


def test_the_asynchronous_client_works_the_same(model):
    whole, streamed = asyncio.run(_answer(model("chat")))
    assert whole and whole == streamed


# --- What the provider receives


def test_instructions_and_turns_arrive_in_order(describe):
    seen = describe(
        [
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Un."},
            {"role": "user", "content": [{"type": "text", "text": "Two "}, {"type": "text", "text": "ünd 🌍?"}]},
        ],
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Answer in French."}],
    )
    assert seen.system == "Be brief.\nAnswer in French."
    assert seen.roles == ["user", "assistant", "user"]
    assert seen.texts("assistant") == ["Un."]
    assert "".join(seen.texts("user")) == "One?Two ünd 🌍?"
    assert describe(HELLO, system="Be brief.").system == "Be brief."


def test_parameters_arrive(describe):
    seen = describe(HELLO, stop_sequences=["END", "###"], max_tokens=1234, extra_body={"temperature": 0.25})
    assert seen.stop == ["END", "###"] and seen.max_tokens == 1234 and seen.parameters["temperature"] == 0.25


def test_a_stop_sequence_ends_the_answer(create, provider):
    message = create("echo", [{"role": "user", "content": "One, two, END, three"}], stop_sequences=["END"])
    assert text_of(message) == "One, two, "
    # The other providers do not say that a stop sequence was the reason.
    expected = ("stop_sequence", "END") if provider == "anthropic" else ("end_turn", None)
    assert (message.stop_reason, message.stop_sequence) == expected


def test_images_arrive_inline_and_by_address(describe):
    source = {"type": "base64", "media_type": "image/png", "data": base64(PNG)}
    seen = describe(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": source},
                    {"type": "image", "source": {"type": "url", "url": IMAGE_URL}},
                ],
            }
        ]
    )
    inline, by_address = seen.media("image")
    assert inline == ("image/png", checksum(PNG)) and by_address[1] == IMAGE_URL
    assert seen.texts("user") == ["What is this?"]


def test_a_pdf_arrives(describe):
    source = {"type": "base64", "media_type": "application/pdf", "data": base64(PDF)}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "Summarise."}]
    seen = describe([{"role": "user", "content": content}])
    assert seen.media("document") == [("application/pdf", checksum(PDF))]


def test_what_a_target_cannot_express_is_named(client, model, provider):
    content = [{"type": "text", "text": "Hello.", "cache_control": {"type": "ephemeral"}}]
    raw = client.messages.with_raw_response.create(
        model=model("chat"), max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert ("cache_control" in raw.headers.get("x-tidegate-dropped", "")) == (provider != "anthropic")
    assert raw.headers["x-tidegate-target"].startswith(f"{provider}/")


# --- Tools


def test_tools_and_the_choice_among_them_arrive(describe):
    seen = describe(HELLO, tools=[WEATHER, TIME], tool_choice={"type": "any"})
    assert set(seen.tools) == {"get_weather", "get_time"} and seen.tool_choice == "any"
    schema = seen.tools["get_weather"]
    assert schema["properties"]["unit"]["enum"] == ["c", "f"] and schema["required"] == ["city"]
    assert describe(HELLO, tools=[WEATHER, TIME], tool_choice={"type": "tool", "name": "get_time"}).tool_choice == ["get_time"]
    assert describe(HELLO, tools=[WEATHER, TIME], tool_choice={"type": "none"}).tool_choice == "none"


def results(calls):
    return {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": calls[0].id, "content": "12 °C, rain"},
            {"type": "tool_result", "tool_use_id": calls[1].id, "content": "Error: no such city", "is_error": True},
        ],
    }


def by_hand(calls):
    """An assistant message of the three fields that every client keeps, and nothing else."""
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in calls],
    }


@pytest.mark.parametrize("history", ["the SDK's blocks", "by hand", "streamed", "streamed, by hand"])
def test_parallel_tool_calls_go_around_over_two_turns(create, stream, describe, provider, history):
    ask = stream if history.startswith("streamed") else create
    message = ask("tools", QUESTION, tools=[WEATHER, TIME], thinking=THINKING)
    calls = calls_of(message)
    assert message.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert len({call.id for call in calls}) == 2
    is_by_hand = history.endswith("by hand")
    turn = by_hand(calls) if is_by_hand else {"role": "assistant", "content": message.content}
    # Anthropic itself refuses to think on where its own thinking blocks were left out.
    options = {} if is_by_hand and provider == "anthropic" else {"thinking": THINKING}
    seen = describe([*QUESTION, turn, results(calls)], tools=[WEATHER, TIME], **options)
    assert_second_turn(
        seen, provider, [call.input for call in calls], has_thinking=bool(options), errors_are_flagged=True
    )


def test_the_sdks_tool_runner_finishes_on_its_own(client, model):
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Where.
        """
        return f"Rain in {city}"

    @anthropic.beta_tool
    def get_time(city: str) -> str:
        """The time in a city.

        Args:
            city: Where.
        """
        return f"Noon in {city}"

    runner = client.beta.messages.tool_runner(
        model=model("tools"), max_tokens=4096, messages=QUESTION, tools=[get_weather, get_time]
    )
    last = runner.until_done()
    assert last.stop_reason == "end_turn"
    assert "get_weather said: Rain in " in text_of(last) and "get_time said: Noon in " in text_of(last)


def test_a_tool_result_may_hold_an_image(create, describe):
    message = create("tools", QUESTION, tools=[WEATHER, TIME])
    calls = calls_of(message)
    source = {"type": "base64", "media_type": "image/png", "data": base64(PNG)}
    picture = {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": calls[0].id,
                "content": [{"type": "text", "text": "A radar picture"}, {"type": "image", "source": source}],
            },
            {"type": "tool_result", "tool_use_id": calls[1].id, "content": "12:00"},
        ],
    }
    seen = describe([*QUESTION, {"role": "assistant", "content": message.content}, picture], tools=[WEATHER, TIME])
    assert seen.media("image") == [("image/png", checksum(PNG))]
    assert "A radar picture" in seen.parts("result")[0].text


# --- Reasoning


def test_reasoning_is_asked_for_shown_and_returned(create, stream, provider, describe):
    assert describe(HELLO, thinking=THINKING).reasoning
    message = create("reasoning", thinking=THINKING)
    [thinking] = [block for block in message.content if block.type == "thinking"]
    assert thinking.thinking and isinstance(thinking.signature, str)
    assert message.content[0] == thinking and text_of(message)
    streamed = stream("reasoning", thinking=THINKING)
    assert [block.thinking for block in streamed.content if block.type == "thinking"] == [thinking.thinking]
    assert text_of(streamed) == text_of(message)
    for earlier in (message, streamed):
        turns = [*HELLO, {"role": "assistant", "content": earlier.content}, {"role": "user", "content": "And now?"}]
        assert_reasoning_came_back(describe(turns, thinking=THINKING), provider, thinking.thinking, text_of(message))


# --- Structured output


class City(BaseModel):
    name: str
    population: int
    districts: list[str]


def test_the_sdks_parse_helper_returns_an_object(client, model, describe):
    parsed = client.messages.parse(model=model("structured"), messages=HELLO, max_tokens=1000, output_format=City)
    assert isinstance(parsed.parsed_output, City)
    form = {"type": "json_schema", "schema": {**City.model_json_schema(), "additionalProperties": False}}
    schema = describe(HELLO, output_config={"format": form}).schema
    assert set(schema["properties"]) == {"name", "population", "districts"}


# --- Counting and lists


def test_tokens_are_counted(client, model):
    short = client.messages.count_tokens(model=model("chat"), messages=HELLO)
    long = client.messages.count_tokens(
        model=model("chat"), system="Be brief. " * 50, messages=[*HELLO, {"role": "assistant", "content": "Hello."}, *HELLO]
    )
    assert 0 < short.input_tokens < long.input_tokens


def test_models_can_be_listed(client):
    names = [model.id for model in client.models.list()]
    assert any(name.startswith("anthropic/claude") for name in names)
    assert any(name.startswith("openai/gpt") for name in names)
    assert client.models.retrieve(names[0]).id == names[0]


# --- Errors


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("scenario", "exception", "status", "kind"),
    [
        ("bad_request", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("context_length", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("no_such_model", anthropic.NotFoundError, 404, "not_found_error"),
        ("rate_limited", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("overloaded", anthropic.ServiceUnavailableError, 503, "overloaded_error"),
        ("broken", anthropic.InternalServerError, 502, "api_error"),
        ("wrong_key", anthropic.InternalServerError, 502, "api_error"),
        ("out_of_quota", anthropic.InternalServerError, 503, None),
    ],
)
def test_a_refusal_raises_the_exception_that_users_know(create, scenario, exception, status, kind, streamed):
    with pytest.raises(exception) as raised:
        create(scenario, stream=streamed)
    error = raised.value
    assert error.status_code == status and error.api_message and error.request_id
    assert error.body["type"] == "error"
    assert kind in (None, error.type)
    if scenario == "rate_limited":
        assert int(error.response.headers["retry-after"]) >= 1


def test_a_silent_provider_raises_a_gateway_timeout(create):
    with pytest.raises(anthropic.GatewayTimeoutError) as raised:
        create("silent", extra_headers={"x-tidegate-timeout": "500ms"})
    assert raised.value.type == "timeout_error"


def test_a_model_that_nobody_serves_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.messages.create(model="anthropik/claude-sonnet-4-5", messages=HELLO, max_tokens=10)
    assert "anthropik/claude-sonnet-4-5" in raised.value.api_message


def test_a_missing_field_is_a_bad_request(client, model):
    with pytest.raises(anthropic.BadRequestError):
        client.post("/v1/messages", cast_to=object, body={"model": model("chat"), "max_tokens": 10})


@pytest.mark.parametrize("scenario", BREAKING_STREAMS)
def test_a_stream_that_breaks_raises(create, scenario):
    text = ""
    with pytest.raises(anthropic.APIStatusError) as raised:
        for event in create(scenario, stream=True):
            assert event.type not in ("message_stop", "message_delta")
            if event.type == "content_block_delta":
                text += event.delta.text
    assert text, "it broke before anything was said: that would have been an error status"
    assert raised.value.body["type"] == "error" and raised.value.api_message


def test_a_complete_stream_without_its_last_marker_is_complete(stream):
    message = stream("no_done")
    assert text_of(message) and message.stop_reason == "end_turn"
