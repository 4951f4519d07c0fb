"""The three SDKs as their users write with them, where a key decides. One class an SDK, with the same methods, so that
each test of keys and limits runs with all of them."""

from types import SimpleNamespace

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors, types

from conftest import PNG, SECONDS, base64
from keys import GATEWAY

TEXT = "Say hello."
MOST_TOKENS = 64
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}


def _answer(text, headers, retries=0):
    return SimpleNamespace(text=text, headers=headers, retries=retries)


class OpenAI:
    # What its users catch, with the status and the word in the body.
    refusals = {
        "authentication": (openai.AuthenticationError, 401, "authentication_error"),
        "permission": (openai.PermissionDeniedError, 403, "permission_error"),
        "limit": (openai.RateLimitError, 429, "rate_limit_error"),
        "budget": (openai.APIStatusError, 402, "insufficient_quota"),
        "model": (openai.NotFoundError, 404, "invalid_request_error"),
    }
    features = {
        "tools": {"tools": [{"type": "function", "function": {"name": "get_name", "parameters": SCHEMA}}]},
        "structured_output": {
            "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}
        },
        "reasoning": {"reasoning_effort": "high"},
        "images": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64(PNG)}"}}
                    ],
                }
            ]
        },
    }

    def __init__(self, key, retries=0):
        # The SDK wants a key; its header without one is what an empty key looks like.
        headers = {} if key else {"Authorization": "Bearer"}
        self.client = openai.OpenAI(
            base_url=f"{GATEWAY}/v1",
            api_key=key or "none",
            default_headers=headers,
            max_retries=retries,
            timeout=SECONDS,
        )

    def ask(self, model, streamed, **options):
        given = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": MOST_TOKENS, **options}
        raw = self.client.chat.completions.with_raw_response.create(model=model, stream=streamed, **given)
        answer = raw.parse()
        if not streamed:
            return _answer(answer.choices[0].message.content, raw.headers, raw.retries_taken)
        text = "".join(choice.delta.content or "" for chunk in answer for choice in chunk.choices)
        return _answer(text, raw.headers, raw.retries_taken)

    def models(self):
        return [model.id for model in self.client.models.list()]

    def model(self, name):
        return self.client.models.retrieve(name).id

    @staticmethod
    def facts(error):
        return error.status_code, error.type, error.body["message"], error.response.headers


class Anthropic:
    refusals = {
        "authentication": (anthropic.AuthenticationError, 401, "authentication_error"),
        "permission": (anthropic.PermissionDeniedError, 403, "permission_error"),
        "limit": (anthropic.RateLimitError, 429, "rate_limit_error"),
        "budget": (anthropic.APIStatusError, 402, "billing_error"),
        "model": (anthropic.NotFoundError, 404, "not_found_error"),
    }
    features = {
        "tools": {"tools": [{"name": "get_name", "input_schema": SCHEMA}]},
        "structured_output": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        "reasoning": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
        "images": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": base64(PNG)},
                        }
                    ],
                }
            ]
        },
    }

    def __init__(self, key, retries=0, **credentials):
        if not credentials:
            credentials = {"api_key": key} if key else {"default_headers": {"Authorization": anthropic.Omit()}}
        self.client = anthropic.Anthropic(base_url=GATEWAY, max_retries=retries, timeout=SECONDS, **credentials)

    def ask(self, model, streamed, **options):
        given = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": MOST_TOKENS, **options}
        raw = self.client.messages.with_raw_response.create(model=model, stream=streamed, **given)
        answer = raw.parse()
        if not streamed:
            text = "".join(block.text for block in answer.content if block.type == "text")
        else:
            deltas = [event.delta for event in answer if event.type == "content_block_delta"]
            text = "".join(delta.text for delta in deltas if delta.type == "text_delta")
        return _answer(text, raw.headers, raw.retries_taken)

    def models(self):
        return [model.id for model in self.client.models.list()]

    def model(self, name):
        return self.client.models.retrieve(name).id

    @staticmethod
    def facts(error):
        assert error.type == error.body["error"]["type"]
        return error.status_code, error.type, error.body["error"]["message"], error.response.headers


class Google:
    refusals = {
        "authentication": (errors.ClientError, 401, "UNAUTHENTICATED"),
        "permission": (errors.ClientError, 403, "PERMISSION_DENIED"),
        "limit": (errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        "budget": (errors.ClientError, 402, "RESOURCE_EXHAUSTED"),
        "model": (errors.ClientError, 404, "NOT_FOUND"),
    }
    features = {
        "tools": {"tools": [types.Tool(function_declarations=[{"name": "get_name", "parameters_json_schema": SCHEMA}])]},
        "structured_output": {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
        "reasoning": {"thinking_config": types.ThinkingConfig(thinking_budget=1024)},
        "images": {"contents": [types.Part.from_bytes(data=PNG, mime_type="image/png")]},
    }

    def __init__(self, key, retries=0):
        self.sent = 0
        # The SDK waits by a clock of its own, which its user sets, and never by Retry-After.
        retrying = types.HttpRetryOptions(attempts=1 + retries, initial_delay=1.1, jitter=0.1) if retries else None
        self.client = genai.Client(
            # The SDK wants a key; an empty header is as good as none.
            api_key=key or "none",
            http_options=types.HttpOptions(
                base_url=GATEWAY,
                timeout=SECONDS * 1000,
                headers={} if key else {"x-goog-api-key": ""},
                retry_options=retrying,
                httpx_client=httpx2.Client(event_hooks={"request": [self._count]}),
            ),
        )

    def _count(self, _request):
        self.sent += 1

    def ask(self, model, streamed, contents=TEXT, **options):
        before = self.sent
        config = types.GenerateContentConfig(**{"max_output_tokens": MOST_TOKENS, **options})
        ask = self.client.models.generate_content_stream if streamed else self.client.models.generate_content
        answer = ask(model=model, contents=contents, config=config)
        chunks = list(answer) if streamed else [answer]
        parts = [part for chunk in chunks for part in _parts(chunk)]
        text = "".join(part.text for part in parts if part.text and not part.thought)
        headers = httpx2.Headers(chunks[0].sdk_http_response.headers)
        return _answer(text, headers, self.sent - before - 1)

    def models(self):
        return [model.name.removeprefix("models/") for model in self.client.models.list()]

    def model(self, name):
        return self.client.models.get(model=name).name.removeprefix("models/")

    @staticmethod
    def facts(error):
        body = error.details["error"]
        assert body["code"] == error.code
        return error.code, error.status, body["message"], error.response.headers


def _parts(chunk):
    content = chunk.candidates[0].content if chunk.candidates else None
    return (content.parts or []) if content else []


CALLERS = {"openai": OpenAI, "anthropic": Anthropic, "google": Google}
