"""OpenAI's Python SDK, unchanged but for its base URL, in front of each provider."""

import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from conftest import GATEWAY, IMAGE_URL, KEY, PDF, PNG, SECONDS, base64
from received import Received, checksum
from scenarios import BREAKING_STREAMS, assert_reasoning_came_back, assert_second_turn

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city"],
        },
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
HELLO = [{"role": "user", "content": "Say hello."}]
THINK = {"reasoning_effort": "high"}


@pytest.fixture(scope="module")
def client():
    with openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=SECONDS) as client:
        yield client


@pytest.fixture
def complete(client, model):
    def complete(scenario, messages=HELLO, **options):
        return client.chat.completions.create(model=model(scenario), messages=messages, **options)

    return complete


@pytest.fixture
def describe(complete):
    """Sends a request to a model that answers with what the provider received."""
    return lambda messages, **options: Received(
        complete("describe", messages, **options).choices[0].message.content
    )


def collect(stream, details=None):
    """Joins a stream the way an application does: by index, without the SDK's helper."""
    text, reasoning, calls, finish, usage, pieces = "", "", {}, None, None, 0
    details = [] if details is None else details
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk" and chunk.id
        usage = chunk.usage or usage
        for choice in chunk.choices:
            delta = choice.delta
            if delta.content:
                text += delta.content
                pieces += 1
            reasoning += getattr(delta, "reasoning_content", None) or ""
            details += getattr(delta, "reasoning_details", None) or []
            for call in delta.tool_calls or []:
                entry = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                entry["id"] += call.id or ""
                entry["name"] += call.function.name or ""
                entry["arguments"] += call.function.arguments or ""
            finish = choice.finish_reason or finish
    return text, reasoning, [calls[index] for index in sorted(calls)], finish, usage, pieces


# --- Answers


def test_a_whole_answer_has_text_finish_reason_and_usage(complete):
    answer = complete("chat")
    assert answer.object == "chat.completion" and answer.id and answer.created > 1_500_000_000
    [choice] = answer.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason == "stop" and not choice.message.tool_calls
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_answer_says_the_same_as_a_whole_one(complete):
    whole = complete("chat")
    options = {"stream": True, "stream_options": {"include_usage": True}}
    text, _, calls, finish, usage, pieces = collect(complete("chat", **options))
    assert text == whole.choices[0].message.content and not calls
    assert finish == "stop" and pieces > 1
    assert usage.prompt_tokens == whole.usage.prompt_tokens
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_usage_comes_in_a_stream_only_when_asked_for(complete):
    assert collect(complete("chat", stream=True))[4] is None


def test_the_sdks_stream_helper_builds_the_same_answer(client, complete, model):
    with client.chat.completions.stream(model=model("chat"), messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == complete("chat").choices[0].message.content
    assert final.choices[0].finish_reason == "stop"


def test_an_answer_cut_at_the_token_limit_says_so(complete):
    assert complete("chat", max_completion_tokens=5).choices[0].finish_reason == "length"
    assert collect(complete("chat", max_tokens=5, stream=True))[3] == "length"


def test_an_answer_that_was_filtered_says_so(complete):
    assert complete("filtered").choices[0].finish_reason == "content_filter"


def test_cached_and_reasoning_tokens_are_told_apart(complete):
    usage = complete("usage", **THINK).usage
    assert usage.prompt_tokens_details.cached_tokens > 0
    assert usage.prompt_tokens > usage.prompt_tokens_details.cached_tokens
    assert usage.completion_tokens_details.reasoning_tokens > 0
    assert usage.completion_tokens > usage.completion_tokens_details.reasoning_tokens


async def _answer(model):
    async with openai.AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=KEY, max_retries=0, timeout=SECONDS) as client:
        whole = await client.chat.completions.create(model=model, messages=HELLO)
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    return whole.choices[0].message.content, text


def test_the_asynchronous_client_works_the_same(model):
    import asyncio

    whole, streamed = asyncio.run(_answer(model("chat")))
    assert whole and whole == streamed


def test_several_choices_are_given_where_the_provider_can(client, model, provider):
    raw = client.chat.completions.with_raw_response.create(model=model("chat"), messages=HELLO, n=2)
    choices = raw.parse().choices
    if provider == "anthropic":
        assert len(choices) == 1 and "n" in raw.headers["x-tidegate-dropped"].split(", ")
    else:
        assert [choice.index for choice in choices] == [0, 1]
        assert all(choice.message.content and choice.finish_reason == "stop" for choice in choices)


def test_a_refusal_is_told_from_an_answer(complete, provider):
    [choice] = complete("refused").choices
    if provider == "openai":
        assert choice.message.refusal
    else:
        assert choice.message.refusal or choice.finish_reason == "content_filter"


# --- What the provider receives


