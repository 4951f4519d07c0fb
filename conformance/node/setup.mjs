// What every test shares: the gateway's address, the providers, the simulated models and their answers, some media.
import './loopback.mjs';
import zlib from 'node:zlib';
import { readFileSync } from 'node:fs';

export const GATEWAY = process.env.TIDEGATE_URL;
if (!GATEWAY) throw new Error('TIDEGATE_URL is not set: start the tests with conformance/run.sh');
export const PROVIDERS = ['openai', 'anthropic', 'gemini'];
export const KEY = 'conformance';
export const TIMEOUT = 30_000;

// The simulated models; the same file serves the Python suite.
const SCENARIOS = JSON.parse(readFileSync(new URL('../scenarios.json', import.meta.url), 'utf8'));
export const BREAKING_STREAMS = SCENARIOS.breaking_streams;

/** The name to ask for. What puts a key out of use has a provider of its own, so that nothing else is disturbed. */
export function modelAt(provider, scenario) {
  return `${provider}${SCENARIOS.providers[scenario] ?? ''}/${SCENARIOS.models[scenario] ?? scenario}`;
}

function png() {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const check = Buffer.alloc(4);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const header = Buffer.from([0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
  const rows = zlib.deflateSync(Buffer.from([0, 255, 0, 0, 0, 255, 0, 0, 255, 0, 0, 0, 255, 0]));
  const magic = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([magic, chunk('IHDR', header), chunk('IDAT', rows), chunk('IEND', Buffer.alloc(0))]);
}

// zlib.crc32 came only with Node 22.
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

export const PNG = png();
export const PDF = Buffer.from(
  '%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n%%EOF\n',
);
export const IMAGE_URL = 'https://images.invalid/a%20cat.png';
