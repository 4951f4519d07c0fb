// Keys, permissions, limits and budgets as the users of each SDK meet them.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CALLERS, TEXT } from './callers.mjs';
import { allowed, GATEWAY, limited, plain, rotated, token, unwelcome } from './keys.mjs';
import { modelAt, PROVIDERS } from './setup.mjs';

// How each kind of key is refused, in a word that tells it from the others.
const UNWELCOME = {
  unknown: 'not known here',
  'another provider’s': 'not known here',
  expired: 'has expired',
  disabled: 'is disabled',
  rotated: 'has been replaced',
};
// More calls than any budget here pays for.
const MOST_CALLS = 60;

/** The call is refused, with the error that the SDK's users know; its message and headers. */
async function refused(caller, sdk, kind, call) {
  const [type, status, word] = caller.refusals[kind];
  const error = await call().then((answer) => assert.fail(`let in: ${JSON.stringify(answer)}`), (error) => error);
  assert.ok(error instanceof type, `${error}`);
  const { message, headers, ...facts } = caller.facts(error, sdk.seen);
  assert.deepEqual(facts, { status, word }, message);
  return { message, headers };
}

/** Limit and what remains, as this SDK's users read them; the moment of the reset is there and readable. */
function rateLimitHeaders(caller, headers, what) {
  const seen = ['limit', 'remaining'].map((part) => Number(headers.get(`x-ratelimit-${part}-${what}`) ?? NaN));
  assert.match(headers.get(`x-ratelimit-reset-${what}`), /^[0-9hms]+s$/);
  if (caller === CALLERS.anthropic) {
    const own = ['limit', 'remaining'].map((part) => Number(headers.get(`anthropic-ratelimit-${what}-${part}`) ?? NaN));
    assert.deepEqual(own, seen);
    assert.ok(Date.parse(headers.get(`anthropic-ratelimit-${what}-reset`)) > Date.now() - 60_000);
  }
  return seen;
}

