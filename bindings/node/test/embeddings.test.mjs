// Embeddings of texts and scores of documents.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { inspect } from 'node:util';

import { Model } from 'mullama';
import { built, failure, loadDemo } from './helpers.mjs';

let demo;
before(async () => {
  demo = await loadDemo();
});
after(() => demo.close());

const length = (vector) => Math.hypot(...vector);

/** The path of a model that the testkit creates. */
function fixture(name) {
  return execFileSync(built('mullama-testkit'), ['path', name], { encoding: 'utf8' }).trim();
}

/** Calls `use` with such a model and closes it afterwards. */
async function using(name, use) {
  const model = await Model.load(fixture(name));
  try {
    await use(model);
  } finally {
    await model.close();
  }
}

const withTestkit = { skip: built('mullama-testkit') ? false : 'mullama-testkit is not built' };

test('texts have vectors in one buffer', async () => {
  const embeddings = await demo.embed(['Paris', 'Rome', 'a longer text about Rome']);
  assert.equal(embeddings.length, 3);
  assert.equal(embeddings.dimensions, 128);
  assert.equal(embeddings.pooling, 'mean');
  assert.equal(embeddings.normalized, true);
  assert.equal(embeddings.values.length, 3 * 128);
  for (const vector of embeddings) {
    assert.ok(vector instanceof Float32Array);
    assert.equal(vector.buffer, embeddings.values.buffer);
    assert.ok(Math.abs(length(vector) - 1) < 1e-5);
  }
  assert.equal(embeddings.vectors[2].byteOffset - embeddings.values.byteOffset, 2 * 128 * 4);
  const total = embeddings.tokenCounts.reduce((sum, count) => sum + count);
  assert.deepEqual(embeddings.usage, { promptTokens: total, truncatedTokens: 0 });
  const plain = JSON.parse(JSON.stringify(embeddings));
  assert.deepEqual(plain[1], Array.from(embeddings.vectors[1]));
});

test('vectors are shown without their numbers', async () => {
  const text = inspect(await demo.embed(['one', 'two']));
  assert.match(text, /^Embeddings \{\s+length: 2,\s+dimensions: 128,/);
  assert.ok(text.length < 300);
});

test('one text, a list of one and its tokens embed equally', async () => {
  const one = await demo.embed('Paris');
  const tokens = demo.tokenize('Paris');
  const others = [['Paris'], tokens, [tokens], Int32Array.from(tokens), [Int32Array.from(tokens)]];
  for (const other of others) {
    assert.deepEqual((await demo.embed(other)).vectors, one.vectors);
  }
  const none = await demo.embed([]);
  assert.deepEqual([none.length, none.dimensions, none.vectors], [0, 128, []]);
});

test('each token can have its vector', async () => {
  const texts = ['Paris', 'a longer text about Rome'];
  const matrix = await demo.embed(texts, { pooling: 'none' });
  assert.deepEqual(
    matrix.vectors.map((vector) => vector.length),
    matrix.tokenCounts.map((count) => count * 128),
  );
  const last = await demo.embed(texts, { pooling: 'last' });
  const own = matrix.vectors[1].subarray(-128);
  assert.ok(own.every((number, at) => Math.abs(number - last.vectors[1][at]) < 1e-3));
});

test('vectors can be shorter, and not scaled', async () => {
  const short = await demo.embed('Paris', { dimensions: 16 });
  assert.equal(short.vectors[0].length, 16);
  assert.ok(Math.abs(length(short.vectors[0]) - 1) < 1e-5);
  const plain = await demo.embed('Paris', { normalize: false });
  assert.ok(Math.abs(length(plain.vectors[0]) - 1) > 0.01);
});

test('concurrent calls match single ones', async () => {
  const texts = Array.from({ length: 50 }, (_, index) => `text ${index} `.repeat(1 + (index % 7)));
  const together = await Promise.all(texts.map((text) => demo.embed(text)));
  const batch = await demo.embed(texts);
  for (const [index, { vectors }] of together.entries()) {
    const apart = vectors[0].map((number, at) => Math.abs(number - batch.vectors[index][at]));
    assert.ok(Math.max(...apart) < 1e-3, texts[index]);
  }
});

test('overlong inputs are rejected or truncated', async () => {
  const long = 'word '.repeat(3000);
  await assert.rejects(demo.embed(['short', long]), (error) => {
    assert.deepEqual([error.context.input, error.context.limit], ['1', '2048']);
    return failure('CONTEXT_OVERFLOW', /input 1 has \d+ tokens/)(error);
  });
  const { usage, tokenCounts } = await demo.embed(['short', long], { truncate: 'end' });
  assert.equal(tokenCounts[1], 2048);
  assert.equal(usage.truncatedTokens, demo.countTokens(long) - 2048);
});

test('inputs of a wrong type are rejected', async () => {
  const invalid = failure('INVALID_ARGUMENT');
  for (const texts of [5, null, undefined, {}, [null], ['x', 5], [['x']], new Set(['x'])]) {
    await assert.rejects(demo.embed(texts), invalid);
  }
  for (const documents of ['x', null, [1], {}]) {
    await assert.rejects(demo.rerank('x', documents), invalid);
  }
  await assert.rejects(
    demo.embed('x', { addSpecials: true }),
    failure('INVALID_ARGUMENT', /addSpecials/),
  );
});

test('a signal ends an embedding', async () => {
  const bulk = Array.from({ length: 3000 }, () => 'word '.repeat(200));
  const controller = new AbortController();
  const pending = demo.embed(bulk, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(pending, { name: 'AbortError' });
  await assert.rejects(demo.embed('x', { signal: AbortSignal.abort() }), { name: 'AbortError' });
  await assert.rejects(demo.embed(bulk, { timeout: 0.05 }), failure('CANCELLED', /timeout/));
  assert.equal((await demo.embed('x')).length, 1);
});

test('a closed model rejects calls', async () => {
  const model = await loadDemo();
  const pending = model.embed(Array.from({ length: 3000 }, () => 'word '.repeat(100)));
  const [outcome] = await Promise.allSettled([pending, model.close()]);
  assert.equal(outcome.reason?.code, 'CLOSED');
  await assert.rejects(model.embed('x'), failure('CLOSED'));
});

describe('encoders', withTestkit, () => {
  test('embed, and do not generate', () =>
    using('encoder', async (encoder) => {
      const { embed, generate, rerank } = encoder.capabilities;
      assert.deepEqual([embed, generate, rerank], [true, false, false]);
      const embeddings = await encoder.embed(['a text', '']);
      assert.deepEqual([embeddings.length, embeddings.dimensions], [2, 64]);
      assert.equal(embeddings.tokenCounts[1], 2);
      await assert.rejects(encoder.generate('x'), failure('UNSUPPORTED'));
    }));

  test('rank documents', () =>
    using('reranker', async (reranker) => {
      assert.equal(reranker.capabilities.rerank, true);
      const documents = ['one', 'two green rivers', 'three', 'a stone'];
      const ranked = await reranker.rerank('a green river', documents);
      assert.equal(ranked.length, 4);
      const scores = [...ranked].map(({ score }) => score);
      assert.deepEqual(
        scores,
        scores.toSorted((a, b) => b - a),
      );
      assert.deepEqual(ranked.results.map(({ index }) => index).toSorted(), [0, 1, 2, 3]);
      const best = await reranker.rerank('a green river', documents, { topN: 1 });
      assert.equal(best.results[0].index, ranked.results[0].index);
      assert.equal((await reranker.rerank('x', [])).length, 0);
      await assert.rejects(reranker.embed('x'), failure('UNSUPPORTED', /scores documents/));
    }));
});