def test_instructions_and_turns_arrive_in_order(describe):
    seen = describe(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Answer in French."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Un."},
            {"role": "user", "content": [{"type": "text", "text": "Two "}, {"type": "text", "text": "ünd 🌍?"}]},
        ]
    )
    assert seen.system == "Be brief.\nAnswer in French."
    assert seen.roles == ["user", "assistant", "user"]
    assert seen.texts("assistant") == ["Un."]
    assert "".join(seen.texts("user")) == "One?Two ünd 🌍?"


def test_parameters_arrive(describe):
    seen = describe(HELLO, stop=["END", "###"], max_completion_tokens=1234, temperature=0.25)
    assert seen.stop == ["END", "###"] and seen.max_tokens == 1234 and seen.parameters["temperature"] == 0.25
    assert describe(HELLO, stop="END").stop == ["END"]
    assert describe(HELLO, max_tokens=4321).max_tokens == 4321


def test_a_stop_sequence_ends_the_answer(complete):
    messages = [{"role": "user", "content": "One, two, END, three"}]
    [choice] = complete("echo", messages, stop="END").choices
    assert choice.message.content == "One, two, " and choice.finish_reason == "stop"


def test_images_arrive_inline_and_by_address(describe):
    seen = describe(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64(PNG)}"}},
                    {"type": "image_url", "image_url": {"url": IMAGE_URL}},
                ],
            }
        ]
    )
    inline, by_address = seen.media("image")
    assert inline == ("image/png", checksum(PNG)) and by_address[1] == IMAGE_URL
    assert seen.texts("user") == ["What is this?"]


def test_a_pdf_arrives(describe):
    file = {"filename": "paper.pdf", "file_data": f"data:application/pdf;base64,{base64(PDF)}"}
    seen = describe(
        [{"role": "user", "content": [{"type": "file", "file": file}, {"type": "text", "text": "Summarise."}]}]
    )
    assert seen.media("document") == [("application/pdf", checksum(PDF))]


def test_what_a_target_cannot_express_is_named(client, model, provider):
    raw = client.chat.completions.with_raw_response.create(
        model=model("chat"), messages=HELLO, logit_bias={"50256": -100}, seed=7
    )
    dropped = raw.headers.get("x-tidegate-dropped", "")
    assert ("logit_bias" in dropped) == (provider != "openai")
    assert ("seed" in dropped) == (provider == "anthropic")
    assert raw.headers["x-tidegate-target"].startswith(f"{provider}/") and raw.headers["x-request-id"]


# --- Tools


def test_tools_and_the_choice_among_them_arrive(describe, provider):
    seen = describe(HELLO, tools=[WEATHER, TIME], tool_choice="required")
    assert set(seen.tools) == {"get_weather", "get_time"} and seen.tool_choice == "any"
    schema = seen.tools["get_weather"]
    assert schema["properties"]["unit"]["enum"] == ["c", "f"] and schema["required"] == ["city"]
    named = {"type": "function", "function": {"name": "get_time"}}
    assert describe(HELLO, tools=[WEATHER, TIME], tool_choice=named).tool_choice == ["get_time"]
    assert describe(HELLO, tools=[WEATHER, TIME], tool_choice="none").tool_choice == "none"


class get_weather(BaseModel):
    city: str
    unit: Literal["c", "f"]


class get_time(BaseModel):
    city: str


