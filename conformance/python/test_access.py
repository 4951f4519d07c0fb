"""Keys, permissions, limits and budgets as the users of each SDK meet them."""

import asyncio
import json
import time
from datetime import datetime

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from callers import CALLERS, MOST_TOKENS, TEXT, Anthropic
from conftest import PROVIDERS, SECONDS
from keys import GATEWAY, allowed, limited, plain, rotated, token, unwelcome

# How each kind of key is refused, in a word that tells it from the others.
UNWELCOME = {
    "unknown": "not known here",
    "another provider's": "not known here",
    "expired": "has expired",
    "disabled": "is disabled",
    "rotated": "has been replaced",
}
# More calls than any budget here pays for.
MOST_CALLS = 60


@pytest.fixture(params=CALLERS)
def caller(request):
    """The SDK: every test runs with all three."""
    return CALLERS[request.param]


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def streamed(request):
    return request.param


def refused(caller, kind, call):
    """The call is refused, with the exception that the SDK's users know; its message and headers."""
    exception, status, word = caller.refusals[kind]
    with pytest.raises(exception) as raised:
        call()
    # Exactly this one: a class above it would tell the user less.
    is_exact = type(raised.value) is exception or (kind == "budget" and status == 402)
    assert is_exact, repr(raised.value)
    seen_status, seen_word, message, headers = caller.facts(raised.value)
    assert (seen_status, seen_word) == (status, word), message
    return message, headers


# --- Keys


def test_a_key_works_where_the_sdk_puts_it(caller, streamed, model):
    answer = caller(allowed()).ask(model("chat"), streamed)
    assert answer.text and answer.headers["x-tidegate-target"]


@pytest.mark.parametrize("place", ["api_key", "auth_token", "x-api-key"])
def test_anthropics_sdk_may_put_a_key_in_any_of_its_places(place, streamed):
    # What is called x-api-key stands in Authorization in newer releases of the SDK; older ones send the header.
    headers = {"x-api-key": allowed(), "Authorization": anthropic.Omit()}
    credentials = {"default_headers": headers} if place == "x-api-key" else {place: allowed()}
    assert Anthropic(None, **credentials).ask("anthropic/plain", streamed).text


@pytest.mark.parametrize("place", ["header", "query"])
def test_googles_key_may_stand_in_a_header_or_in_the_address(place, streamed):
    method = "streamGenerateContent?alt=sse" if streamed else "generateContent?"
    url = f"{GATEWAY}/v1beta/models/gemini/plain:{method}"
    body = {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]}
    send = {"header": lambda key: plain(url, body, {"x-goog-api-key": key}), "query": lambda key: plain(f"{url}&key={key}", body)}
    answer = send[place](allowed())
    assert answer.status == 200 and '"text"' in answer.text, answer.text
    answer = send[place](unwelcome("expired"))
    assert answer.status == 401 and json.loads(answer.text)["error"]["status"] == "UNAUTHENTICATED"


def test_azures_key_header_is_understood(streamed):
    body = {"model": "openai/plain", "messages": [{"role": "user", "content": TEXT}], "stream": streamed}
    ask = lambda key: plain(f"{GATEWAY}/v1/chat/completions", body, {"api-key": key})
    answer = ask(allowed())
    assert answer.status == 200 and '"content"' in answer.text
    answer = ask(unwelcome("disabled"))
    assert answer.status == 401 and json.loads(answer.text)["error"]["code"] == "disabled_api_key"


def test_the_asynchronous_clients_take_the_same_keys():
    async def ask(key):
        said = [{"role": "user", "content": TEXT}]
        async with openai.AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key=key, max_retries=0, timeout=SECONDS) as client:
            await client.chat.completions.create(model="openai/plain", messages=said)
        async with anthropic.AsyncAnthropic(base_url=GATEWAY, api_key=key, max_retries=0, timeout=SECONDS) as client:
            await client.messages.create(model="anthropic/plain", messages=said, max_tokens=MOST_TOKENS)
        client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=GATEWAY)).aio
        await client.models.generate_content(model="gemini/plain", contents=TEXT)
        await client.aclose()

    asyncio.run(ask(allowed()))
    with pytest.raises(openai.AuthenticationError):
        asyncio.run(ask(unwelcome("unknown")))


