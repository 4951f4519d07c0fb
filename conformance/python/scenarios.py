"""The simulated models, and what their answers have in common whatever the dialects."""

import json
from pathlib import Path

_SCENARIOS = json.loads((Path(__file__).parent.parent / "scenarios.json").read_text())
MODELS = _SCENARIOS["models"]
BREAKING_STREAMS = _SCENARIOS["breaking_streams"]


def model_at(provider, scenario):
    """The name to ask for. What puts a key out of use has a provider of its own, so that nothing else is disturbed."""
    return f"{provider}{_SCENARIOS['providers'].get(scenario, '')}/{MODELS.get(scenario, scenario)}"


def assert_second_turn(seen, provider, arguments, has_thinking=True, errors_are_flagged=False):
    """Two parallel calls and their results came back to the provider whole, with the proofs of its reasoning."""
    calls, results = seen.parts("call"), seen.parts("result")
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert [call.arguments for call in calls] == arguments
    assert [result.call_id for result in results] == [call.id for call in calls]
    assert [result.name for result in results] == ["get_weather", "get_time"]
    assert "12 °C, rain" in results[0].text and "no such city" in results[1].text
    # OpenAI's dialect has no flag for a failed tool: the text says it.
    flags = [False, errors_are_flagged and provider != "openai"]
    assert [result.is_error for result in results] == flags
    if has_thinking and provider == "anthropic":
        assert [part.signed for part in seen.parts("thinking")] == [True]
    if has_thinking and provider == "gemini":
        # As the provider signs: the first call of a step stands for all.
        assert calls[0].signed


def assert_reasoning_came_back(seen, provider, reasoning, text):
    """An earlier answer came back to the provider with its reasoning, once."""
    # A stream echoed piece by piece is as many texts.
    assert "".join(seen.texts("assistant")) == text
    if provider == "anthropic":
        assert [(part.text, part.signed) for part in seen.parts("thinking")] == [(reasoning, True)]
