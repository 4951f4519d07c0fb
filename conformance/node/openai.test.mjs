// OpenAI's Node SDK, unchanged but for its base URL, in front of each provider.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { assertReasoningCameBack, assertSecondTurn } from './expectations.mjs';
import { checksum, received } from './received.mjs';
import { BREAKING_STREAMS, GATEWAY, IMAGE_URL, KEY, modelAt, PDF, PNG, PROVIDERS, TIMEOUT } from './setup.mjs';

const client = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0, timeout: TIMEOUT });
const THINK = { reasoning_effort: 'high' };
const HELLO = [{ role: 'user', content: 'Say hello.' }];
const QUESTION = [{ role: 'user', content: 'The weather in Paris and the time in Oslo?' }];
const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
      required: ['city'],
    },
  },
};
const TIME = {
  type: 'function',
  function: {
    name: 'get_time',
    description: 'The time in a city.',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const TOOLS = { tools: [WEATHER, TIME], ...THINK };
const City = z.object({ name: z.string(), population: z.number().int(), districts: z.array(z.string()) });

/** Joins a stream the way an application does: by index, without the SDK's helper. */
async function collect(stream) {
  const seen = { text: '', reasoning: '', calls: [], finish: undefined, usage: undefined, pieces: 0 };
  for await (const chunk of await stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    seen.usage = chunk.usage ?? seen.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      if (delta.content) {
        seen.text += delta.content;
        seen.pieces += 1;
      }
      seen.reasoning += delta.reasoning_content ?? '';
      for (const call of delta.tool_calls ?? []) {
        const entry = (seen.calls[call.index] ??= { id: '', name: '', arguments: '' });
        entry.id += call.id ?? '';
        entry.name += call.function?.name ?? '';
        entry.arguments += call.function?.arguments ?? '';
      }
      seen.finish = finish ?? seen.finish;
    }
  }
  return seen;
}

/** An assistant message of the three fields that every client keeps, and nothing else. */
const byHand = (calls) => ({
  role: 'assistant',
  content: null,
  tool_calls: calls.map((call) => ({
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  })),
});

const results = (calls) => [
  { role: 'tool', tool_call_id: calls[0].id, content: '12 °C, rain' },
  { role: 'tool', tool_call_id: calls[1].id, content: 'Error: no such city' },
];

for (const provider of PROVIDERS) {
  const complete = (scenario, messages = HELLO, options = {}) =>
    client.chat.completions.create({ model: modelAt(provider, scenario), messages, ...options });
  const saw = async (messages, options) =>
    received((await complete('describe', messages, options)).choices[0].message.content);

  describe(`OpenAI's SDK in front of ${provider}: answers`, () => {
    test('a whole answer has text, finish reason and usage', async () => {
      const answer = await complete('chat');
      const [choice] = answer.choices;
      assert.equal(answer.object, 'chat.completion');
      assert.ok(answer.id && answer.created > 1_500_000_000 && choice.message.content);
      assert.equal(choice.finish_reason, 'stop');
      assert.ok(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens > 0);
      assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    });

    test('a streamed answer says the same as a whole one', async () => {
      const whole = await complete('chat');
      const streamed = await collect(complete('chat', HELLO, { stream: true, stream_options: { include_usage: true } }));
      assert.equal(streamed.text, whole.choices[0].message.content);
      assert.equal(streamed.finish, 'stop');
      assert.ok(streamed.pieces > 1);
      assert.equal(streamed.usage.completion_tokens, whole.usage.completion_tokens);
      assert.equal(streamed.usage.prompt_tokens, whole.usage.prompt_tokens);
    });

    test('usage comes in a stream only when asked for', async () => {
      assert.equal((await collect(complete('chat', HELLO, { stream: true }))).usage, undefined);
    });

    test('the SDK’s stream helper builds the same answer', async () => {
      const stream = client.chat.completions.stream({ model: modelAt(provider, 'chat'), messages: HELLO });
      const final = await stream.finalChatCompletion();
      assert.equal(final.choices[0].message.content, (await complete('chat')).choices[0].message.content);
      assert.equal(final.choices[0].finish_reason, 'stop');
    });

    test('an answer that was cut or filtered says so', async () => {
      assert.equal((await complete('chat', HELLO, { max_completion_tokens: 5 })).choices[0].finish_reason, 'length');
      assert.equal((await collect(complete('chat', HELLO, { max_tokens: 5, stream: true }))).finish, 'length');
      assert.equal((await complete('filtered')).choices[0].finish_reason, 'content_filter');
    });
  });

  describe(`OpenAI's SDK in front of ${provider}: what the provider receives`, () => {
    test('instructions and turns arrive in order', async () => {
      const seen = await saw([
        { role: 'system', content: 'Be brief.' },
        { role: 'developer', content: 'Answer in French.' },
        { role: 'user', content: 'One?' },
        { role: 'assistant', content: 'Un.' },
        { role: 'user', content: [{ type: 'text', text: 'Two ' }, { type: 'text', text: 'ünd 🌍?' }] },
      ]);
      assert.equal(seen.system, 'Be brief.\nAnswer in French.');
      assert.deepEqual(seen.roles, ['user', 'assistant', 'user']);
      assert.deepEqual(seen.texts('assistant'), ['Un.']);
      assert.equal(seen.texts('user').join(''), 'One?Two ünd 🌍?');
    });

    test('parameters arrive', async () => {
      const seen = await saw(HELLO, { stop: ['END', '###'], max_completion_tokens: 1234 });
      assert.deepEqual(seen.stop, ['END', '###']);
      assert.equal(seen.maxTokens, 1234);
      assert.deepEqual((await saw(HELLO, { stop: 'END' })).stop, ['END']);
    });

    test('a stop sequence ends the answer', async () => {
      const messages = [{ role: 'user', content: 'One, two, END, three' }];
      const [choice] = (await complete('echo', messages, { stop: 'END' })).choices;
      assert.deepEqual([choice.message.content, choice.finish_reason], ['One, two, ', 'stop']);
    });

    test('images and PDFs arrive', async () => {
      const seen = await saw([
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is this?' },
            { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG.toString('base64')}` } },
            { type: 'image_url', image_url: { url: IMAGE_URL } },
            { type: 'file', file: { filename: 'a.pdf', file_data: `data:application/pdf;base64,${PDF.toString('base64')}` } },
          ],
        },
      ]);
      assert.deepEqual(seen.media('image').map(([, proof]) => proof), [checksum(PNG), IMAGE_URL]);
      assert.deepEqual(seen.media('document'), [['application/pdf', checksum(PDF)]]);
    });

    test('tools and the choice among them arrive', async () => {
      const seen = await saw(HELLO, { ...TOOLS, tool_choice: 'required' });
      assert.deepEqual(Object.keys(seen.tools), ['get_weather', 'get_time']);
      assert.deepEqual(seen.tools.get_weather.properties.unit.enum, ['c', 'f']);
      assert.equal(seen.toolChoice, 'any');
      const named = await saw(HELLO, { ...TOOLS, tool_choice: { type: 'function', function: { name: 'get_time' } } });
      assert.deepEqual(named.toolChoice, ['get_time']);
    });
  });

  describe(`OpenAI's SDK in front of ${provider}: tools and reasoning`, () => {
    for (const history of ['the SDK’s message', 'by hand', 'streamed, by hand']) {
      test(`parallel tool calls go around over two turns: ${history}`, async () => {
        let calls;
        let turn;
        if (history.startsWith('streamed')) {
          const streamed = await collect(complete('tools', QUESTION, { ...TOOLS, stream: true }));
          assert.equal(streamed.finish, 'tool_calls');
          calls = streamed.calls;
        } else {
          const [{ message, finish_reason: finish }] = (await complete('tools', QUESTION, TOOLS)).choices;
          assert.equal(finish, 'tool_calls');
          calls = message.tool_calls.map(({ id, function: { name, arguments: text } }) => ({ id, name, arguments: text }));
          turn = message;
        }
        assert.deepEqual(calls.map((call) => call.name), ['get_weather', 'get_time']);
        if (history !== 'the SDK’s message') turn = byHand(calls);
        const seen = await saw([...QUESTION, turn, ...results(calls)], TOOLS);
        assertSecondTurn(seen, provider, calls.map((call) => JSON.parse(call.arguments)));
      });
    }

    test('the SDK’s runner finishes on its own', async () => {
      const runner = client.chat.completions.runTools({
        model: modelAt(provider, 'tools'),
        messages: QUESTION,
        tools: [
          { ...WEATHER, function: { ...WEATHER.function, parse: JSON.parse, function: () => '12 °C, rain' } },
          { ...TIME, function: { ...TIME.function, parse: JSON.parse, function: () => 'Error: no such city' } },
        ],
      });
      assert.equal(
        await runner.finalContent(),
        'The tool get_weather said: 12 °C, rain. The tool get_time said: Error: no such city.',
      );
    });

    test('reasoning is asked for, shown and returned', async () => {
      assert.ok((await saw(HELLO, THINK)).reasoning);
      const { message } = (await complete('reasoning', HELLO, THINK)).choices[0];
      assert.ok(message.reasoning_content && message.content);
      const streamed = await collect(complete('reasoning', HELLO, { ...THINK, stream: true }));
      assert.deepEqual([streamed.text, streamed.reasoning], [message.content, message.reasoning_content]);
      const seen = await saw([...HELLO, message, { role: 'user', content: 'And now?' }], THINK);
      assertReasoningCameBack(seen, provider, message.reasoning_content, message.content);
    });

    test('the SDK’s parse helper returns an object', async () => {
      const parsed = await client.chat.completions.parse({
        model: modelAt(provider, 'structured'),
        messages: HELLO,
        response_format: zodResponseFormat(City, 'city'),
      });
      assert.deepEqual(Object.keys(parsed.choices[0].message.parsed).sort(), ['districts', 'name', 'population']);
    });
  });

  describe(`OpenAI's SDK in front of ${provider}: errors`, () => {
    for (const [scenario, kind, status] of [
      ['bad_request', OpenAI.BadRequestError, 400],
      ['context_length', OpenAI.BadRequestError, 400],
      ['no_such_model', OpenAI.NotFoundError, 404],
      ['rate_limited', OpenAI.RateLimitError, 429],
      ['overloaded', OpenAI.InternalServerError, 503],
      ['broken', OpenAI.InternalServerError, 502],
      ['wrong_key', OpenAI.InternalServerError, 502],
      ['out_of_quota', OpenAI.InternalServerError, 503],
    ]) {
      for (const stream of [false, true]) {
        test(`${scenario} raises ${kind.name}${stream ? ', streamed' : ''}`, async () => {
          const error = await complete(scenario, HELLO, { stream }).then(assert.fail, (error) => error);
          assert.ok(error instanceof kind, `${error}`);
          assert.equal(error.status, status);
          assert.ok(error.message && error.requestID);
          if (scenario === 'rate_limited') assert.ok(Number(error.headers.get('retry-after')) >= 1);
          if (scenario === 'context_length') assert.equal(error.code, 'context_length_exceeded');
        });
      }
    }

    test('a silent provider raises a gateway timeout', async () => {
      const error = await client.chat.completions
        .create(
          { model: modelAt(provider, 'silent'), messages: HELLO },
          { headers: { 'x-tidegate-timeout': '500ms' } },
        )
        .then(assert.fail, (error) => error);
      assert.ok(error instanceof OpenAI.InternalServerError, `${error}`);
      assert.equal(error.status, 504);
    });

    for (const scenario of BREAKING_STREAMS) {
      test(`a stream that breaks raises: ${scenario}`, async () => {
        let text = '';
        await assert.rejects(
          async () => {
            const stream = await client.chat.completions.create({
              model: modelAt(provider, scenario),
              messages: HELLO,
              stream: true,
            });
            for await (const chunk of stream) {
              for (const { delta, finish_reason: finish } of chunk.choices) {
                assert.equal(finish ?? null, null);
                text += delta.content ?? '';
              }
            }
          },
          (error) => error instanceof OpenAI.APIError && !(error instanceof OpenAI.APIConnectionError),
        );
        assert.ok(text, 'it broke before anything was said: that would have been an error status');
      });
    }

    test('a complete stream without its last marker is complete', async () => {
      const { text, finish } = await collect(complete('no_done', HELLO, { stream: true }));
      assert.ok(text);
      assert.equal(finish, 'stop');
    });
  });
}

test('models can be listed', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.some((name) => name.startsWith('anthropic/claude')));
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});

test('a model that nobody serves is not found', async () => {
  const error = await client.chat.completions
    .create({ model: 'anthropik/claude-sonnet-4-5', messages: HELLO })
    .then(assert.fail, (error) => error);
  assert.ok(error instanceof OpenAI.NotFoundError, `${error}`);
  assert.deepEqual([error.code, error.param], ['model_not_found', 'model']);
});
