// Models are pulled from a registry on loopback and loaded with the settings stored with them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';

import { Model } from 'mullama';
import { built, failure, repository, temporaryFolder } from './helpers.mjs';

const program = built('mullama-test-registry');
const demo = path.join(repository, 'models/demo/demo.gguf');
const folder = temporaryFolder();

/** Starts a registry and sets the environment variables that select it. */
async function serve(...options) {
  const registry = spawn(program, [path.join(folder, 'served'), ...options]);
  after(() => registry.kill());
  for await (const line of createInterface({ input: registry.stdout })) {
    process.env.MULLAMA_REGISTRY = line;
    return;
  }
}

describe('pulling', { skip: program ? false : 'mullama-test-registry is not built' }, () => {
  const put = (file, content) => {
    const target = path.join(folder, 'served/registry/library', file);
    mkdirSync(path.dirname(target), { recursive: true });
    if (content === undefined) copyFileSync(demo, target);
    else writeFileSync(target, content);
  };
  put('tiny/latest/model.gguf');
  put('tiny/latest/params', '{"temperature": 0}');
  put('tiny/latest/system', 'Be short.');
  put('big/latest/model.gguf', Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(16 << 20)]));
  for (const name of ['MULLAMA_MODELS', 'OLLAMA_MODELS', 'HF_HUB_CACHE', 'LLAMA_CACHE']) {
    process.env[name] = path.join(folder, name);
  }

  test('a model is pulled and loaded by its name', async () => {
    await serve();
    await assert.rejects(Model.load('tiny'), failure('NOT_FOUND', /Model\.pull\("tiny:latest"\)/));
    const seen = [];
    const pulled = await Model.pull('tiny', { onProgress: (progress) => seen.push(progress) });
    assert.equal(pulled.name, 'tiny:latest');
    assert.equal(pulled.id.length, 12);
    assert.ok(pulled.size > statSync(demo).size);
    assert.equal(seen[0].phase, 'resolving');
    const { phase, fraction, completed, total } = seen.at(-1);
    assert.deepEqual([phase, fraction, completed, total], ['done', 1, pulled.size, pulled.size]);
    const model = await Model.load(pulled.name, { nThreads: 1 });
    assert.equal(model.path, pulled.path);
    assert.equal(model.defaultOptions.temperature, 0);
    assert.match(model.applyChatTemplate([{ role: 'user', content: 'Hi' }]), /Be short\./);
    const own = [{ role: 'system', content: 'Be long.' }];
    assert.doesNotMatch(model.applyChatTemplate(own), /Be short\./);
    await model.close();
  });

  test('invalid pulls are errors', async () => {
    await serve();
    await assert.rejects(Model.pull('a b'), failure('UNKNOWN_MODEL'));
    await assert.rejects(Model.pull('./x.gguf'), failure('INVALID_ARGUMENT'));
    await assert.rejects(Model.pull('demo'), failure('INVALID_ARGUMENT', /built in/));
    await assert.rejects(
      Model.pull('nothing'),
      failure('NOT_FOUND', /has no model nothing:latest/),
    );
    await assert.rejects(
      Model.pull('tiny', { tokne: 'x' }),
      failure('INVALID_ARGUMENT', /`tokne`/),
    );
    await assert.rejects(Model.pull('tiny', { token: 1 }), failure('INVALID_ARGUMENT', /`token`/));
    await assert.rejects(Model.pull(7), failure('INVALID_ARGUMENT'));
  });

  test('returning false, throwing and a signal end a pull', async () => {
    await serve('--slow', String(1 << 20));
    const during = (work) => (progress) => (progress.phase === 'downloading' ? work() : undefined);
    const onProgress = during(() => false);
    await assert.rejects(Model.pull('big', { onProgress }), failure('CANCELLED'));
    const mine = new TypeError('mine');
    const throws = during(() => {
      throw mine;
    });
    await assert.rejects(Model.pull('big', { onProgress: throws }), (error) => error === mine);
    const controller = new AbortController();
    const aborts = during(() => controller.abort());
    await assert.rejects(
      Model.pull('big', { onProgress: aborts, signal: controller.signal }),
      (error) => error === controller.signal.reason,
    );
    await assert.rejects(Model.pull('big', { signal: AbortSignal.abort() }), {
      name: 'AbortError',
    });
    await assert.rejects(Model.load('big'), failure('NOT_FOUND'));
  });
});
