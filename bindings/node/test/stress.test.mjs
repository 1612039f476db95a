// Two hundred concurrent requests of every kind, with KV cache cells for a few of them.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { built, demoFor, failure, repository, temporaryFolder } from './helpers.mjs';

const REQUESTS = 200;
const COUNTRIES = 'France Japan Italy Spain Norway Egypt Kenya Peru Chile Cuba'.split(' ');
const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 12 }, big: { type: 'boolean' } },
  required: ['city', 'big'],
};
const testkit = built('mullama-testkit');
const skip = testkit ? false : 'mullama-testkit has not been built';
const folder = temporaryFolder();

/** Sets of adapters for the demo model, too weak to change its answers. */
function adapters() {
  const files = ['1', '2'].map((seed) => {
    const file = path.join(folder, `${seed}.gguf`);
    execFileSync(testkit, ['adapter', path.join(repository, 'models/demo/demo.gguf'), file, seed]);
    return [[file, 0.01]];
  });
  return [[], ...files];
}

/** The requests, in an irregular order. */
function* requests(sets) {
  for (let index = 0; index < REQUESTS; index += 1) {
    const draw = (index * 7919) % REQUESTS;
    const country = COUNTRIES[draw % 10];
    const lora = sets[Math.floor(draw / 3) % 3];
    const filler = 'You are a helpful assistant. ';
    const prompt = `${filler.repeat(draw % 13)}The capital of ${country} is`;
    const kind = index % 10;
    if (kind < 5) {
      const asked = [{ role: 'user', content: `What is the capital of ${country}?` }];
      if (draw % 2 === 0) {
        asked.unshift({ role: 'system', content: filler.repeat(1 + (draw % 9)).trim() });
      }
      const end = [{ stop: ' is' }, { promptLookup: 4 }, { maxTokens: 3 }][draw % 5];
      yield { kind: 'same', asked, options: { temperature: 0, lora, ...end } };
    } else if (kind === 5) {
      yield { kind: 'json', asked: prompt, options: { jsonSchema: SCHEMA, seed: draw, lora } };
    } else if (kind === 6) {
      const options = { ignoreEos: true, temperature: 0 };
      yield { kind: 'dropped', asked: prompt, options, pieces: index % 4 };
    } else if (kind === 7) {
      yield { kind: 'cancelled', asked: prompt, options: { ignoreEos: true, lora }, ms: index / 4 };
    } else if (kind === 8) {
      const options = { grammar: 'root ::= missing' };
      yield { kind: 'wrong', asked: prompt, options, code: 'INVALID_GRAMMAR' };
    } else {
      yield { kind: 'wrong', asked: 'a b c d '.repeat(400), options: {}, code: 'CONTEXT_OVERFLOW' };
    }
  }
}

/** The tokens of an answer computed alone, if the model is sure of every token. */
async function alone(model, { kind, asked, options }) {
  if (kind !== 'same') return undefined;
  const { tokens, logprobs } = await model.chat(asked, { ...options, logprobs: 2 });
  const isSure = logprobs.every(({ top: [best, next] }) => best.logprob - next.logprob > 0.1);
  return isSure ? tokens : undefined;
}

async function run(model, { kind, asked, options, ...rest }, expected) {
  if (kind === 'same') {
    const { tokens } = await model.chat(asked, options);
    if (expected) assert.deepEqual(tokens, expected);
  } else if (kind === 'json') {
    const { city, big } = JSON.parse((await model.generate(asked, options)).text);
    assert.deepEqual([typeof city, typeof big], ['string', 'boolean']);
  } else if (kind === 'dropped') {
    let pieces = 0;
    for await (const _ of model.stream(asked, options)) {
      if ((pieces += 1) > rest.pieces) break;
    }
  } else if (kind === 'cancelled') {
    const controller = new AbortController();
    const answer = model.generate(asked, { ...options, signal: controller.signal });
    setTimeout(() => controller.abort(), rest.ms);
    await assert.rejects(answer, { name: 'AbortError' });
  } else {
    await assert.rejects(model.generate(asked, options), failure(rest.code));
  }
}

test('two hundred requests over a small cache', { skip }, async (t) => {
  const all = [...requests(adapters())];
  const expected = [];
  {
    const model = await demoFor(t);
    for (const request of all) expected.push(await alone(model, request));
  }
  assert.ok(expected.filter(Boolean).length >= 80);

  const model = await demoFor(t, { contextSize: 256, nParallel: 6 });
  const held = [];
  let finished = 0;
  for (let round = 0; round < 3; round += 1) {
    await Promise.all(all.map((request, index) => run(model, request, expected[index])));
    const deadline = Date.now() + 10_000;
    while (model.stats().running + model.stats().waiting > 0 && Date.now() < deadline) {
      await sleep(10);
    }
    const stats = model.stats();
    assert.deepEqual([stats.running, stats.waiting], [0, 0]);
    assert.equal(stats.kvUsed, stats.kvKept);
    assert.ok(stats.finished > finished && stats.preemptions > 0);
    finished = stats.finished;
    held.push(process.memoryUsage().rss);
  }
  // JavaScript's own heap grows and shrinks.
  assert.ok(held[2] - held[1] < 32 << 20, `${held}`);
});
