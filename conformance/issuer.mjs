// An identity provider for the tests: serves its public key under /keys and signs whatever claims are posted to
// /token, with RS256. `?by=stranger` signs with a key that it does not publish.
import { createServer } from 'node:http';
import { generateKeyPairSync, sign } from 'node:crypto';

const KEY_ID = 'conformance';
const MOST_BYTES = 64 * 1024;

const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });
const published = { ...own.publicKey.export({ format: 'jwk' }), kid: KEY_ID, use: 'sig', alg: 'RS256' };

function tokenOf(claims, key) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'RS256', typ: 'JWT', kid: KEY_ID })}.${part(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), key.privateKey).toString('base64url')}`;
}

async function bodyOf(request) {
  let body = '';
  for await (const piece of request) {
    body += piece;
    if (body.length > MOST_BYTES) throw new Error('these are too many claims');
  }
  return JSON.parse(body);
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://issuer');
  const answer = (status, type, body) => response.writeHead(status, { 'content-type': type }).end(body);
  try {
    if (pathname === '/keys') {
      answer(200, 'application/json', JSON.stringify({ keys: [published] }));
    } else if (pathname === '/token' && request.method === 'POST') {
      answer(200, 'text/plain', tokenOf(await bodyOf(request), searchParams.get('by') === 'stranger' ? stranger : own));
    } else {
      answer(404, 'text/plain', 'there are /keys and /token');
    }
  } catch (error) {
    answer(400, 'text/plain', String(error));
  }
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
