"""Google's Python SDK, unchanged but for its base URL, in front of each provider."""

import asyncio

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from conftest import GATEWAY, IMAGE_URL, KEY, PDF, PNG, SECONDS
from received import Received, checksum
from scenarios import BREAKING_STREAMS, assert_reasoning_came_back, assert_second_turn

WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather in a city.",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city"],
    },
)
TIME = types.FunctionDeclaration(
    name="get_time",
    description="The time in a city.",
    # Google's own spelling of schemas, in capitals.
    parameters=types.Schema(
        type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}, required=["city"]
    ),
)
TOOLBOX = [types.Tool(function_declarations=[WEATHER, TIME])]
HELLO = "Say hello."
QUESTION = types.UserContent("The weather in Paris and the time in Oslo?")
THINKING = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)


def new_client():
    options = types.HttpOptions(base_url=GATEWAY, timeout=SECONDS * 1000)
    return genai.Client(api_key=KEY, http_options=options)


@pytest.fixture(scope="module")
def client():
    with new_client() as client:
        yield client


@pytest.fixture
def generate(client, model):
    def generate(scenario, contents=HELLO, **config):
        return client.models.generate_content(
            model=model(scenario), contents=contents, config=types.GenerateContentConfig(**config)
        )

    return generate


@pytest.fixture
def stream(client, model):
    def stream(scenario, contents=HELLO, **config):
        return client.models.generate_content_stream(
            model=model(scenario), contents=contents, config=types.GenerateContentConfig(**config)
        )

    return stream


@pytest.fixture
def describe(generate):
    """Sends a request to a model that answers with what the provider received."""
    return lambda contents, **config: Received(text_of(generate("describe", contents, **config)))


def text_of(response):
    """`response.text` warns when there are other parts; this does not."""
    return "".join(part.text for part in parts_of(response) if part.text and not part.thought)


def parts_of(response):
    content = response.candidates[0].content
    return (content.parts or []) if content else []


def gather(chunks):
    """Joins a stream into parts, finish reason and usage, the way Google's documentation shows."""
    parts, finish, usage, pieces = [], None, None, 0
    for chunk in chunks:
        usage = chunk.usage_metadata or usage
        for candidate in chunk.candidates or []:
            finish = candidate.finish_reason or finish
        if chunk.candidates:
            parts += parts_of(chunk)
            pieces += 1
    return parts, finish, usage, pieces


# --- Answers


def test_a_whole_answer_has_text_finish_reason_and_usage(generate):
    response = generate("chat")
    [candidate] = response.candidates
    assert response.text and candidate.content.role == "model"
    assert candidate.finish_reason == types.FinishReason.STOP
    usage = response.usage_metadata
    assert usage.prompt_token_count > 0 and usage.candidates_token_count > 0
    assert usage.total_token_count >= usage.prompt_token_count + usage.candidates_token_count
    assert response.model_version and response.response_id


def test_a_streamed_answer_says_the_same_as_a_whole_one(generate, stream):
    whole = generate("chat")
    parts, finish, usage, pieces = gather(stream("chat"))
    assert "".join(part.text or "" for part in parts) == whole.text
    assert finish == types.FinishReason.STOP and pieces > 1
    assert usage.prompt_token_count == whole.usage_metadata.prompt_token_count
    assert usage.candidates_token_count == whole.usage_metadata.candidates_token_count


def test_an_answer_cut_at_the_token_limit_says_so(generate, stream):
    assert generate("chat", max_output_tokens=5).candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert gather(stream("chat", max_output_tokens=5))[1] == types.FinishReason.MAX_TOKENS


def test_an_answer_that_was_filtered_says_so(generate):
    assert generate("filtered").candidates[0].finish_reason == types.FinishReason.SAFETY


def test_cached_and_reasoning_tokens_are_told_apart(generate, provider):
    usage = generate("usage", thinking_config=THINKING).usage_metadata
    assert 0 < usage.cached_content_token_count < usage.prompt_token_count
    assert usage.candidates_token_count > 0
    # Anthropic counts thinking among its output tokens without saying how much of them it was.
    assert provider == "anthropic" or usage.thoughts_token_count > 0


def test_a_chat_keeps_its_history(client, model):
    chat = client.chats.create(model=model("chat"))
    first = chat.send_message("One?")
    assert first.text and len(chat.get_history()) == 2
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream("Two?"))
    assert len(chat.get_history()) >= 4


async def _answer(model):
    client = new_client().aio
    whole = await client.models.generate_content(model=model, contents=HELLO)
    stream = await client.models.generate_content_stream(model=model, contents=HELLO)
    text = "".join([chunk.text or "" async for chunk in stream])
    await client.aclose()
    return whole.text, text


def test_the_asynchronous_client_works_the_same(model):
    whole, streamed = asyncio.run(_answer(model("chat")))
    assert whole and whole == streamed


# --- What the provider receives


