// Google's Node SDK, unchanged but for its base URL, in front of each provider.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ApiError, FunctionCallingConfigMode, GoogleGenAI } from '@google/genai';
import { z } from 'zod';
import { assertReasoningCameBack, assertSecondTurn } from './expectations.mjs';
import { checksum, received } from './received.mjs';
import { BREAKING_STREAMS, GATEWAY, IMAGE_URL, KEY, modelAt, PDF, PNG, PROVIDERS, TIMEOUT } from './setup.mjs';

const client = new GoogleGenAI({ apiKey: KEY, httpOptions: { baseUrl: GATEWAY, timeout: TIMEOUT } });
const HELLO = 'Say hello.';
const QUESTION = { role: 'user', parts: [{ text: 'The weather in Paris and the time in Oslo?' }] };
const THINKING = { thinkingConfig: { includeThoughts: true, thinkingBudget: 2048 } };
const WEATHER = {
  name: 'get_weather',
  description: 'The weather in a city.',
  parametersJsonSchema: {
    type: 'object',
    properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['c', 'f'] } },
    required: ['city'],
  },
};
const TIME = {
  name: 'get_time',
  description: 'The time in a city.',
  // Google's own spelling of schemas, in capitals.
  parameters: { type: 'OBJECT', properties: { city: { type: 'STRING' } }, required: ['city'] },
};
const tools = [{ functionDeclarations: [WEATHER, TIME] }];
const City = z.object({ name: z.string(), population: z.number().int(), districts: z.array(z.string()) });

const partsOf = (response) => response.candidates?.[0]?.content?.parts ?? [];
const join = (parts, isThought) =>
  parts.filter((part) => part.text && Boolean(part.thought) === isThought).map((part) => part.text).join('');
const textOf = (response) => join(partsOf(response), false);

async function gather(stream) {
  const seen = { parts: [], finish: undefined, usage: undefined, pieces: 0 };
  for await (const chunk of await stream) {
    seen.usage = chunk.usageMetadata ?? seen.usage;
    seen.finish = chunk.candidates?.[0]?.finishReason ?? seen.finish;
    seen.parts.push(...partsOf(chunk));
    if (chunk.candidates) seen.pieces += 1;
  }
  return seen;
}

/** A model turn of the fields that every client keeps, and nothing else. */
const byHand = (calls) => ({
  role: 'model',
  parts: calls.map(({ id, name, args }) => ({ functionCall: { id, name, args } })),
});

const results = (calls) => ({
  role: 'user',
  parts: [{ output: '12 °C, rain' }, { error: 'Error: no such city' }].map((response, index) => ({
    functionResponse: { id: calls[index].id, name: calls[index].name, response },
  })),
});

