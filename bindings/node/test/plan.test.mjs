// Plans of remote models: only the header is downloaded, and its defects are reported.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { Model, plan } from 'mullama';
import { built, failure, temporaryFolder } from './helpers.mjs';

const testkit = built('mullama-testkit');
const device = { devices: '8GiB' };

/** Serves files by path: in ranges, without ranges, or with a wrong length. */
function answer(files, sent) {
  return (request, response) => {
    const data = files.get(request.url);
    if (!data) return response.writeHead(404).end();
    const total = request.url.includes('shorter') ? data.length >> 1 : data.length;
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    let [status, part, headers] = [200, data, {}];
    if (first !== undefined && !request.url.includes('whole')) {
      part = data.subarray(Number(first), Math.min(Number(last || total - 1) + 1, total));
      const end = Number(first) + part.length - 1;
      [status, headers] = [206, { 'Content-Range': `bytes ${first}-${end}/${total}` }];
    }
    sent.bytes += request.method === 'GET' ? part.length : 0;
    response.writeHead(status, { ...headers, 'Content-Length': part.length });
    response.end(request.method === 'GET' ? part : undefined);
  };
}

describe('plans', { skip: testkit ? false : 'mullama-testkit is not built' }, () => {
  process.env.XDG_CACHE_HOME = temporaryFolder();
  const [files, sent] = [new Map(), { bytes: 0 }];
  const server = createServer(answer(files, sent));
  let address;
  let large;
  let path;
  before(async () => {
    path = execFileSync(testkit, ['path', 'large'], { encoding: 'utf8' }).trim();
    large = readFileSync(path);
    await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
    address = `http://127.0.0.1:${server.address().port}`;
  });
  after(() => server.close());

  test('remote models are planned from their header', async () => {
    files.set('/m.gguf', large);
    const there = await plan(`${address}/m.gguf`, device);
    assert.ok(sent.bytes < large.length / 4);
    assert.deepEqual(there.devices, (await plan(path, device)).devices);
    assert.equal(there.nGpuLayers, there.nLayers);
    assert.ok(there.maxGpuContextSize >= there.contextSize);
  });

  test('unavailable and invalid headers are errors', async () => {
    const absurd = Buffer.from(large);
    absurd.writeBigUInt64LE(2n ** 62n, 8);
    for (const [name, data, code, words] of [
      ['whole', large, 'UNSUPPORTED', /does not send ranges/],
      ['shorter', large, 'INVALID_MODEL', /incomplete/],
      ['cut', large.subarray(0, 20_000), 'INVALID_MODEL', /ends too soon/],
      ['text', Buffer.from('<html>'.repeat(10_000)), 'INVALID_MODEL', /GGUF/],
      ['absurd', absurd, 'INVALID_MODEL', /more than/],
    ]) {
      files.set(`/${name}.gguf`, data);
      await assert.rejects(plan(`${address}/${name}.gguf`, device), failure(code, words), name);
    }
    await assert.rejects(plan(`${address}/nothing.gguf`, device), failure('NOT_FOUND'));
  });

  test('invalid plans are errors', async () => {
    for (const devices of ['RTX 9999', '24', '-8GiB']) {
      await assert.rejects(plan('demo', { devices }), failure('INVALID_ARGUMENT'), devices);
    }
    const none = await plan('demo', { devices: '1MiB' });
    assert.equal(none.maxGpuContextSize ?? undefined, undefined);
    const { options } = await plan('demo', { contextSize: 512 });
    const model = await Model.load('demo', options);
    assert.equal(model.contextSize, 512);
    await model.close();
  });
});