def test_instructions_and_turns_arrive_in_order(describe):
    seen = describe(
        [
            types.UserContent("One?"),
            types.ModelContent("Un."),
            types.UserContent([types.Part.from_text(text="Two "), types.Part.from_text(text="ünd 🌍?")]),
        ],
        system_instruction=["Be brief.", "Answer in French."],
    )
    assert seen.system == "Be brief.\nAnswer in French."
    assert seen.roles == ["user", "assistant", "user"]
    assert seen.texts("assistant") == ["Un."]
    assert "".join(seen.texts("user")) == "One?Two ünd 🌍?"
    assert describe(HELLO, system_instruction="Be brief.").system == "Be brief."


def test_parameters_arrive(describe):
    seen = describe(HELLO, stop_sequences=["END", "###"], max_output_tokens=1234, temperature=0.25)
    assert seen.stop == ["END", "###"] and seen.max_tokens == 1234 and seen.parameters["temperature"] == 0.25


def test_a_stop_sequence_ends_the_answer(generate):
    response = generate("echo", "One, two, END, three", stop_sequences=["END"])
    assert response.text == "One, two, " and response.candidates[0].finish_reason == types.FinishReason.STOP


def test_images_arrive_inline_and_by_address(describe):
    seen = describe(
        [
            "What is this?",
            types.Part.from_bytes(data=PNG, mime_type="image/png"),
            types.Part.from_uri(file_uri=IMAGE_URL, mime_type="image/png"),
        ]
    )
    inline, by_address = seen.media("image")
    assert inline == ("image/png", checksum(PNG)) and by_address[1] == IMAGE_URL
    assert seen.texts("user") == ["What is this?"]


def test_a_pdf_arrives(describe):
    seen = describe([types.Part.from_bytes(data=PDF, mime_type="application/pdf"), "Summarise."])
    assert seen.media("document") == [("application/pdf", checksum(PDF))]


def test_what_a_target_cannot_express_is_named(generate, provider):
    settings = [types.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_NONE")]
    headers = generate("chat", safety_settings=settings).sdk_http_response.headers
    assert ("safetySettings" in headers.get("x-tidegate-dropped", "")) == (provider != "gemini")
    assert headers["x-tidegate-target"].startswith(f"{provider}/")


# --- Tools


def test_tools_and_the_choice_among_them_arrive(describe):
    def choice(mode, names=None):
        calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
        return types.ToolConfig(function_calling_config=calling)

    seen = describe(HELLO, tools=TOOLBOX, tool_config=choice("ANY"))
    assert set(seen.tools) == {"get_weather", "get_time"} and seen.tool_choice == "any"
    schema = seen.tools["get_weather"]
    assert schema["properties"]["unit"]["enum"] == ["c", "f"] and schema["required"] == ["city"]
    assert seen.tools["get_time"]["properties"]["city"]["type"].lower() == "string"
    assert describe(HELLO, tools=TOOLBOX, tool_config=choice("ANY", ["get_time"])).tool_choice == ["get_time"]
    assert describe(HELLO, tools=TOOLBOX, tool_config=choice("NONE")).tool_choice == "none"


def results(calls):
    answers = [{"output": "12 °C, rain"}, {"error": "Error: no such city"}]
    parts = []
    for call, answer in zip(calls, answers):
        response = types.FunctionResponse(id=call.id, name=call.name, response=answer)
        parts.append(types.Part(function_response=response))
    return types.Content(role="user", parts=parts)


def by_hand(calls, with_ids=True):
    """A model turn of the fields that every client keeps, and nothing else."""
    return types.Content(
        role="model",
        parts=[
            types.Part(
                function_call=types.FunctionCall(id=call.id if with_ids else None, name=call.name, args=call.args)
            )
            for call in calls
        ],
    )


@pytest.mark.parametrize("history", ["the SDK's content", "by hand", "streamed", "streamed, by hand"])
def test_parallel_tool_calls_go_around_over_two_turns(generate, stream, describe, provider, history):
    config = {"tools": TOOLBOX, "thinking_config": THINKING}
    if history.startswith("streamed"):
        parts, finish, _, _ = gather(stream("tools", QUESTION, **config))
        content = types.Content(role="model", parts=parts)
    else:
        response = generate("tools", QUESTION, **config)
        content, finish = response.candidates[0].content, response.candidates[0].finish_reason
    calls = [part.function_call for part in content.parts if part.function_call]
    assert finish == types.FinishReason.STOP
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    is_by_hand = history.endswith("by hand")
    turn = by_hand(calls) if is_by_hand else content
    messages = [QUESTION, turn, results(calls)]
    if is_by_hand and provider == "gemini":
        # Google itself refuses calls whose signatures were left out; its SDK's user must learn it.
        with pytest.raises(errors.ClientError, match="signature"):
            describe(messages, **config)
        return
    seen = describe(messages, **config)
    assert_second_turn(seen, provider, [call.args for call in calls], errors_are_flagged=True)


def test_calls_without_ids_still_find_their_results(generate, model, provider):
    response = generate("parallel-tools", QUESTION, tools=TOOLBOX)
    calls = [part.function_call for part in parts_of(response) if part.function_call]
    answers = results(calls)
    for part in answers.parts:
        part.function_response.id = None
    plain = generate("describe@unsigned", [QUESTION, by_hand(calls, with_ids=False), answers], tools=TOOLBOX)
    seen = Received(text_of(plain))
    if provider != "gemini":
        assert [part.call_id for part in seen.parts("result")] == [part.id for part in seen.parts("call")]
    assert "12 °C, rain" in seen.parts("result")[0].text and "no such city" in seen.parts("result")[1].text


def test_the_sdk_calls_python_functions_on_its_own(generate):
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}"

    def get_time(city: str) -> str:
        """The time in a city."""
        return f"Noon in {city}"

    text = text_of(generate("tools", QUESTION, tools=[get_weather, get_time]))
    assert "get_weather said: " in text and "Rain in " in text and "Noon in " in text


