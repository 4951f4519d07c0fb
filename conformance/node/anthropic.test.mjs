// Anthropic's Node SDK, unchanged but for its base URL, in front of each provider.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { assertReasoningCameBack, assertSecondTurn } from './expectations.mjs';
import { checksum, received } from './received.mjs';
import { BREAKING_STREAMS, GATEWAY, IMAGE_URL, KEY, modelAt, PDF, PNG, PROVIDERS, TIMEOUT } from './setup.mjs';

const client = new Anthropic({ baseURL: GATEWAY, apiKey: KEY, maxRetries: 0, timeout: TIMEOUT });
const HELLO = [{ role: 'user', content: 'Say hello.' }];
const QUESTION = [{ role: 'user', content: 'The weather in Paris and the time in Oslo?' }];
const THINKING = { type: 'enabled', budget_tokens: 2048 };
const WEATHER = {
  name: 'get_weather',
  description: 'The weather in a city.',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
    required: ['city'],
  },
};
const TIME = {
  name: 'get_time',
  description: 'The time in a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const TOOLS = { tools: [WEATHER, TIME], thinking: THINKING };
const City = z.object({ name: z.string(), population: z.number().int(), districts: z.array(z.string()) });

const textOf = (message) => message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
const thinkingOf = (message) => message.content.find((block) => block.type === 'thinking')?.thinking;

/** An assistant message of the three fields that every client keeps, and nothing else. */
const byHand = (calls) => calls.map(({ id, name, input }) => ({ type: 'tool_use', id, name, input }));

const results = (calls) => ({
  role: 'user',
  content: [
    { type: 'tool_result', tool_use_id: calls[0].id, content: '12 °C, rain' },
    { type: 'tool_result', tool_use_id: calls[1].id, content: 'Error: no such city', is_error: true },
  ],
});

for (const provider of PROVIDERS) {
  const request = (scenario, messages = HELLO, options = {}) => ({
    model: modelAt(provider, scenario),
    max_tokens: 4096,
    messages,
    ...options,
  });
  const create = (...given) => client.messages.create(request(...given));
  const stream = (...given) => client.messages.stream(request(...given)).finalMessage();
  const saw = async (messages, options) => received(textOf(await create('describe', messages, options)));

  describe(`Anthropic's SDK in front of ${provider}: answers`, () => {
    test('a whole answer has text, stop reason and usage', async () => {
      const message = await create('chat');
      assert.deepEqual([message.type, message.role, message.stop_reason], ['message', 'assistant', 'end_turn']);
      assert.ok(message.id && message.model && textOf(message));
      assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
    });

    test('a streamed answer says the same as a whole one', async () => {
      const whole = await create('chat');
      const streamed = await stream('chat');
      assert.equal(textOf(streamed), textOf(whole));
      assert.equal(streamed.stop_reason, 'end_turn');
      assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
      assert.equal(streamed.usage.input_tokens, whole.usage.input_tokens);
    });

    test('the events of a stream come in Anthropic’s order', async () => {
      const kinds = [];
      for await (const event of await create('chat', HELLO, { stream: true })) kinds.push(event.type);
      assert.equal(kinds[0], 'message_start');
      assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
      assert.ok(kinds.filter((kind) => kind === 'content_block_delta').length > 1);
    });

    test('an answer that was cut or filtered says so', async () => {
      assert.equal((await create('chat', HELLO, { max_tokens: 5 })).stop_reason, 'max_tokens');
      assert.equal((await stream('chat', HELLO, { max_tokens: 5 })).stop_reason, 'max_tokens');
      assert.equal((await create('filtered')).stop_reason, 'refusal');
    });
  });

  describe(`Anthropic's SDK in front of ${provider}: what the provider receives`, () => {
    test('instructions and turns arrive in order', async () => {
      const seen = await saw(
        [
          { role: 'user', content: 'One?' },
          { role: 'assistant', content: 'Un.' },
          { role: 'user', content: [{ type: 'text', text: 'Two ' }, { type: 'text', text: 'ünd 🌍?' }] },
        ],
        { system: [{ type: 'text', text: 'Be brief.' }, { type: 'text', text: 'Answer in French.' }] },
      );
      assert.equal(seen.system, 'Be brief.\nAnswer in French.');
      assert.deepEqual(seen.roles, ['user', 'assistant', 'user']);
      assert.deepEqual(seen.texts('assistant'), ['Un.']);
      assert.equal(seen.texts('user').join(''), 'One?Two ünd 🌍?');
    });

    test('parameters arrive', async () => {
      const seen = await saw(HELLO, { stop_sequences: ['END', '###'], max_tokens: 1234 });
      assert.deepEqual(seen.stop, ['END', '###']);
      assert.equal(seen.maxTokens, 1234);
    });

    test('a stop sequence ends the answer', async () => {
      const messages = [{ role: 'user', content: 'One, two, END, three' }];
      const message = await create('echo', messages, { stop_sequences: ['END'] });
      assert.equal(textOf(message), 'One, two, ');
      // The other providers do not say that a stop sequence was the reason.
      const wanted = provider === 'anthropic' ? ['stop_sequence', 'END'] : ['end_turn', null];
      assert.deepEqual([message.stop_reason, message.stop_sequence], wanted);
    });

    test('images and PDFs arrive', async () => {
      const inline = (type, media_type, data) => ({
        type,
        source: { type: 'base64', media_type, data: data.toString('base64') },
      });
      const seen = await saw([
        {
          role: 'user',
          content: [
            inline('image', 'image/png', PNG),
            { type: 'image', source: { type: 'url', url: IMAGE_URL } },
            inline('document', 'application/pdf', PDF),
            { type: 'text', text: 'What are these?' },
          ],
        },
      ]);
      assert.deepEqual(seen.media('image').map(([, proof]) => proof), [checksum(PNG), IMAGE_URL]);
      assert.deepEqual(seen.media('document'), [['application/pdf', checksum(PDF)]]);
    });

    test('tools and the choice among them arrive', async () => {
      const tools = [WEATHER, TIME];
      const seen = await saw(HELLO, { tools, tool_choice: { type: 'any' } });
      assert.deepEqual(Object.keys(seen.tools), ['get_weather', 'get_time']);
      assert.deepEqual(seen.tools.get_weather.properties.unit.enum, ['c', 'f']);
      assert.equal(seen.toolChoice, 'any');
      assert.deepEqual((await saw(HELLO, { tools, tool_choice: { type: 'tool', name: 'get_time' } })).toolChoice, ['get_time']);
    });
  });

  describe(`Anthropic's SDK in front of ${provider}: tools and reasoning`, () => {
    for (const history of ['the SDK’s blocks', 'by hand', 'streamed', 'streamed, by hand']) {
      test(`parallel tool calls go around over two turns: ${history}`, async () => {
        const message = await (history.startsWith('streamed') ? stream : create)('tools', QUESTION, TOOLS);
        const calls = message.content.filter((block) => block.type === 'tool_use');
        assert.equal(message.stop_reason, 'tool_use');
        assert.deepEqual(calls.map((call) => call.name), ['get_weather', 'get_time']);
        const isByHand = history.endsWith('by hand');
        const turn = { role: 'assistant', content: isByHand ? byHand(calls) : message.content };
        // Anthropic itself refuses to think on where its own thinking blocks were left out.
        const hasThinking = !(isByHand && provider === 'anthropic');
        const seen = await saw([...QUESTION, turn, results(calls)], hasThinking ? TOOLS : { tools: TOOLS.tools });
        assertSecondTurn(seen, provider, calls.map((call) => call.input), { hasThinking, errorsAreFlagged: true });
      });
    }

    test('the SDK’s tool runner finishes on its own', async () => {
      const inputSchema = z.object({ city: z.string() });
      const tool = (name, run) => betaZodTool({ name, description: `${name} of a city`, inputSchema, run });
      const last = await client.beta.messages.toolRunner(
        request('tools', QUESTION, {
          tools: [
            tool('get_weather', () => '12 °C, rain'),
            tool('get_time', () => 'Error: no such city'),
          ],
        }),
      );
      assert.equal(last.stop_reason, 'end_turn');
      assert.equal(
        textOf(last),
        'The tool get_weather said: 12 °C, rain. The tool get_time said: Error: no such city.',
      );
    });

    test('reasoning is asked for, shown and returned', async () => {
      assert.ok((await saw(HELLO, { thinking: THINKING })).reasoning);
      const message = await create('reasoning', HELLO, { thinking: THINKING });
      const streamed = await stream('reasoning', HELLO, { thinking: THINKING });
      assert.ok(thinkingOf(message) && textOf(message));
      assert.deepEqual([thinkingOf(streamed), textOf(streamed)], [thinkingOf(message), textOf(message)]);
      for (const { content } of [message, streamed]) {
        const turns = [...HELLO, { role: 'assistant', content }, { role: 'user', content: 'And now?' }];
        const seen = await saw(turns, { thinking: THINKING });
        assertReasoningCameBack(seen, provider, thinkingOf(message), textOf(message));
      }
    });

    test('the SDK’s parse helper returns an object', async () => {
      const parsed = await client.messages.parse(
        request('structured', HELLO, { output_config: { format: zodOutputFormat(City) } }),
      );
      assert.deepEqual(Object.keys(parsed.parsed_output).sort(), ['districts', 'name', 'population']);
    });

    test('tokens are counted', async () => {
      const count = async (content) => {
        const messages = [{ role: 'user', content }];
        return (await client.messages.countTokens({ model: modelAt(provider, 'chat'), messages })).input_tokens;
      };
      const short = await count('Say hello.');
      assert.ok(short > 0 && (await count('Say hello. '.repeat(50))) > short);
    });
  });

  describe(`Anthropic's SDK in front of ${provider}: errors`, () => {
    for (const [scenario, kind, status, type] of [
      ['bad_request', Anthropic.BadRequestError, 400, 'invalid_request_error'],
      ['context_length', Anthropic.BadRequestError, 400, 'invalid_request_error'],
      ['no_such_model', Anthropic.NotFoundError, 404, 'not_found_error'],
      ['rate_limited', Anthropic.RateLimitError, 429, 'rate_limit_error'],
      ['overloaded', Anthropic.InternalServerError, 503, 'overloaded_error'],
      ['broken', Anthropic.InternalServerError, 502, 'api_error'],
      ['wrong_key', Anthropic.InternalServerError, 502, 'api_error'],
      ['out_of_quota', Anthropic.InternalServerError, 503, undefined],
    ]) {
      for (const isStream of [false, true]) {
        test(`${scenario} raises ${kind.name}${isStream ? ', streamed' : ''}`, async () => {
          const error = await create(scenario, HELLO, { stream: isStream }).then(assert.fail, (error) => error);
          assert.ok(error instanceof kind, `${error}`);
          assert.equal(error.status, status);
          if (type) assert.equal(error.type, type);
          assert.ok(error.requestID && error.error.error.message);
          if (scenario === 'rate_limited') assert.ok(Number(error.headers.get('retry-after')) >= 1);
        });
      }
    }

    test('a silent provider raises a gateway timeout', async () => {
      const error = await client.messages
        .create(request('silent'), { headers: { 'x-tidegate-timeout': '500ms' } })
        .then(assert.fail, (error) => error);
      assert.deepEqual([error.status, error.type], [504, 'timeout_error']);
    });

    for (const scenario of BREAKING_STREAMS) {
      test(`a stream that breaks raises: ${scenario}`, async () => {
        let text = '';
        await assert.rejects(
          async () => {
            const model = modelAt(provider, scenario);
            for await (const event of await client.messages.create({ ...request('chat'), model, stream: true })) {
              assert.ok(!['message_delta', 'message_stop'].includes(event.type));
              if (event.type === 'content_block_delta') text += event.delta.text;
            }
          },
          (error) => error instanceof Anthropic.APIError && !(error instanceof Anthropic.APIConnectionError) && Boolean(error.type),
        );
        assert.ok(text, 'it broke before anything was said: that would have been an error status');
        await assert.rejects(
          client.messages.stream({ ...request('chat'), model: modelAt(provider, scenario) }).finalMessage(),
          Anthropic.APIError,
        );
      });
    }

    test('a complete stream without its last marker is complete', async () => {
      const message = await stream('no_done');
      assert.ok(textOf(message));
      assert.equal(message.stop_reason, 'end_turn');
    });
  });
}

test('models can be listed', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.some((name) => name.startsWith('openai/gpt')));
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});

test('a model that nobody serves is not found', async () => {
  const error = await client.messages
    .create({ model: 'anthropik/claude-sonnet-4-5', messages: HELLO, max_tokens: 10 })
    .then(assert.fail, (error) => error);
  assert.ok(error instanceof Anthropic.NotFoundError, `${error}`);
});