def test_without_a_key_nobody_is_let_in(caller, streamed):
    message, _ = refused(caller, "authentication", lambda: caller(None).ask("openai/plain", streamed))
    assert "No API key was sent" in message
    refused(caller, "authentication", lambda: caller(None).models())


@pytest.mark.parametrize("why", UNWELCOME)
def test_a_key_that_does_not_count_raises_and_says_why(caller, streamed, why):
    # With retries on: the SDKs know that asking again is in vain.
    sdk = caller(unwelcome(why), retries=2)
    began = time.monotonic()
    message, _ = refused(caller, "authentication", lambda: sdk.ask("openai/plain", streamed))
    assert UNWELCOME[why] in message and time.monotonic() - began < SECONDS
    refused(caller, "authentication", lambda: sdk.models())


def test_after_a_rotation_both_secrets_work_until_the_grace_ends(caller, streamed):
    for secret in rotated():
        assert caller(secret).ask("openai/plain", streamed).text


# --- Tokens


def test_a_token_works_in_place_of_a_key(caller, streamed, model):
    assert caller(token()).ask(model("chat"), streamed).text


@pytest.mark.parametrize("why", ["expired", "another audience", "another issuer", "another's signature", "altered"])
def test_a_token_that_does_not_count_raises(caller, streamed, why):
    now = int(time.time())
    shown = {
        "expired": lambda: token(iat=now - 7200, exp=now - 3600),
        "another audience": lambda: token(aud="somebody-else"),
        "another issuer": lambda: token(iss="https://elsewhere.invalid"),
        "another's signature": lambda: token(by="stranger"),
        "altered": lambda: ".".join([token().split(".")[0], token(sub="eve").split(".")[1], token().split(".")[2]]),
    }[why]()
    message, _ = refused(caller, "authentication", lambda: caller(shown).ask("openai/plain", streamed))
    assert "token" in message


def test_a_token_may_name_the_models_that_it_is_for(caller, streamed):
    sdk = caller(token(models=["anthropic/plain"]))
    assert sdk.ask("anthropic/plain", streamed).text
    message, _ = refused(caller, "permission", lambda: sdk.ask("openai/plain", streamed))
    assert "openai/plain" in message


def test_a_token_of_a_team_that_does_not_exist_is_not_let_in(caller):
    message, _ = refused(caller, "permission", lambda: caller(token(team="atlantis")).ask("openai/plain", False))
    assert "atlantis" in message


# --- Permissions


def test_a_model_that_is_not_permitted_raises(caller, streamed):
    sdk = caller(allowed(models=["anthropic/plain", "openai/gpt-5*"]))
    assert sdk.ask("anthropic/plain", streamed).text
    for model in ("openai/plain", "anthropic/plain+thinking", "gemini/plain"):
        message, _ = refused(caller, "permission", lambda: sdk.ask(model, streamed))
        assert model in message and "This key" in message


def test_a_provider_that_is_not_permitted_raises(caller, streamed, provider):
    sdk = caller(allowed(providers=[provider]))
    assert sdk.ask(f"{provider}/plain", streamed).text
    for other in {*PROVIDERS} - {provider}:
        refused(caller, "permission", lambda: sdk.ask(f"{other}/plain", streamed))


def test_an_operation_that_is_not_permitted_raises(caller, streamed):
    sdk = caller(allowed(endpoints=["models"]))
    assert sdk.models()
    message, _ = refused(caller, "permission", lambda: sdk.ask("openai/plain", streamed))
    assert "`chat`" in message
    sdk = caller(allowed(endpoints=["chat"]))
    assert sdk.ask("openai/plain", streamed).text
    refused(caller, "permission", lambda: sdk.models())