# --- Reasoning


def test_reasoning_is_asked_for_shown_and_returned(generate, stream, provider, describe):
    assert describe(HELLO, thinking_config=THINKING).reasoning
    response = generate("reasoning", thinking_config=THINKING)
    thoughts = "".join(part.text for part in parts_of(response) if part.thought)
    assert thoughts and text_of(response)
    parts, *_ = gather(stream("reasoning", thinking_config=THINKING))
    assert "".join(part.text for part in parts if part.thought) == thoughts
    assert "".join(part.text for part in parts if part.text and not part.thought) == text_of(response)
    for earlier in (parts_of(response), parts):
        turns = [types.UserContent(HELLO), types.Content(role="model", parts=earlier), types.UserContent("And now?")]
        seen = describe(turns, thinking_config=THINKING)
        assert_reasoning_came_back(seen, provider, thoughts, text_of(response))


# --- Structured output


class City(BaseModel):
    name: str
    population: int
    districts: list[str]


def test_the_sdk_parses_an_answer_by_its_schema(generate, describe):
    config = {"response_mime_type": "application/json", "response_schema": City}
    assert isinstance(generate("structured", **config).parsed, City)
    assert set(describe(HELLO, **config).schema["properties"]) == {"name", "population", "districts"}
    config = {"response_mime_type": "application/json", "response_json_schema": City.model_json_schema()}
    assert set(describe(HELLO, **config).schema["properties"]) == {"name", "population", "districts"}


# --- Counting and lists


def test_tokens_are_counted(client, model):
    short = client.models.count_tokens(model=model("chat"), contents=HELLO)
    long = client.models.count_tokens(model=model("chat"), contents=HELLO * 50)
    assert 0 < short.total_tokens < long.total_tokens


def test_models_can_be_listed(client):
    names = [model.name for model in client.models.list()]
    assert any(name.startswith("models/gemini/gemini") for name in names), names[:5]
    assert any(name.startswith("models/openai/gpt") for name in names)
    assert client.models.get(model=names[0]).name == names[0]


# --- Errors


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("scenario", "exception", "code", "status"),
    [
        ("bad_request", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("context_length", errors.ClientError, 400, "INVALID_ARGUMENT"),
        ("no_such_model", errors.ClientError, 404, "NOT_FOUND"),
        ("rate_limited", errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        ("overloaded", errors.ServerError, 503, "UNAVAILABLE"),
        ("broken", errors.ServerError, 502, None),
        ("wrong_key", errors.ServerError, 502, None),
        ("out_of_quota", errors.ServerError, 503, None),
    ],
)
def test_a_refusal_raises_the_exception_that_users_know(
    generate, stream, scenario, exception, code, status, streamed
):
    with pytest.raises(exception) as raised:
        gather(stream(scenario)) if streamed else generate(scenario)
    error = raised.value
    assert error.code == code and error.message and error.status
    assert status in (None, error.status)
    assert error.details["error"]["code"] == code
    if scenario == "rate_limited":
        assert int(error.response.headers["retry-after"]) >= 1


def test_a_silent_provider_raises_a_gateway_timeout(generate):
    with pytest.raises(errors.ServerError) as raised:
        generate("silent", http_options=types.HttpOptions(headers={"x-tidegate-timeout": "500ms"}))
    assert raised.value.code == 504 and raised.value.status == "DEADLINE_EXCEEDED"


def test_a_model_that_nobody_serves_is_not_found(client):
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model="anthropik/claude-sonnet-4-5", contents=HELLO)
    assert raised.value.code == 404 and raised.value.status == "NOT_FOUND"


@pytest.mark.parametrize("scenario", BREAKING_STREAMS)
def test_a_stream_that_breaks_raises(stream, scenario):
    text = ""
    with pytest.raises(errors.APIError) as raised:
        for chunk in stream(scenario):
            assert not chunk.candidates[0].finish_reason
            text += chunk.text or ""
    assert text, "it broke before anything was said: that would have been an error status"
    assert raised.value.code >= 500 and raised.value.message


def test_a_complete_stream_without_its_last_marker_is_complete(stream):
    parts, finish, _, _ = gather(stream("no_done"))
    assert "".join(part.text or "" for part in parts) and finish == types.FinishReason.STOP
