// Control over the choice of tokens: order of samplers, banned phrases, custom processors.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Model } from 'mullama';
import { loadDemo } from './helpers.mjs';

const question = [{ role: 'user', content: 'What is the capital of France?' }];
const greedy = { temperature: 0, maxTokens: 24 };

/** The error that a promise is rejected with. */
const failure = (promise) =>
  promise.then(
    () => assert.fail('it did not fail'),
    (error) => error,
  );

describe('sampling', () => {
  let model;
  let plain;
  before(async () => {
    model = await loadDemo();
    plain = await model.chat(question, greedy);
  });
  after(() => model.close());

  test('samplers run in the given order', async () => {
    const text = 'One two one two one two';
    const penalised = { ...greedy, repeatPenalty: 1e6, repeatLastN: -1, topK: 1, ignoreEos: true };
    const said = async (options) => (await model.generate(text, options)).tokens;
    const unpenalised = await said({ ...greedy, ignoreEos: true });
    assert.deepEqual(await said({ ...penalised, samplers: ['top_k', 'penalties'] }), unpenalised);
    assert.notDeepEqual(
      await said({ ...penalised, samplers: ['penalties', 'top_k'] }),
      unpenalised,
    );
    const error = await failure(said({ samplers: ['top_kk'] }));
    assert.equal(error.code, 'INVALID_ARGUMENT');
    assert.match(error.message, /expected one of `penalties`, .* not `top_kk`/);
    const adaptive = { adaptiveP: 0.3, samplers: ['min_p'], seed: 1, maxTokens: 4 };
    assert.equal((await said({ ...adaptive, ignoreEos: true })).length, 4);
  });

  test('banned phrases are never generated', async () => {
    const bannedPhrases = ['Paris', 'capital of'];
    const { text } = await model.chat(question, { ...greedy, bannedPhrases });
    assert.ok(!bannedPhrases.some((phrase) => text.includes(phrase)), text);
    let streamed = '';
    for await (const chunk of model.streamChat(question, { ...greedy, bannedPhrases })) {
      streamed += chunk.text;
    }
    assert.equal(streamed, text);
  });

  test('a processor sees the tokens and changes the logits', async () => {
    const seen = [];
    const kept = [];
    const logitsProcessors = (tokens, logits) => {
      assert.ok(tokens instanceof Int32Array && logits instanceof Float32Array);
      assert.equal(logits.length, model.nVocab);
      seen.push(Array.from(tokens));
      kept.push(logits);
      logits[plain.tokens[0]] = -Infinity;
    };
    const answer = await model.chat(question, { ...greedy, logitsProcessors });
    assert.ok(!answer.tokens.includes(plain.tokens[0]), answer.text);
    assert.equal(seen.length, answer.tokens.length);
    assert.deepEqual(seen.at(-1).slice(-answer.tokens.length + 1), answer.tokens.slice(0, -1));
    // The stored buffer is detached.
    assert.deepEqual(new Set(kept.map((logits) => logits.length)), new Set([0]));
    // In streams, in turn, and in conversations.
    let streamed = '';
    const twice = { ...greedy, logitsProcessors: [logitsProcessors, logitsProcessors] };
    for await (const chunk of model.streamChat(question, twice)) streamed += chunk.text;
    assert.equal(streamed, answer.text);
    const chat = model.startChat({ ...greedy, logitsProcessors });
    assert.equal((await chat.send(question[0].content)).text, answer.text);
    const none = await model.chat(question, { ...greedy, logitsProcessors: null });
    assert.deepEqual(none.tokens, plain.tokens);
  });

  test('an exception ends that request alone', async () => {
    let calls = 0;
    const logitsProcessors = () => {
      if (++calls % 3 === 0) throw new RangeError('on purpose');
    };
    const options = { temperature: 0, ignoreEos: true };
    const beside = model.generate('Once upon a time', { ...options, maxTokens: 30 });
    const error = await failure(model.generate('Once', { ...options, logitsProcessors }));
    assert.equal(error.code, 'CALLBACK');
    assert.match(error.message, /a logits processor failed: on purpose/);
    assert.ok(error.cause instanceof RangeError);
    assert.equal((await beside).tokens.length, 30);
    const stream = async () => {
      for await (const chunk of model.stream('Once', { ...options, logitsProcessors })) void chunk;
    };
    assert.ok((await failure(stream())).cause instanceof RangeError);
  });

  test('invalid logits of processors are errors', async () => {
    const refused = (logitsProcessors) => failure(model.generate('Once', { logitsProcessors }));
    for (const [value, problem] of [
      [NaN, /NaN/],
      [-Infinity, /forbids every token/],
      [Infinity, /inf/],
    ]) {
      const error = await refused((_, logits) => void logits.fill(value));
      assert.equal(error.code, 'CALLBACK');
      assert.match(error.message, problem);
    }
    assert.ok((await refused(async () => {})).cause instanceof TypeError);
    for (const wrong of [3, 'text', [null], {}]) {
      const error = await refused(wrong);
      assert.equal(error.code, 'INVALID_ARGUMENT');
      assert.match(error.message, /logitsProcessors/);
    }
  });

  test('closing does not wait for a processor', async () => {
    const other = await Model.load('demo', { nThreads: 1 });
    let called;
    const running = new Promise((resolve) => (called = resolve));
    const options = { ignoreEos: true, logitsProcessors: () => called() };
    const generating = other.generate('Once', options).catch((error) => error);
    await running;
    other[Symbol.dispose]();
    const outcome = await generating;
    assert.ok(outcome.finishReason === 'cancelled' || outcome.code === 'CALLBACK', outcome);
  });
});