@pytest.mark.parametrize("feature", ["tools", "structured_output", "reasoning", "images"])
def test_a_feature_that_is_not_permitted_raises(caller, streamed, model, feature):
    options = caller.features[feature]
    assert caller(allowed()).ask(model("chat"), streamed, **options)
    sdk = caller(allowed(denied_features=[feature]))
    message, _ = refused(caller, "permission", lambda: sdk.ask(model("chat"), streamed, **options))
    assert f"`{feature}`" in message
    # All others stay allowed.
    for other in {*caller.features} - {feature}:
        sdk.ask(model("chat"), streamed, **caller.features[other])


@pytest.mark.parametrize(
    ("feature", "request_config", "is_refused"),
    [
        ("reasoning", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 1024}}}, True),
        ("reasoning", {"generation_config": {"thinking_config": {"thinking_budget": 1024}}}, True),
        ("reasoning", {"generationConfig": {"thinking_config": {"include_thoughts": True}}}, True),
        ("reasoning", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}, False),
        ("structured_output", {"generation_config": {"response_mime_type": "application/json"}}, True),
        ("structured_output", {"generationConfig": {"response_json_schema": {"type": "object"}}}, True),
        ("structured_output", {"generationConfig": {"responseMimeType": "text/plain"}}, False),
        ("images", {"system_instruction": {"parts": [{"inline_data": {"mime_type": "image/png", "data": ""}}]}}, True),
        ("tools", {"tools": []}, False),
    ],
)
def test_a_feature_is_known_in_either_of_googles_spellings(feature, request_config, is_refused):
    body = {"contents": [{"role": "user", "parts": [{"text": TEXT}]}], **request_config}
    key = {"x-goog-api-key": allowed(denied_features=[feature])}
    for model in ("gemini/plain", "anthropic/plain"):
        answer = plain(f"{GATEWAY}/v1beta/models/{model}:generateContent", body, key)
        assert answer.status == (403 if is_refused else 200), answer.text


def test_reasoning_that_is_switched_off_is_none():
    secret = allowed(denied_features=["reasoning"])
    assert CALLERS["openai"](secret).ask("openai/plain", False, reasoning_effort="none").text
    assert CALLERS["anthropic"](secret).ask("anthropic/plain", False, thinking={"type": "disabled"}).text


def test_streams_that_are_not_permitted_raise(caller):
    sdk = caller(allowed(denied_features=["streaming"]))
    assert sdk.ask("openai/plain", False).text
    refused(caller, "permission", lambda: sdk.ask("openai/plain", True))


def test_the_list_of_models_shows_what_the_key_may_use(caller):
    everything = caller(allowed()).models()
    assert {name.split("/")[0] for name in everything} == {*PROVIDERS}
    sdk = caller(allowed(providers=["anthropic"]))
    assert sdk.models() == [name for name in everything if name.startswith("anthropic/")]
    [one, another] = [next(name for name in everything if name.startswith(it)) for it in ("anthropic/", "gemini/")]
    assert sdk.model(one) == one
    # As if it did not exist: what a key may not use is not its business.
    refused(caller, "model", lambda: sdk.model(another))
    sdk = caller(allowed(models=["openai/gpt-5*"]))
    names = sdk.models()
    assert names and names == [name for name in everything if name.startswith("openai/gpt-5")]


# --- Limits


def rate_limit_headers(caller, headers, what):
    """Limit and what remains, as this SDK's users read them; the moment of the reset is there and readable."""
    seen = [int(headers[f"x-ratelimit-{part}-{what}"]) for part in ("limit", "remaining")]
    assert headers[f"x-ratelimit-reset-{what}"][-1] == "s"
    if caller is Anthropic:
        assert [int(headers[f"anthropic-ratelimit-{what}-{part}"]) for part in ("limit", "remaining")] == seen
        assert datetime.fromisoformat(headers[f"anthropic-ratelimit-{what}-reset"]).tzinfo
    else:
        assert not any(name.startswith("anthropic-") for name in headers)
    return seen