for (const [name, caller] of Object.entries(CALLERS)) {
  for (const stream of [false, true]) {
    const how = `${name}’s SDK, ${stream ? 'streamed' : 'whole'}`;

    describe(`${how}: keys and tokens`, () => {
      for (const provider of PROVIDERS) {
        test(`a key and a token work where the SDK puts them: ${provider}`, async () => {
          for (const shown of [await allowed(), await token()]) {
            const answer = await caller(shown).ask(modelAt(provider, 'chat'), stream);
            assert.ok(answer.text && answer.headers.get('x-tidegate-target'));
          }
        });
      }

      test('without a key nobody is let in', async () => {
        const sdk = caller(undefined);
        const { message } = await refused(caller, sdk, 'authentication', () => sdk.ask('openai/plain', stream));
        assert.match(message, /No API key was sent/);
      });

      for (const [why, words] of Object.entries(UNWELCOME)) {
        test(`a key that does not count raises and says why: ${why}`, async () => {
          const sdk = caller(await unwelcome(why), { retries: 2 });
          const { message } = await refused(caller, sdk, 'authentication', () => sdk.ask('openai/plain', stream));
          assert.ok(message.includes(words), message);
          assert.equal(sdk.seen.sent, 1, 'the SDK asked again, in vain');
          await refused(caller, sdk, 'authentication', () => sdk.models());
        });
      }

      test('after a rotation both secrets work until the grace ends', async () => {
        for (const secret of await rotated()) assert.ok((await caller(secret).ask('openai/plain', stream)).text);
      });

      test('a token that does not count raises', async () => {
        const now = Math.floor(Date.now() / 1000);
        for (const shown of [
          await token({ iat: now - 7200, exp: now - 3600 }),
          await token({ aud: 'somebody-else' }),
          await token({ iss: 'https://elsewhere.invalid' }),
          await token({}, 'stranger'),
        ]) {
          const sdk = caller(shown);
          const { message } = await refused(caller, sdk, 'authentication', () => sdk.ask('openai/plain', stream));
          assert.match(message, /token/);
        }
      });
    });

    describe(`${how}: permissions`, () => {
      test('a model that is not permitted raises', async () => {
        for (const shown of [await allowed({ models: ['anthropic/plain'] }), await token({ models: ['anthropic/plain'] })]) {
          const sdk = caller(shown, { retries: 2 });
          assert.ok((await sdk.ask('anthropic/plain', stream)).text);
          const { message } = await refused(caller, sdk, 'permission', () => sdk.ask('openai/plain', stream));
          assert.match(message, /This (key|token) does not allow the model `openai\/plain`/);
          assert.equal(sdk.seen.sent, 2, 'the SDK asked again, in vain');
        }
      });

      for (const provider of PROVIDERS) {
        test(`a provider that is not permitted raises: only ${provider}`, async () => {
          const sdk = caller(await allowed({ providers: [provider] }));
          assert.ok((await sdk.ask(`${provider}/plain`, stream)).text);
          for (const other of PROVIDERS.filter((it) => it !== provider)) {
            await refused(caller, sdk, 'permission', () => sdk.ask(`${other}/plain`, stream));
          }
        });

        for (const [feature, options] of Object.entries(caller.features)) {
          test(`a feature that is not permitted raises: ${feature} at ${provider}`, async () => {
            const sdk = caller(await allowed({ denied_features: [feature] }));
            const model = modelAt(provider, 'chat');
            const { message } = await refused(caller, sdk, 'permission', () => sdk.ask(model, stream, options));
            assert.ok(message.includes(`\`${feature}\``), message);
            for (const [other, options] of Object.entries(caller.features)) {
              if (other !== feature) await sdk.ask(model, stream, options);
            }
          });
        }
      }

      test('an operation that is not permitted raises', async () => {
        const looking = caller(await allowed({ endpoints: ['models'] }));
        assert.ok((await looking.models()).length > 0);
        await refused(caller, looking, 'permission', () => looking.ask('openai/plain', stream));
        const asking = caller(await allowed({ endpoints: ['chat'] }));
        assert.ok((await asking.ask('openai/plain', stream)).text);
        await refused(caller, asking, 'permission', () => asking.models());
      });
    });

    describe(`${how}: limits and budgets`, () => {
      for (const provider of PROVIDERS) {
        const model = modelAt(provider, 'chat');

        test(`a limit on requests raises and can be watched coming: ${provider}`, async () => {
          const sdk = caller(await limited({ requests: [{ max: 2, per: 'hour' }] }));
          for (const left of [1, 0]) {
            const { headers } = await sdk.ask(model, stream);
            assert.deepEqual(rateLimitHeaders(caller, headers, 'requests'), [2, left]);
          }
          const { message, headers } = await refused(caller, sdk, 'limit', () => sdk.ask(model, stream));
          assert.deepEqual(rateLimitHeaders(caller, headers, 'requests'), [2, 0]);
          assert.match(message, /key `limited` may have 2 requests per hour/);
          const seconds = Number(headers.get('retry-after'));
          assert.ok(seconds > 3000 && seconds <= 3660, `${seconds}`);
          assert.equal(Math.ceil(Number(headers.get('retry-after-ms')) / 1000), seconds);
        });

        test(`a budget that is used up raises: ${provider}`, async () => {
          const sdk = caller(await limited({ budgets: [{ usd: '0.6', per: 'month' }] }), { retries: 2 });
          let spent = 0;
          let count = 0;
          let error;
          for (; count < MOST_CALLS && !error; count++) {
            const answer = await sdk.ask(model, stream).catch((raised) => {
              error = raised;
            });
            if (error) break;
            const left = Number(answer.headers.get('x-tidegate-budget-remaining') ?? NaN);
            assert.ok(left >= 0 && left < 0.6, `${left}`);
            spent += Number(answer.headers.get('x-tidegate-cost') ?? 0);
          }
          assert.ok(count > 1 && count < MOST_CALLS, `${count}`);
          assert.equal(sdk.seen.sent, count + 1, 'the SDK asked again, in vain');
          // A stream's cost is known only when its headers are gone.
          assert.ok(stream || (spent > 0 && spent <= 0.6), `${spent}`);
          const { message, headers } = await refused(caller, sdk, 'budget', () => Promise.reject(error));
          assert.match(message, /Budget used up: key `limited` may spend 0\.6/);
          assert.ok(Number(headers.get('x-tidegate-budget-remaining') ?? NaN) >= 0);
          assert.equal(headers.get('retry-after'), null);
        });
      }

      test('the SDK waits for room by itself', async () => {
        // One retry only: OpenAI's and Anthropic's SDKs would come back after half a second, were it not for Retry-After.
        const sdk = caller(await limited({ requests: [{ max: 1, per: 'second' }] }), { retries: 1 });
        for (let count = 0; count < 4; count++) assert.ok((await sdk.ask('openai/plain', stream)).text);
        assert.ok(sdk.seen.sent > 4, 'nothing was refused, so nothing is proved');
      });

      // Google’s SDK asks again by its own clock, whatever it is told.
      if (caller !== CALLERS.google) {
        test('the SDK does not wait for hours in silence, nor ask in vain', async () => {
          const sdk = caller(await limited({ requests: [{ max: 1, per: 'hour' }] }), { retries: 2 });
          await sdk.ask('openai/plain', stream);
          await refused(caller, sdk, 'limit', () => sdk.ask('openai/plain', stream));
          assert.equal(sdk.seen.sent, 2);
        });
      }
    });
  }

  test(`${name}’s SDK: the list of models shows what the key may use`, async () => {
    const everything = await caller(await allowed()).models();
    assert.deepEqual([...new Set(everything.map((model) => model.split('/')[0]))].sort(), [...PROVIDERS].sort());
    const sdk = caller(await allowed({ providers: ['anthropic'] }));
    const own = everything.filter((model) => model.startsWith('anthropic/'));
    assert.deepEqual(await sdk.models(), own);
    assert.equal(await sdk.model(own[0]), own[0]);
    // As if it did not exist: what a key may not use is not its business.
    const another = everything.find((model) => model.startsWith('gemini/'));
    await refused(caller, sdk, 'model', () => sdk.model(another));
  });

  test(`${name}’s SDK: streams that are not permitted raise`, async () => {
    const sdk = caller(await allowed({ denied_features: ['streaming'] }));
    assert.ok((await sdk.ask('openai/plain', false)).text);
    await refused(caller, sdk, 'permission', () => sdk.ask('openai/plain', true));
  });
}