for (const provider of PROVIDERS) {
  const request = (scenario, contents = HELLO, config = {}) => ({
    model: modelAt(provider, scenario),
    contents,
    config,
  });
  const generate = (...given) => client.models.generateContent(request(...given));
  const stream = (...given) => client.models.generateContentStream(request(...given));
  const saw = async (contents, config) => received(textOf(await generate('describe', contents, config)));

  describe(`Google's SDK in front of ${provider}: answers`, () => {
    test('a whole answer has text, finish reason and usage', async () => {
      const response = await generate('chat');
      assert.ok(response.text && response.responseId && response.modelVersion);
      assert.equal(response.candidates[0].finishReason, 'STOP');
      assert.equal(response.candidates[0].content.role, 'model');
      assert.ok(response.usageMetadata.promptTokenCount > 0 && response.usageMetadata.candidatesTokenCount > 0);
    });

    test('a streamed answer says the same as a whole one', async () => {
      const whole = await generate('chat');
      const streamed = await gather(stream('chat'));
      assert.equal(join(streamed.parts, false), whole.text);
      assert.equal(streamed.finish, 'STOP');
      assert.ok(streamed.pieces > 1);
      assert.equal(streamed.usage.promptTokenCount, whole.usageMetadata.promptTokenCount);
      assert.equal(streamed.usage.candidatesTokenCount, whole.usageMetadata.candidatesTokenCount);
    });

    test('an answer that was cut or filtered says so', async () => {
      assert.equal((await generate('chat', HELLO, { maxOutputTokens: 5 })).candidates[0].finishReason, 'MAX_TOKENS');
      assert.equal((await gather(stream('chat', HELLO, { maxOutputTokens: 5 }))).finish, 'MAX_TOKENS');
      assert.equal((await generate('filtered')).candidates[0].finishReason, 'SAFETY');
    });

    test('a chat keeps its history', async () => {
      const chat = client.chats.create({ model: modelAt(provider, 'chat') });
      assert.ok((await chat.sendMessage({ message: 'One?' })).text);
      assert.ok(join((await gather(chat.sendMessageStream({ message: 'Two?' }))).parts, false));
      assert.ok(chat.getHistory(true).length >= 4);
    });
  });

  describe(`Google's SDK in front of ${provider}: what the provider receives`, () => {
    test('instructions and turns arrive in order', async () => {
      const seen = await saw(
        [
          { role: 'user', parts: [{ text: 'One?' }] },
          { role: 'model', parts: [{ text: 'Un.' }] },
          { role: 'user', parts: [{ text: 'Two ' }, { text: 'ünd 🌍?' }] },
        ],
        { systemInstruction: ['Be brief.', 'Answer in French.'] },
      );
      assert.equal(seen.system, 'Be brief.\nAnswer in French.');
      assert.deepEqual(seen.roles, ['user', 'assistant', 'user']);
      assert.deepEqual(seen.texts('assistant'), ['Un.']);
      assert.equal(seen.texts('user').join(''), 'One?Two ünd 🌍?');
    });

    test('parameters arrive', async () => {
      const seen = await saw(HELLO, { stopSequences: ['END', '###'], maxOutputTokens: 1234 });
      assert.deepEqual(seen.stop, ['END', '###']);
      assert.equal(seen.maxTokens, 1234);
    });

    test('a stop sequence ends the answer', async () => {
      const response = await generate('echo', 'One, two, END, three', { stopSequences: ['END'] });
      assert.equal(response.text, 'One, two, ');
      assert.equal(response.candidates[0].finishReason, 'STOP');
    });

    test('images and PDFs arrive', async () => {
      const seen = await saw([
        'What are these?',
        { inlineData: { mimeType: 'image/png', data: PNG.toString('base64') } },
        { fileData: { mimeType: 'image/png', fileUri: IMAGE_URL } },
        { inlineData: { mimeType: 'application/pdf', data: PDF.toString('base64') } },
      ]);
      assert.deepEqual(seen.media('image').map(([, proof]) => proof), [checksum(PNG), IMAGE_URL]);
      assert.deepEqual(seen.media('document'), [['application/pdf', checksum(PDF)]]);
    });

    test('tools and the choice among them arrive', async () => {
      const choice = (mode, allowedFunctionNames) => ({
        tools,
        toolConfig: { functionCallingConfig: { mode, allowedFunctionNames } },
      });
      const seen = await saw(HELLO, choice(FunctionCallingConfigMode.ANY));
      assert.deepEqual(Object.keys(seen.tools), ['get_weather', 'get_time']);
      assert.deepEqual(seen.tools.get_weather.properties.unit.enum, ['c', 'f']);
      assert.equal(seen.tools.get_time.properties.city.type.toLowerCase(), 'string');
      assert.equal(seen.toolChoice, 'any');
      assert.deepEqual((await saw(HELLO, choice(FunctionCallingConfigMode.ANY, ['get_time']))).toolChoice, ['get_time']);
    });
  });

  describe(`Google's SDK in front of ${provider}: tools and reasoning`, () => {
    for (const history of ['the SDK’s content', 'by hand', 'streamed', 'streamed, by hand']) {
      test(`parallel tool calls go around over two turns: ${history}`, async () => {
        const config = { tools, ...THINKING };
        let content;
        let finish;
        if (history.startsWith('streamed')) {
          const streamed = await gather(stream('tools', QUESTION, config));
          content = { role: 'model', parts: streamed.parts };
          finish = streamed.finish;
        } else {
          [{ content, finishReason: finish }] = (await generate('tools', QUESTION, config)).candidates;
        }
        const calls = content.parts.filter((part) => part.functionCall).map((part) => part.functionCall);
        assert.equal(finish, 'STOP');
        assert.deepEqual(calls.map((call) => call.name), ['get_weather', 'get_time']);
        const isByHand = history.endsWith('by hand');
        const second = saw([QUESTION, isByHand ? byHand(calls) : content, results(calls)], config);
        if (isByHand && provider === 'gemini') {
          // Google itself refuses calls whose signatures were left out; its SDK's user must learn it.
          await assert.rejects(second, (error) => error instanceof ApiError && /signature/.test(error.message));
          return;
        }
        assertSecondTurn(await second, provider, calls.map((call) => call.args), { errorsAreFlagged: true });
      });
    }

    test('reasoning is asked for, shown and returned', async () => {
      assert.ok((await saw(HELLO, THINKING)).reasoning);
      const whole = partsOf(await generate('reasoning', HELLO, THINKING));
      const { parts } = await gather(stream('reasoning', HELLO, THINKING));
      assert.ok(join(whole, true) && join(whole, false));
      assert.deepEqual([join(parts, true), join(parts, false)], [join(whole, true), join(whole, false)]);
      for (const earlier of [whole, parts]) {
        const seen = await saw(
          [
            { role: 'user', parts: [{ text: HELLO }] },
            { role: 'model', parts: earlier },
            { role: 'user', parts: [{ text: 'And now?' }] },
          ],
          THINKING,
        );
        assertReasoningCameBack(seen, provider, join(whole, true), join(whole, false));
      }
    });

    test('an answer fits its schema', async () => {
      const config = { responseMimeType: 'application/json', responseJsonSchema: z.toJSONSchema(City) };
      City.parse(JSON.parse((await generate('structured', HELLO, config)).text));
      assert.deepEqual(Object.keys((await saw(HELLO, config)).schema.properties).sort(), ['districts', 'name', 'population']);
    });

    test('tokens are counted', async () => {
      const count = async (contents) =>
        (await client.models.countTokens({ model: modelAt(provider, 'chat'), contents })).totalTokens;
      const short = await count(HELLO);
      assert.ok(short > 0 && (await count(HELLO.repeat(50))) > short);
    });
  });

  describe(`Google's SDK in front of ${provider}: errors`, () => {
    for (const [scenario, status, word] of [
      ['bad_request', 400, 'INVALID_ARGUMENT'],
      ['context_length', 400, 'INVALID_ARGUMENT'],
      ['no_such_model', 404, 'NOT_FOUND'],
      ['rate_limited', 429, 'RESOURCE_EXHAUSTED'],
      ['overloaded', 503, 'UNAVAILABLE'],
      ['broken', 502, undefined],
      ['wrong_key', 502, undefined],
      ['out_of_quota', 503, undefined],
    ]) {
      for (const isStream of [false, true]) {
        test(`${scenario} raises an ApiError${isStream ? ', streamed' : ''}`, async () => {
          const error = await (isStream ? gather(stream(scenario)) : generate(scenario)).then(assert.fail, (error) => error);
          assert.ok(error instanceof ApiError, `${error}`);
          assert.equal(error.status, status);
          const body = JSON.parse(error.message).error;
          assert.equal(body.code, status);
          assert.ok(body.message && body.status);
          if (word) assert.equal(body.status, word);
        });
      }
    }

    test('a silent provider raises a gateway timeout', async () => {
      const config = { httpOptions: { headers: { 'x-tidegate-timeout': '500ms' } } };
      const error = await generate('silent', HELLO, config).then(assert.fail, (error) => error);
      assert.ok(error instanceof ApiError, `${error}`);
      assert.equal(error.status, 504);
    });

    for (const scenario of BREAKING_STREAMS) {
      test(`a stream that breaks raises: ${scenario}`, async () => {
        let text = '';
        await assert.rejects(
          async () => {
            const chunks = await client.models.generateContentStream({ model: modelAt(provider, scenario), contents: HELLO });
            for await (const chunk of chunks) {
              assert.ok(!chunk.candidates?.[0]?.finishReason);
              text += chunk.text ?? '';
            }
          },
          (error) => error instanceof ApiError && error.status >= 500,
        );
        assert.ok(text, 'it broke before anything was said: that would have been an error status');
      });
    }

    test('a complete stream without its last marker is complete', async () => {
      const { parts, finish } = await gather(stream('no_done'));
      assert.ok(join(parts, false));
      assert.equal(finish, 'STOP');
    });
  });
}

test('models can be listed', async () => {
  const names = [];
  for await (const model of await client.models.list()) names.push(model.name);
  assert.ok(names.some((name) => name.startsWith('models/anthropic/claude')), names.slice(0, 3).join());
  assert.equal((await client.models.get({ model: names[0] })).name, names[0]);
});

test('a model that nobody serves is not found', async () => {
  const error = await client.models
    .generateContent({ model: 'anthropik/claude-sonnet-4-5', contents: HELLO })
    .then(assert.fail, (error) => error);
  assert.ok(error instanceof ApiError, `${error}`);
  assert.equal(error.status, 404);
});
