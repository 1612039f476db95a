// Typed answers: schemas of Zod, and others that follow Standard Schema.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { failure, loadDemo, repository } from './helpers.mjs';

// The tests run in the installation, which has no dependencies.
const { z } = createRequire(path.join(repository, 'bindings/node/package.json'))('zod');

const question = [{ role: 'user', content: 'Tell me about Paris.' }];
const City = z.object({
  size: z.enum(['small', 'large']),
  name: z.string().max(8),
  rivers: z.array(z.boolean()).max(2),
});
const greedy = { temperature: 0 };

/** A schema without a library. */
const standard = (validate, jsonSchema) => ({
  '~standard': { version: 1, vendor: 'test', validate, ...jsonSchema },
});
const flag = { input: () => ({ type: 'boolean' }) };

describe('answers as values', () => {
  let model;
  before(async () => (model = await loadDemo()));
  after(() => model.close());

  test('of Zod', async () => {
    const answer = await model.chat(question, { responseFormat: City, ...greedy });
    assert.deepEqual(Object.keys(answer.parsed).toSorted(), ['name', 'rivers', 'size']);
    assert.deepEqual(answer.parsed, JSON.parse(answer.text));
    assert.equal((await model.chat(question, greedy)).parsed, undefined);
    const Length = z
      .string()
      .max(6)
      .transform((text) => text.length);
    const sized = await model.chat(question, { responseFormat: Length, ...greedy });
    assert.equal(sized.parsed, JSON.parse(sized.text).length);
  });

  test('of any Standard Schema', async () => {
    const schema = standard((value) => ({ value: value ? 'yes' : 'no' }), { jsonSchema: flag });
    const answer = await model.chat(question, { responseFormat: schema, ...greedy });
    assert.ok(['yes', 'no'].includes(answer.parsed));
  });

  test('in streams and conversations', async () => {
    const stream = model.streamChat(question, { responseFormat: City, ...greedy });
    let last;
    for await (const chunk of stream) last = chunk;
    assert.ok(City.safeParse(last.completion.parsed).success);
    assert.deepEqual(stream.completion.parsed, last.completion.parsed);
    const chat = model.startChat({ responseFormat: City, ...greedy });
    const answer = await chat.send('Tell me about Paris.');
    assert.ok(City.safeParse(answer.parsed).success);
  });

  test('invalid answers report the reason', async () => {
    const short = await model.chat(question, { responseFormat: City, maxTokens: 2, ...greedy });
    assert.throws(() => short.parsed, failure('INVALID_ARGUMENT', /max_tokens/));
    const picky = standard(() => ({ issues: [{ message: 'odd' }] }), { jsonSchema: flag });
    const answer = await model.chat(question, { responseFormat: picky, ...greedy });
    assert.throws(() => answer.parsed, failure('INVALID_GRAMMAR', /odd/));
    const silent = standard((value) => ({ value }));
    await assert.rejects(
      model.chat(question, { responseFormat: silent }),
      failure('INVALID_ARGUMENT', /JSON schema/),
    );
  });
});
