// Worker threads, and the exit of processes.

import assert from 'node:assert/strict';
import { symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';

import { finish } from './finish.mjs';
import { loadDemo, temporaryFolder } from './helpers.mjs';

/** A separate program: common declarations and a body. */
const program = (body) => `
  const { parentPort } = require('node:worker_threads');
  const { Model } = require('mullama');
  const load = (options) => Model.load('demo', { nThreads: 1, ...options });
  const endless = { ignoreEos: true, temperature: 0 };
  const france = [{ role: 'user', content: 'What is the capital of France?' }];
  (async () => { ${body} })();`;

/** Runs a program in a process and returns its exit status and output. */
function run(body, ...flags) {
  const args = [...flags, '--eval', program(body)];
  return finish(process.execPath, args, { cwd: import.meta.dirname, timeout: 30_000 });
}

/** Runs a program in a worker thread. */
function worker(body) {
  return new Worker(program(body), { eval: true });
}

function message(thread) {
  return new Promise((resolve, reject) => {
    thread.once('message', resolve);
    thread.once('error', reject);
  });
}

test('thread count is limited to processors, with one warning', async () => {
  const body = `
    for (const nThreads of [512, 511]) await (await load({ nThreads })).close();`;
  const { status, output } = await run(body);
  assert.equal(status, 0, output);
  assert.match(
    output,
    /^mullama: warn: 512 threads were requested, but this process may use \d+ processors?: using/,
  );
  assert.equal(output.trim().split('\n').length, 1, output);
});

describe('worker threads', () => {
  test('load and generate, several at once', async () => {
    const body = `
      const model = await load();
      parentPort.postMessage(String(await model.chat(france, { temperature: 0 })));
      await model.close();`;
    const threads = Array.from({ length: 3 }, () => worker(body));
    const ended = threads.map((thread) => new Promise((resolve) => thread.once('exit', resolve)));
    for (const answer of await Promise.all(threads.map(message))) assert.match(answer, /Paris/);
    assert.deepEqual(await Promise.all(ended), [0, 0, 0]);
  });

  test('tokenize long runs of characters', async () => {
    const body = `
      const options = { 'tokenizer.ggml.pre': 'gpt-4o' };
      const model = await load({ contextSize: 256, metadataOverrides: options });
      for (const run of [' ', 'a', '-', '7', '中', '\\n', '\\u{1f600}']) {
        const text = run.repeat(60_000);
        const tokens = model.tokenize(text, { addSpecial: false });
        if (model.detokenize(tokens) !== text) throw new Error('lost ' + run);
        const said = [{ role: 'user', content: text }];
        for (const call of [
          () => model.generate(text),
          () => model.chat(said),
          () => model.embed(text),
          () => model.stream(text).next(),
          () => model.streamChat(said).next(),
          () => model.startChat().send(text),
        ]) {
          const code = await call().then(() => 'a result', (error) => error.code);
          if (code !== 'CONTEXT_OVERFLOW') throw new Error(code + ' for ' + run);
        }
        if ((await model.embed(text, { truncate: 'end' })).length !== 1) throw new Error(run);
      }
      await model.close();
      parentPort?.postMessage('done');`;
    const small = { stackSizeMb: 1 };
    const thread = new Worker(program(body), { eval: true, resourceLimits: small });
    assert.equal(await message(thread), 'done');
    const { status, output } = await run(body);
    assert.equal(status, 0, output);
  });

  test('can be terminated at any moment', async () => {
    const bodies = [
      `const model = await load();
       model.generate('Once', endless);
       for await (const _ of model.stream('Once', endless)) parentPort.postMessage('');`,
      `const model = await load();
       model.chat(france, endless);
       parentPort.postMessage('');
       for await (const _ of model.streamChat(france, endless));`,
      `load({ onProgress: () => parentPort.postMessage('') });`,
    ];
    for (const body of bodies) {
      const thread = worker(body);
      await message(thread);
      await thread.terminate();
    }
    // Other threads are not affected.
    const model = await loadDemo();
    const answer = await model.chat([{ role: 'user', content: 'What is the capital of France?' }], {
      temperature: 0,
    });
    assert.match(answer.text, /Paris/);
    await model.close();
  });
});

const noHome = process.platform === 'win32' && 'HOME is not the home folder there';
test('a path may begin at the home folder', { skip: noHome }, async () => {
  const home = temporaryFolder();
  const demo = await loadDemo({ vocabOnly: true });
  symlinkSync(demo.path, path.join(home, 'm.gguf'));
  await demo.close();
  const body = `
    const model = await Model.load('~/m.gguf', { vocabOnly: true });
    console.log(model.path, (await require('mullama').plan('~/m.gguf')).fits);
    await model.close();
    await Model.load('~/none.gguf').catch((error) => console.log(error.code, error.message));`;
  const { status, output } = await finish(process.execPath, ['--eval', program(body)], {
    cwd: import.meta.dirname,
    timeout: 30_000,
    env: { ...process.env, HOME: home },
  });
  assert.equal(status, 0, output);
  const [loaded, missing] = output.trim().split('\n');
  assert.equal(loaded, `${path.join(home, 'm.gguf')} true`);
  assert.ok(missing.startsWith('NOT_FOUND') && missing.includes(home), missing);
});

describe('a process', () => {
  const ends = async (body, ...flags) => {
    const { status, output } = await run(body, ...flags);
    assert.equal(status, 7, output);
    assert.equal(output, '');
  };

  test('can exit while a model computes', async () => {
    await ends(`
      const model = await load();
      model.generate('Once', endless);
      setTimeout(() => process.exit(7), 50);`);
  });

  test('can exit while a model is loading', async () => {
    await ends(`
      load({ onProgress: () => process.exit(7) });`);
  });

  test('can exit at any moment', async () => {
    const moments = [0, 3, 6, 10, 15, 20, 30, 40];
    const bodies = moments.map(
      (moment) => `
        setTimeout(() => process.exit(7), ${moment});
        const model = await load();
        for (let i = 0; i < 4; i++) {
          model.chat(france, endless).catch(() => {});
          model.streamChat(france, endless);
        }
        load().catch(() => {});`,
    );
    for (const body of bodies) await ends(body);
  });

  test('waits for a generation that is awaited', async () => {
    await ends(`
      const model = await load();
      const answer = await model.chat(france, { temperature: 0 });
      process.exitCode = answer.text.includes('Paris') ? 7 : 1;`);
  });

  test('waits for a stream that is read', async () => {
    await ends(`
      const model = await load();
      let text = '';
      for await (const chunk of model.streamChat(france, { temperature: 0 })) text += chunk;
      process.exitCode = text.includes('Paris') ? 7 : 1;`);
  });

  test('does not wait for an unread stream', async () => {
    await ends(`
      const model = await load();
      const stream = model.stream('Once', endless);
      await stream.next();
      process.exitCode = 7;`);
  });

  test('collects an unread stream, and ends its generation', async () => {
    await ends(
      `
      const model = await load({ nParallel: 1 });
      const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
      const whole = await model.generate('Once', endless);
      await model.stream('Once', endless).next();
      // There is one sequence: this waits until the other generation is over.
      let queued;
      model.generate('x', { maxTokens: 1 }).then(({ timings }) => { queued = timings.queueMs; });
      while (queued === undefined) { gc(); await pause(); }
      if (queued < whole.timings.totalMs / 2) process.exitCode = 7;
      else console.log(queued, whole.timings.totalMs);`,
      '--expose-gc',
    );
  });
});