def first_turn(complete, streamed):
    """Asks for the weather in two cities; returns the calls as (id, name, arguments) and the SDK's own message."""
    messages = [{"role": "user", "content": "The weather in Paris and the time in Oslo?"}]
    if streamed:
        text, _, calls, finish, _, _ = collect(complete("tools", messages, tools=[WEATHER, TIME], stream=True, **THINK))
        message = None
    else:
        [choice] = complete("tools", messages, tools=[WEATHER, TIME], **THINK).choices
        message, finish = choice.message, choice.finish_reason
        calls = [
            {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for call in message.tool_calls
        ]
    assert finish == "tool_calls"
    assert [call["name"] for call in calls] == ["get_weather", "get_time"]
    assert len({call["id"] for call in calls}) == 2
    return messages, calls, message


def by_hand(calls):
    """An assistant message of the three fields that every client keeps, and nothing else."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls
        ],
    }


def results(calls):
    return [
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "12 °C, rain"},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": "Error: no such city"},
    ]


@pytest.mark.parametrize("history", ["the SDK's message", "by hand", "streamed, by hand"])
def test_parallel_tool_calls_go_around_over_two_turns(complete, describe, provider, history):
    messages, calls, message = first_turn(complete, streamed=history.startswith("streamed"))
    turn = message if history == "the SDK's message" else by_hand(calls)
    seen = describe([*messages, turn, *results(calls)], tools=[WEATHER, TIME], **THINK)
    assert_second_turn(seen, provider, [json.loads(call["arguments"]) for call in calls])


def test_the_sdks_stream_helper_gathers_tool_calls_and_echoes_them(client, describe, model, provider):
    messages = [{"role": "user", "content": "The weather in Paris and the time in Oslo?"}]
    strict = [openai.pydantic_function_tool(tool) for tool in (get_weather, get_time)]
    with client.chat.completions.stream(model=model("tools"), messages=messages, tools=strict, **THINK) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = [{"id": call.id} for call in message.tool_calls]
    seen = describe([*messages, message, *results(calls)], tools=[WEATHER, TIME], **THINK)
    assert_second_turn(seen, provider, [json.loads(call.function.arguments) for call in message.tool_calls])


# --- Reasoning


def test_reasoning_is_asked_for_shown_and_returned(complete, provider, describe):
    assert describe(HELLO, **THINK).reasoning
    message = complete("reasoning", **THINK).choices[0].message
    thoughts = message.reasoning_content
    assert thoughts and message.content and thoughts not in message.content
    text, reasoning, *_ = collect(complete("reasoning", stream=True, **THINK))
    assert (text, reasoning) == (message.content, thoughts)
    details = []
    collect(complete("reasoning", stream=True, **THINK), details)
    by_hand = {"role": "assistant", "content": text, "reasoning_details": details}
    for earlier in (message, by_hand):
        seen = describe([*HELLO, earlier, {"role": "user", "content": "And now?"}], **THINK)
        assert_reasoning_came_back(seen, provider, thoughts, message.content)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_redacted_thinking_comes_back_to_anthropic(client, streamed):
    def ask(scenario, messages, **options):
        model = "anthropic/describe" if scenario == "describe" else "anthropic/parallel-tools+redacted"
        return client.chat.completions.create(model=model, messages=messages, **options)

    messages, calls, _ = first_turn(ask, streamed)
    answer = ask("describe", [*messages, by_hand(calls), *results(calls)], tools=[WEATHER, TIME], **THINK)
    seen = Received(answer.choices[0].message.content)
    assert len(seen.parts("redacted_thinking")) == 1
    assert [part.signed for part in seen.parts("thinking")] == [True]


# --- Structured output


class City(BaseModel):
    name: str
    population: int
    districts: list[str]


def test_the_sdks_parse_helper_returns_an_object(client, model, describe):
    parsed = client.chat.completions.parse(model=model("structured"), messages=HELLO, response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": City.model_json_schema()}}
    schema = describe(HELLO, response_format=form).schema
    assert set(schema["properties"]) == {"name", "population", "districts"}


# --- Lists


def test_models_can_be_listed(client):
    names = [model.id for model in client.models.list()]
    assert any(name.startswith("anthropic/claude") for name in names)
    assert any(name.startswith("gemini/gemini") for name in names)
    assert client.models.retrieve(names[0]).id == names[0]


# --- Errors


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("scenario", "exception", "status"),
    [
        ("bad_request", openai.BadRequestError, 400),
        ("context_length", openai.BadRequestError, 400),
        ("no_such_model", openai.NotFoundError, 404),
        ("rate_limited", openai.RateLimitError, 429),
        ("overloaded", openai.InternalServerError, 503),
        ("broken", openai.InternalServerError, 502),
        ("wrong_key", openai.InternalServerError, 502),
        ("out_of_quota", openai.InternalServerError, 503),
    ],
)
def test_a_refusal_raises_the_exception_that_users_know(complete, scenario, exception, status, streamed):
    with pytest.raises(exception) as raised:
        complete(scenario, stream=streamed)
    error = raised.value
    assert error.status_code == status and error.message and error.type
    assert error.request_id
    if scenario == "rate_limited":
        assert int(error.response.headers["retry-after"]) >= 1
    if scenario == "context_length":
        assert error.code == "context_length_exceeded"


def test_a_limited_provider_is_not_hammered(complete):
    for _ in range(3):
        with pytest.raises(openai.RateLimitError) as raised:
            complete("rate_limited")
        headers = raised.value.response.headers
        assert int(headers["x-tidegate-attempts"]) <= 1
        assert 800 < int(headers["retry-after"]) <= 900


def test_a_silent_provider_raises_a_gateway_timeout(client, model):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(
            model=model("silent"), messages=HELLO, extra_headers={"x-tidegate-timeout": "500ms"}
        )
    assert raised.value.status_code == 504


def test_a_model_that_nobody_serves_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="anthropik/claude-sonnet-4-5", messages=HELLO)
    assert raised.value.code == "model_not_found" and raised.value.param == "model"


def test_a_missing_field_is_a_bad_request(client, model):
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", cast_to=object, body={"model": model("chat")})


@pytest.mark.parametrize("scenario", BREAKING_STREAMS)
def test_a_stream_that_breaks_raises(complete, scenario):
    text = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in complete(scenario, stream=True):
            for choice in chunk.choices:
                assert choice.finish_reason is None
                text += choice.delta.content or ""
    assert text, "it broke before anything was said: that would have been an error status"
    assert not isinstance(raised.value, openai.APIConnectionError) and raised.value.message


def test_a_complete_stream_without_its_last_marker_is_complete(complete):
    text, _, _, finish, _, _ = collect(complete("no_done", stream=True))
    assert text and finish == "stop"
