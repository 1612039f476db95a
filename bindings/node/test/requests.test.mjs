// Information about requests: why they ended, their progress, their options.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Model } from 'mullama';
import { failure, loadDemo } from './helpers.mjs';

const question = [{ role: 'user', content: 'What is the capital of France?' }];
const endless = { temperature: 0, ignoreEos: true };

describe('requests', () => {
  let model;
  before(async () => (model = await loadDemo()));
  after(() => model.close());

  test('the stop reason is reported', async () => {
    const done = await model.chat(question, { temperature: 0 });
    const { kind, text, token } = done.stopReason;
    assert.deepEqual([kind, text, token], ['end_token', '<|im_end|>', done.tokens.at(-1)]);
    const stopped = await model.generate('The capital of', { stop: ' is', ...endless });
    assert.deepEqual({ ...stopped.stopReason }, { kind: 'stop_text', text: ' is' });
    const none = await model.generate('The capital of', { maxTokens: 0, ...endless });
    assert.deepEqual([none.text, none.tokens, none.stopReason.kind], ['', [], 'max_tokens']);
    assert.equal(done.usage.reasoningTokens, 0);
  });

  test('chats have log probabilities with bytes', async () => {
    const bytes = [];
    let whole;
    for await (const chunk of model.streamChat(question, { temperature: 0, logprobs: 1 })) {
      for (const token of chunk.logprobs ?? []) bytes.push(...token.bytes);
      whole = chunk.completion;
    }
    assert.equal(Buffer.from(bytes).toString(), `${whole.text}<|im_end|>`);
    assert.equal(whole.logprobs[0].top[0].bytes.length > 0, true);
  });

  test('texts follow regular expressions and Lark grammars', async () => {
    const drawn = { temperature: 1.5, seed: 1 };
    const date = await model.generate('Date: ', { regex: String.raw`\d{4}-\d{2}`, ...drawn });
    assert.match(date.text, /^\d{4}-\d{2}$/);
    const lark = 'start: "x" NUMBER\nNUMBER: /[0-9]{2}/\n';
    const answer = await model.chat(question, { lark, ...drawn });
    assert.match(answer.text, /^x\d\d$/);
    await assert.rejects(model.generate('x', { regex: '(' }), failure('INVALID_GRAMMAR'));
    await assert.rejects(model.generate('x', { lark: 'start: (' }), failure('INVALID_GRAMMAR'));
  });

  test('infill uses the FIM tokens', async (t) => {
    const names = ['fim_pre', 'fim_suf', 'fim_mid'];
    const ids = names.map((name, at) => [`tokenizer.ggml.${name}_token_id`, 300 + at]);
    const metadataOverrides = Object.fromEntries(ids);
    const coder = await Model.load('demo', { metadataOverrides, nThreads: 1 });
    t.after(() => coder.close());
    const tokens = (text) => Array.from(coder.tokenize(text, { addSpecial: false }));
    const prompt = [300, ...tokens('a = '), 301, ...tokens('\nprint(a)'), 302];
    const options = { maxTokens: 4, ...endless };
    const expected = await coder.generate(prompt, options);
    const filled = await coder.infill('a = ', '\nprint(a)', options);
    assert.deepEqual(filled.tokens, expected.tokens);
    await assert.rejects(model.infill('a', 'b'), failure('UNSUPPORTED'));
  });

  test('requests are listed and cancelled, and a full queue rejects them', async (t) => {
    const small = await Model.load('demo', { nParallel: 1, maxQueue: 1, nThreads: 1 });
    t.after(() => small.close());
    const named = { requestId: 'mine', client: 'me', ...endless };
    const first = small.generate('The capital of', named);
    while (small.requests()[0]?.state !== 'generating') await sleep(5);
    const second = small.generate('x', { priority: 2, ...endless });
    while (small.requests().length < 2 || small.stats().waiting < 1) await sleep(5);
    const [one, other] = small.requests();
    assert.deepEqual([one.id, one.client, one.priority], ['mine', 'me', 0]);
    assert.deepEqual([other.state, other.client, other.priority], ['waiting', undefined, 2]);
    await assert.rejects(small.generate('x'), failure('BUSY'));
    assert.ok(small.cancelRequest('mine'));
    assert.equal((await first).stopReason.kind, 'cancelled');
    assert.ok(small.cancelRequest(other.id));
    assert.equal((await second).stopReason.kind, 'cancelled');
    assert.equal(small.cancelRequest('mine'), false);
  });

  test('streams report prompt progress', async (t) => {
    const sizes = { batchSize: 64, ubatchSize: 64, nThreads: 1 };
    const small = await Model.load('demo', sizes);
    t.after(() => small.close());
    const prompt = 'The capital of France is what many people know. '.repeat(20);
    const told = [];
    let whole;
    for await (const chunk of small.stream(prompt, { promptProgress: true, maxTokens: 2 })) {
      if (chunk.progress) told.push(chunk.progress.computed);
      whole = chunk.completion;
    }
    assert.ok(told.length > 2);
    assert.deepEqual(
      told,
      told.toSorted((a, b) => a - b),
    );
    assert.equal(told.at(-1), whole.usage.promptTokens);
  });
});