def test_a_limit_on_requests_raises_and_can_be_watched_coming(caller, streamed, model):
    sdk = caller(limited(requests=[{"max": 2, "per": "hour"}]))
    for left in (1, 0):
        assert rate_limit_headers(caller, sdk.ask(model("chat"), streamed).headers, "requests") == [2, left]
    message, headers = refused(caller, "limit", lambda: sdk.ask(model("chat"), streamed))
    assert rate_limit_headers(caller, headers, "requests") == [2, 0]
    assert "key `limited`" in message and "2 requests per hour" in message
    seconds = int(headers["retry-after"])
    assert 3000 < seconds <= 3660 and (seconds - 1) * 1000 < int(headers["retry-after-ms"]) <= seconds * 1000
    # Looking around is free.
    assert sdk.models()


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_no_sdk_waits_for_hours_in_silence(name, streamed):
    caller = CALLERS[name]
    sdk = caller(limited(requests=[{"max": 1, "per": "hour"}]), retries=2)
    assert sdk.ask("openai/plain", streamed).text
    began = time.monotonic()
    refused(caller, "limit", lambda: sdk.ask("openai/plain", streamed))
    assert time.monotonic() - began < SECONDS


def test_a_limit_on_tokens_raises(caller, streamed, model):
    sdk = caller(limited(tokens=[{"max": 200, "per": "hour"}]))
    limit, left = rate_limit_headers(caller, sdk.ask(model("chat"), streamed).headers, "tokens")
    assert limit == 200 and 0 <= left < 200
    for _ in range(MOST_CALLS):
        try:
            sdk.ask(model("chat"), streamed)
        except caller.refusals["limit"][0]:
            break
    message, headers = refused(caller, "limit", lambda: sdk.ask(model("chat"), streamed))
    assert rate_limit_headers(caller, headers, "tokens")[0] == 200
    assert "200 tokens per hour" in message and int(headers["retry-after"]) > 0


def test_the_sdk_waits_for_room_by_itself(caller, streamed):
    secret = limited(requests=[{"max": 1, "per": "second"}])
    # One retry only: OpenAI's and Anthropic's SDKs would come back after half a second, were it not for Retry-After.
    sdk = caller(secret, retries=1)
    answers = [sdk.ask("openai/plain", streamed) for _ in range(4)]
    assert all(answer.text for answer in answers)
    assert sum(answer.retries for answer in answers) >= 1, "nothing was refused, so nothing is proved"


# --- Budgets


def test_a_budget_that_is_used_up_raises(caller, streamed, model):
    sdk = caller(limited(budgets=[{"usd": 0.6, "per": "month"}]))
    spent, left = 0.0, 0.6
    for count in range(MOST_CALLS):
        try:
            answer = sdk.ask(model("chat"), streamed)
        except caller.refusals["budget"][0]:
            break
        assert float(answer.headers["x-tidegate-budget-limit"]) == 0.6
        now_left = float(answer.headers["x-tidegate-budget-remaining"])
        assert 0 <= now_left < 0.6
        spent += float(answer.headers.get("x-tidegate-cost", 0))
    assert 1 < count < MOST_CALLS - 1
    # A stream's cost is known only when its headers are gone.
    assert streamed or 0 < spent <= 0.6
    message, headers = refused(caller, "budget", lambda: sdk.ask(model("chat"), streamed))
    assert "Budget used up: key `limited` may spend 0.6" in message and "resets at" in message
    assert 0 <= float(headers["x-tidegate-budget-remaining"]) < 0.6
    assert "retry-after" not in headers


def test_a_call_that_may_cost_more_than_one_may_raises(caller, streamed):
    sdk = caller(allowed(max_usd_per_call=0.5))
    assert sdk.ask("openai/plain", streamed).text
    most = {"max_output_tokens" if caller is CALLERS["google"] else "max_tokens": 4000}
    message, _ = refused(caller, "permission", lambda: sdk.ask("openai/plain", streamed, **most))
    assert "one call may cost 0.5" in message
