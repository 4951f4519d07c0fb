// What the provider must have received, whatever the dialects.
import assert from 'node:assert/strict';

/** Two parallel calls and their results came back to the provider whole, with the proofs of its reasoning. */
export function assertSecondTurn(seen, provider, wanted, { hasThinking = true, errorsAreFlagged = false } = {}) {
  const calls = seen.parts('call');
  const results = seen.parts('result');
  assert.deepEqual(calls.map((call) => call.name), ['get_weather', 'get_time']);
  assert.deepEqual(calls.map((call) => call.arguments), wanted);
  assert.deepEqual(results.map((result) => result.call_id), calls.map((call) => call.id));
  assert.deepEqual(results.map((result) => result.name), ['get_weather', 'get_time']);
  assert.ok(results[0].text.includes('12 °C, rain') && results[1].text.includes('no such city'));
  // OpenAI's dialect has no flag for a failed tool: the text says it.
  assert.deepEqual(results.map((result) => result.is_error), [false, errorsAreFlagged && provider !== 'openai']);
  if (hasThinking && provider === 'anthropic') {
    assert.deepEqual(seen.parts('thinking').map((part) => part.signed), [true]);
  }
  // As the provider signs: the first call of a step stands for all.
  if (hasThinking && provider === 'gemini') assert.ok(calls[0].signed);
}

/** An earlier answer came back to the provider with its reasoning, once. */
export function assertReasoningCameBack(seen, provider, reasoning, text) {
  // A stream echoed piece by piece is as many texts.
  assert.equal(seen.texts('assistant').join(''), text);
  if (provider === 'anthropic') {
    assert.deepEqual(seen.parts('thinking').map((part) => [part.text, part.signed]), [[reasoning, true]]);
  }
}
