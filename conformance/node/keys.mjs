// Makes keys and tokens for the gateway that wants them, and asks it by plain HTTP.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

export const GATEWAY = process.env.TIDEGATE_KEYED_URL;
const { ISSUER_URL: ISSUER, TIDEGATE_ADMIN_KEY: ADMINISTRATOR } = process.env;
if (!GATEWAY) throw new Error('TIDEGATE_KEYED_URL is not set: start the tests with conformance/run.sh');
// A change is in force within a second; the rest is for slow machines.
const IN_FORCE_WITHIN = 15_000;

/** A request without any SDK. */
export async function plain(url, body, headers = {}) {
  const response = await fetch(url, {
    method: body ? 'POST' : 'GET',
    headers: { 'content-type': 'application/json', ...headers },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

async function administer(path, body) {
  const answer = await plain(`${GATEWAY}/admin/v1/keys${path}`, body, { authorization: `Bearer ${ADMINISTRATOR}` });
  assert.ok([200, 201].includes(answer.status), answer.text);
  return JSON.parse(answer.text);
}

/** Waits until the gateway has this against the key; `undefined` where it shall have nothing. */
async function wait(secret, isSo) {
  const deadline = Date.now() + IN_FORCE_WITHIN;
  for (;;) {
    const answer = await plain(`${GATEWAY}/v1/models`, undefined, { authorization: `Bearer ${secret}` });
    const code = answer.status === 200 ? undefined : JSON.parse(answer.text).error.code;
    if (isSo(code)) return;
    assert.ok(Date.now() < deadline, `the key is still ${code ?? 'let in'}`);
    await sleep(50);
  }
}

/** A key, in force. */
async function newKey(fields = {}) {
  const key = await administer('', { name: 'sdk', ...fields });
  await wait(key.secret, (code) => code !== 'invalid_api_key');
  return key;
}

const made = new Map();

/** The same for all tests that ask for it. */
function once(name, make) {
  if (!made.has(name)) made.set(name, make());
  return made.get(name);
}

/** The secret of a key without limits. */
export const allowed = (permissions = {}) =>
  once(`allowed ${JSON.stringify(permissions)}`, async () => (await newKey({ permissions })).secret);

/** The secret of a key that only this test has. */
export const limited = async (limits) => (await newKey({ name: 'limited', limits })).secret;

/** A secret that is refused, and why. */
export const unwelcome = (why) =>
  once(why, async () => {
    if (why === 'another provider’s') return 'sk-proj-0123456789abcdef';
    if (why === 'unknown') {
      // Formed like a key, but for its checksum.
      const { secret } = await newKey();
      return secret.slice(0, -1) + (secret.endsWith('a') ? 'b' : 'a');
    }
    let key;
    if (why === 'expired') {
      key = await administer('', { name: 'sdk', expires_at: new Date(Date.now() + 2000).toISOString() });
    } else {
      key = await newKey();
      if (why === 'disabled') await administer(`/${key.id}/disable`, {});
      if (why === 'rotated') await wait((await administer(`/${key.id}/rotate`, { grace: '1s' })).secret, (code) => !code);
    }
    await wait(key.secret, (code) => code === `${why}_api_key`);
    return key.secret;
  });

/** A key's secrets before and after it was rotated, with an hour for its users to change over. */
export async function rotated() {
  const key = await newKey();
  const { secret } = await administer(`/${key.id}/rotate`, { grace: '1h' });
  await wait(secret, (code) => !code);
  return [key.secret, secret];
}

/** A token of the identity provider, valid where the claims do not say otherwise. */
export async function token(claims = {}, by = 'issuer') {
  const now = Math.floor(Date.now() / 1000);
  const usual = { iss: 'https://issuer.invalid', aud: 'conformance', sub: 'ada', models: ['*'], iat: now, exp: now + 600 };
  const answer = await plain(`${ISSUER}/token?by=${by}`, { ...usual, ...claims });
  assert.equal(answer.status, 200, answer.text);
  return answer.text;
}
