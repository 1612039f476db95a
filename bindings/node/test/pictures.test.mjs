// Pictures in messages.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { Model } from 'mullama';

import { built, collect, failure, repository, temporaryFolder } from './helpers.mjs';

const testkit = built('mullama-testkit');
const folder = temporaryFolder();
const options = { temperature: 0, maxTokens: 6, ignoreEos: true };
const file = readFileSync(path.join(repository, 'tests/docs/cat.png'));
const address = `data:image/png;base64,${file.toString('base64')}`;

const fixture = (name) => execFileSync(testkit, ['path', name], { encoding: 'utf8' }).trim();
/** A BMP file of one colour, with 8 x 8 pixels of 24 bits. */
function bitmap(red, green, blue) {
  const head = Buffer.alloc(54);
  head.write('BM');
  for (const [place, number] of [
    [2, 54 + 192],
    [10, 54],
    [14, 40],
    [18, 8],
    [22, 8],
  ]) {
    head.writeUInt32LE(number, place);
  }
  head.writeUInt16LE(1, 26);
  head.writeUInt16LE(24, 28);
  return Buffer.concat([head, Buffer.alloc(192, Buffer.from([blue, green, red]))]);
}

const question = (picture) => [{ role: 'user', content: [picture, 'What is it?'] }];

describe('pictures', { skip: testkit ? false : 'mullama-testkit is not built' }, () => {
  let model;
  before(async () => {
    model = await Model.load(fixture('tiny'), { projector: fixture('projector'), nThreads: 1 });
  });
  after(() => model?.close());

  const ask = (picture) => model.chat(question(picture), options);

  test('images of all types give equal answers', async () => {
    const seen = await ask({ type: 'image_url', image_url: { url: address } });
    assert.equal(seen.usage.imageTokens, 16);
    assert.equal(model.capabilities.vision, true);
    const limits = { pixels: 100_000_000, bytes: 2 ** 26, pictures: 256 };
    assert.deepEqual(model.capabilities.mediaLimits, limits);
    assert.ok(model.placement.devices.at(-1).projector > 0);
    const saved = path.join(folder, 'cat.png');
    writeFileSync(saved, file);
    const bytes = new Uint8Array(file);
    const blob = new Blob([file]);
    const pictures = [file, bytes, bytes.buffer, blob, new File([file], 'cat.png')];
    for (const picture of [...pictures, pathToFileURL(saved)]) {
      for (const part of [
        picture,
        { type: 'image_url', image_url: picture },
        { type: 'image_url', image_url: { url: picture, detail: 'low' } },
      ]) {
        assert.deepEqual((await ask(part)).tokens, seen.tokens);
      }
    }
    assert.notDeepEqual((await ask(bitmap(20, 30, 40))).tokens, seen.tokens);
    const images = [file.toString('base64')];
    const message = { role: 'user', content: 'What is it?', images };
    assert.deepEqual((await model.chat([message], options)).tokens, seen.tokens);
  });

  test('limits can be set, and the projector loaded at once', async () => {
    const strict = await Model.load(fixture('tiny'), {
      projector: fixture('projector'),
      loadProjector: true,
      mediaLimits: { pixels: 10 },
      nThreads: 1,
    });
    assert.equal(strict.capabilities.mediaLimits.pixels, 10);
    assert.deepEqual(strict.placement, model.placement);
    const refused = failure('INVALID_ARGUMENT', /at most 10 are allowed/);
    await assert.rejects(strict.chat(question(file), options), refused);
    strict.close();
  });

  test('states and embeddings reject images', async () => {
    const refused = failure('INVALID_ARGUMENT', /pictures are for messages/);
    await assert.rejects(async () => model.embed([file]), refused);
    await assert.rejects(async () => model.embed(file), refused);
    await assert.rejects(async () => model.generate(file), refused);
    const unknown = failure('INVALID_ARGUMENT', /expected a token/);
    await assert.rejects(async () => model.saveState(question(file)), unknown);
  });

  test('streams and conversations accept images', async () => {
    const chunks = await collect(model.streamChat(question(file), options));
    assert.equal(chunks.at(-1).completion.usage.imageTokens, 16);
    const chat = model.startChat(options);
    await chat.send({ role: 'user', content: [new Blob([file]), 'What is it?'] });
    assert.equal((await chat.send('And now?')).usage.imageTokens, 16);
  });

  test('invalid images are rejected', async () => {
    for (const [picture, message] of [
      ['https://127.0.0.1/cat.png', /nothing is fetched/],
      ['cat.png', /no file is opened/],
      [Buffer.from('text'), /not an image in a supported format/],
      [file.subarray(0, 60), /damaged/],
      [new URL('https://127.0.0.1/cat.png'), /nothing is fetched/],
    ]) {
      const part = { type: 'image_url', image_url: picture };
      await assert.rejects(async () => ask(part), failure('INVALID_ARGUMENT', message));
    }
    const missing = pathToFileURL(path.join(folder, 'none.png'));
    await assert.rejects(
      async () => ask(missing),
      failure('NOT_FOUND', /^messages\[0\]\.content\[0\]: /),
    );
    // Streams are started at once, and a Blob is read asynchronously.
    const blob = failure(
      'INVALID_ARGUMENT',
      /messages\[0\]\.content\[0\]: .*await blob\.arrayBuffer/,
    );
    await assert.rejects(async () => model.streamChat(question(new Blob([file])), options), blob);
    const blind = await Model.load('demo', { nThreads: 1 });
    await assert.rejects(blind.chat(question(file), options), failure('UNSUPPORTED', /text only/));
    blind.close();
  });
});
