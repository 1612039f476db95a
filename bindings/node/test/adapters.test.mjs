// LoRA adapters, saved states, prompt lookup and finishing before closing.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import {
  built,
  collect,
  demoFor,
  endless,
  failure,
  loadDemo,
  repository,
  temporaryFolder,
} from './helpers.mjs';

const testkit = built('mullama-testkit');
const skip = testkit ? false : 'mullama-testkit has not been built';
const prompt = 'The quick brown fox';
const greedy = { ...endless, maxTokens: 24 };
const question = [{ role: 'user', content: 'What is the capital of France?' }];

describe('adapters', { skip }, () => {
  const folder = temporaryFolder();
  const [first, second] = [1, 2].map((seed) => path.join(folder, `${seed}.gguf`));
  let model;
  const tokens = async (options) =>
    (await model.generate(prompt, { ...greedy, ...options })).tokens;

  before(async () => {
    const base = path.join(repository, 'models/demo/demo.gguf');
    for (const [index, file] of [first, second].entries()) {
      execFileSync(testkit, ['adapter', base, file, `${index + 1}`]);
    }
    model = await loadDemo();
  });
  after(() => model.close());

  test('apply to one request', async () => {
    const plain = await tokens();
    const adapted = await tokens({ lora: first });
    assert.notDeepEqual(adapted, plain);
    assert.deepEqual(await tokens({ lora: [] }), plain);
    assert.deepEqual(await tokens({ lora: [[first, 1]] }), adapted);
    assert.deepEqual(
      await tokens({
        lora: [
          [first, 0.5],
          [first, 0.5],
        ],
      }),
      adapted,
    );
    assert.notDeepEqual(await tokens({ lora: [first, [second, -1]] }), adapted);
  });

  test('apply to a model, and can be changed', async () => {
    const adapted = await loadDemo({ lora: [first] });
    const answer = async () => (await adapted.generate(prompt, greedy)).tokens;
    assert.deepEqual(await answer(), await tokens({ lora: first }));
    await adapted.setLora([]);
    assert.deepEqual(await answer(), await tokens());
    await adapted.setLora([[first, 1]]);
    assert.deepEqual(await answer(), await tokens({ lora: first }));
    await adapted.close();
  });

  test('are rejected if invalid', async () => {
    const text = path.join(folder, 'text.gguf');
    writeFileSync(text, 'this is no adapter');
    const missing = path.join(folder, 'missing.gguf');
    await assert.rejects(model.setLora(missing), failure('NOT_FOUND', /there is no file/));
    await assert.rejects(tokens({ lora: text }), failure('INVALID_MODEL', /text\.gguf/));
    const base = path.join(repository, 'models/demo/demo.gguf');
    await assert.rejects(model.setLora([base]), failure('INVALID_MODEL', /general\.type/));
    for (const wrong of [3, [3], [['a', 'b']], [['a', 1, 2]], { a: 1 }]) {
      await assert.rejects(model.setLora(wrong), failure('INVALID_ARGUMENT', /lora/));
      await assert.rejects(tokens({ lora: wrong }), failure('INVALID_ARGUMENT', /lora/));
    }
  });
});

describe('a state', () => {
  const folder = temporaryFolder();

  test('is restored in another model of the same file', async (t) => {
    const model = await demoFor(t);
    const rendered = model.applyChatTemplate(question);
    const state = await model.saveState(rendered);
    assert.ok(Buffer.isBuffer(state));
    const file = path.join(folder, 'paris.state');
    assert.deepEqual(await model.saveState(rendered, { path: file }), readFileSync(file));
    for (const saved of [state, new Uint8Array(state), file, pathToFileURL(file)]) {
      const other = await demoFor(t);
      assert.equal(await other.loadState(saved), model.countTokens(rendered));
      const answer = await other.chat(question, { temperature: 0 });
      assert.equal(answer.text, 'The capital of France is Paris.');
      assert.equal(answer.usage.cachedTokens, answer.usage.promptTokens - 1);
    }
  });

  test('is rejected if it is damaged or has other settings', async (t) => {
    const model = await demoFor(t);
    const state = await model.saveState('Hello, you');
    const other = await demoFor(t, { kvCacheType: 'q8_0' });
    await assert.rejects(other.loadState(state), failure('INVALID_ARGUMENT', /other settings/));
    await assert.rejects(
      model.loadState(state.subarray(9)),
      failure('INVALID_ARGUMENT', /not one that/),
    );
    await assert.rejects(
      model.loadState(state.subarray(0, -1)),
      failure('INVALID_ARGUMENT', /damaged/),
    );
    await assert.rejects(model.loadState(3), failure('INVALID_ARGUMENT', /Uint8Array/));
    const missing = path.join(folder, 'missing');
    await assert.rejects(model.loadState(missing), failure('NOT_FOUND'));
    const within = { path: path.join(missing, 'file') };
    await assert.rejects(model.saveState('Hello', within), failure('IO', /cannot write/));
    await assert.rejects(
      model.saveState('Hello', { file: 'a' }),
      failure('INVALID_ARGUMENT', /file/),
    );
  });
});

test('lookup guesses do not change answers', async (t) => {
  const model = await demoFor(t);
  const plain = await model.chat(question, { temperature: 0 });
  const guessed = await model.chat(question, { temperature: 0, promptLookup: 8 });
  assert.deepEqual(guessed.tokens, plain.tokens);
  await model.generate('one two one two one two', { ...greedy, promptLookup: 8 });
  const { draftedTokens, acceptedTokens } = model.stats();
  assert.ok(draftedTokens > 0 && acceptedTokens <= draftedTokens);
});

test('draft models do not change answers', async () => {
  const draft = path.join(repository, 'models/demo/draft.gguf');
  const model = await loadDemo({ draftModel: draft });
  try {
    assert.ok(model.placement.devices.at(-1).draft > 1_000_000);
    const plain = await model.chat(question, { temperature: 0, draft: 'off' });
    assert.equal(plain.usage.draftedTokens, 0);
    const drafted = await model.chat(question, { temperature: 0, draftMax: 4 });
    assert.deepEqual(drafted.tokens, plain.tokens);
    for (const country of ['Peru', 'Japan', 'Kenya']) {
      await model.generate(`The capital of ${country} is`, { temperature: 0, maxTokens: 40 });
    }
    const { draftedTokens, acceptedTokens } = model.stats();
    assert.ok(acceptedTokens > 0 && acceptedTokens <= draftedTokens);
  } finally {
    model.close();
  }
  await assert.rejects(loadDemo({ draftModel: 'no/such/draft.gguf' }), failure('NOT_FOUND'));
});

test('closing can wait for running requests', async () => {
  const model = await loadDemo();
  const pieces = collect(model.stream('Hello', { ...endless, maxTokens: 100 }));
  const whole = model.generate('Hello', { ...endless, maxTokens: 100 });
  // The requests start by the next turn of the event loop.
  await new Promise((resolve) => setTimeout(resolve, 20));
  await model.close({ finish: true });
  assert.equal((await whole).finishReason, 'length');
  assert.equal((await pieces).at(-1).completion.finishReason, 'length');
  await assert.rejects(model.generate('Hello'), failure('CLOSED'));
  const other = await loadDemo();
  await assert.rejects(other.close({ wait: true }), failure('INVALID_ARGUMENT', /wait/));
});
