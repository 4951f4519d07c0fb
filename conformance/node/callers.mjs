// The three SDKs as their users write with them, where a key decides. Each has the same methods, so that each test of
// keys and limits runs with all of them.
import './loopback.mjs';
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { ApiError, GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
import { GATEWAY } from './keys.mjs';
import { PNG, TIMEOUT } from './setup.mjs';

export const TEXT = 'Say hello.';
export const MOST_TOKENS = 64;
const MESSAGES = [{ role: 'user', content: TEXT }];
const SCHEMA = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'], additionalProperties: false };

/** Sees what an SDK sends and gets, and changes nothing: the SDKs take a `fetch` of their users. */
function watch() {
  const seen = { sent: 0, headers: undefined };
  seen.fetch = async (...given) => {
    seen.sent += 1;
    const response = await fetch(...given);
    seen.headers = response.headers;
    return response;
  };
  return seen;
}

function openai(key, { retries = 0 } = {}) {
  const seen = watch();
  const client = new OpenAI({
    baseURL: `${GATEWAY}/v1`,
    // The SDK wants a key; without one its header is left out.
    apiKey: key ?? 'none',
    defaultHeaders: key ? {} : { Authorization: null },
    maxRetries: retries,
    timeout: TIMEOUT,
    fetch: seen.fetch,
  });
  return {
    seen,
    async ask(model, stream, options = {}) {
      const request = { model, messages: MESSAGES, max_tokens: MOST_TOKENS, stream, ...options };
      const { data, response } = await client.chat.completions.create(request).withResponse();
      let text = '';
      if (stream) for await (const chunk of data) text += chunk.choices[0]?.delta.content ?? '';
      else text = data.choices[0].message.content;
      return { text, headers: response.headers };
    },
    async models() {
      const names = [];
      for await (const model of client.models.list()) names.push(model.id);
      return names;
    },
    model: async (name) => (await client.models.retrieve(name)).id,
  };
}
openai.refusals = {
  authentication: [OpenAI.AuthenticationError, 401, 'authentication_error'],
  permission: [OpenAI.PermissionDeniedError, 403, 'permission_error'],
  limit: [OpenAI.RateLimitError, 429, 'rate_limit_error'],
  budget: [OpenAI.APIError, 402, 'insufficient_quota'],
  model: [OpenAI.NotFoundError, 404, 'invalid_request_error'],
};
openai.facts = (error) => ({ status: error.status, word: error.type, message: error.error.message, headers: error.headers });
openai.features = {
  tools: { tools: [{ type: 'function', function: { name: 'get_name', parameters: SCHEMA } }] },
  structured_output: { response_format: { type: 'json_schema', json_schema: { name: 'city', schema: SCHEMA } } },
  reasoning: { reasoning_effort: 'high' },
  images: {
    messages: [
      {
        role: 'user',
        content: [{ type: 'image_url', image_url: { url: `data:image/png;base64,${PNG.toString('base64')}` } }],
      },
    ],
  },
};

function anthropic(key, { retries = 0, credentials } = {}) {
  const seen = watch();
  const client = new Anthropic({
    baseURL: GATEWAY,
    ...(credentials ?? (key ? { apiKey: key } : { apiKey: null, defaultHeaders: { Authorization: null } })),
    maxRetries: retries,
    timeout: TIMEOUT,
    fetch: seen.fetch,
  });
  return {
    seen,
    async ask(model, stream, options = {}) {
      const request = { model, messages: MESSAGES, max_tokens: MOST_TOKENS, stream, ...options };
      const { data, response } = await client.messages.create(request).withResponse();
      let text = '';
      if (stream) for await (const event of data) text += event.delta?.text ?? '';
      else text = data.content.map((block) => block.text ?? '').join('');
      return { text, headers: response.headers };
    },
    async models() {
      const names = [];
      for await (const model of client.models.list()) names.push(model.id);
      return names;
    },
    model: async (name) => (await client.models.retrieve(name)).id,
  };
}
anthropic.refusals = {
  authentication: [Anthropic.AuthenticationError, 401, 'authentication_error'],
  permission: [Anthropic.PermissionDeniedError, 403, 'permission_error'],
  limit: [Anthropic.RateLimitError, 429, 'rate_limit_error'],
  budget: [Anthropic.APIError, 402, 'billing_error'],
  model: [Anthropic.NotFoundError, 404, 'not_found_error'],
};
anthropic.facts = (error) => ({
  status: error.status,
  word: error.type,
  message: error.error.error.message,
  headers: error.headers,
});
anthropic.features = {
  tools: { tools: [{ name: 'get_name', input_schema: SCHEMA }] },
  structured_output: { output_config: { format: { type: 'json_schema', schema: SCHEMA } } },
  reasoning: { thinking: { type: 'enabled', budget_tokens: 1024 }, max_tokens: 2048 },
  images: {
    messages: [
      {
        role: 'user',
        content: [
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG.toString('base64') } },
        ],
      },
    ],
  },
};

function google(key, { retries = 0 } = {}) {
  const seen = watch();
  const client = new GoogleGenAI({
    apiKey: key ?? 'none',
    httpOptions: {
      baseUrl: GATEWAY,
      timeout: TIMEOUT,
      fetch: seen.fetch,
      // The SDK wants a key; an empty header is as good as none.
      headers: key ? {} : { 'x-goog-api-key': '' },
      // It waits by a clock of its own, which its user sets, and never by Retry-After.
      retryOptions: retries ? { attempts: 1 + retries, initialDelay: 1.1, jitter: 0 } : undefined,
    },
  });
  const partsOf = (response) => response.candidates?.[0]?.content?.parts ?? [];
  return {
    seen,
    async ask(model, stream, { contents = TEXT, ...options } = {}) {
      const request = { model, contents, config: { maxOutputTokens: MOST_TOKENS, ...options } };
      const chunks = [];
      if (stream) for await (const chunk of await client.models.generateContentStream(request)) chunks.push(chunk);
      else chunks.push(await client.models.generateContent(request));
      const text = chunks.flatMap(partsOf).map((part) => (part.thought ? '' : (part.text ?? ''))).join('');
      return { text, headers: new Headers(chunks[0].sdkHttpResponse.headers) };
    },
    async models() {
      const names = [];
      for await (const model of await client.models.list()) names.push(model.name.replace(/^models\//, ''));
      return names;
    },
    model: async (name) => (await client.models.get({ model: name })).name.replace(/^models\//, ''),
  };
}
google.refusals = {
  authentication: [ApiError, 401, 'UNAUTHENTICATED'],
  permission: [ApiError, 403, 'PERMISSION_DENIED'],
  limit: [ApiError, 429, 'RESOURCE_EXHAUSTED'],
  budget: [ApiError, 402, 'RESOURCE_EXHAUSTED'],
  model: [ApiError, 404, 'NOT_FOUND'],
};
google.facts = (error, seen) => {
  const body = JSON.parse(error.message).error;
  assert.equal(body.code, error.status);
  // Its errors have no headers.
  return { status: error.status, word: body.status, message: body.message, headers: seen.headers };
};
google.features = {
  tools: { tools: [{ functionDeclarations: [{ name: 'get_name', parametersJsonSchema: SCHEMA }] }] },
  structured_output: { responseMimeType: 'application/json', responseJsonSchema: SCHEMA },
  reasoning: { thinkingConfig: { thinkingBudget: 1024 } },
  images: {
    contents: [{ role: 'user', parts: [{ inlineData: { mimeType: 'image/png', data: PNG.toString('base64') } }] }],
  },
};

export const CALLERS = { openai, anthropic, google };