for (const stream of [false, true]) {
  for (const place of ['apiKey', 'authToken', 'x-api-key']) {
    test(`Anthropic’s SDK may put a key into ${place}${stream ? ', streamed' : ''}`, async () => {
      const shown = await allowed();
      // What is called apiKey stands in Authorization in newer releases of the SDK; older ones send x-api-key.
      const own = { apiKey: null, defaultHeaders: { 'x-api-key': shown, Authorization: null } };
      const credentials = place === 'x-api-key' ? own : { apiKey: null, [place]: shown };
      assert.ok((await CALLERS.anthropic(undefined, { credentials }).ask('anthropic/plain', stream)).text);
    });
  }

  test(`a key is found in Azure’s header, and where Google’s documentation puts it${stream ? ', streamed' : ''}`, async () => {
    const messages = [{ role: 'user', content: TEXT }];
    const azure = (key) => plain(`${GATEWAY}/v1/chat/completions`, { model: 'openai/plain', messages, stream }, { 'api-key': key });
    assert.equal((await azure(await allowed())).status, 200);
    assert.equal((await azure(await unwelcome('disabled'))).status, 401);
    const body = { contents: [{ role: 'user', parts: [{ text: TEXT }] }] };
    const method = stream ? 'streamGenerateContent?alt=sse&' : 'generateContent?';
    const inQuery = (key) => plain(`${GATEWAY}/v1beta/models/gemini/plain:${method}key=${key}`, body);
    assert.equal((await inQuery(await allowed())).status, 200);
    assert.equal((await inQuery(await unwelcome('expired'))).status, 401);
  });
}
