// Rejected input, and the errors for it.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Model, MullamaError, plan } from 'mullama';
import { built, failure, loadDemo, temporaryFolder } from './helpers.mjs';

const folder = temporaryFolder();
let model;
before(async () => {
  model = await loadDemo();
});
after(() => model.close());

describe('an error', () => {
  test('has a code, a context and a hint', async () => {
    await assert.rejects(Model.load('no/such/file.gguf'), (error) => {
      assert.ok(error instanceof MullamaError && error instanceof Error);
      assert.equal(error.name, 'MullamaError');
      assert.equal(error.code, 'NOT_FOUND');
      assert.equal(error.kind, 'NotFound');
      assert.equal(error.context.path, 'no/such/file.gguf');
      assert.ok(error.hint.length > 0);
      assert.ok(error.message.endsWith(`hint: ${error.hint}`));
      return true;
    });
  });

  test('has a stack trace to the caller', async () => {
    async function myFunction() {
      await model.generate('x', { topP: 2 });
    }
    await assert.rejects(myFunction(), (error) => /myFunction/.test(error.stack));
  });

  test('names options in camelCase', async () => {
    await assert.rejects(model.generate('x', { topP: 2 }), (error) => {
      assert.equal(error.context.option, 'topP');
      assert.match(error.message, /`topP`/);
      return true;
    });
    await assert.rejects(model.generate('x', { top_p: 0.5 }), (error) => {
      assert.equal(error.context.option, 'top_p');
      assert.equal(error.hint, 'did you mean `topP`?');
      return true;
    });
    const long = 'word '.repeat(3000);
    await assert.rejects(model.generate(long), failure('CONTEXT_OVERFLOW', /`contextSize`/));
  });
});

describe('a model file', () => {
  const refuse = async (source, code, message) => {
    await assert.rejects(Model.load(source), failure(code, message));
    assert.throws(() => new Model(source), failure(code, message));
  };

  function write(name, content) {
    const file = path.join(folder, name);
    writeFileSync(file, content);
    return file;
  }

  /** A copy of the demo model with some bytes of its header replaced. */
  function patched(name, offset, bytes) {
    const content = readFileSync(model.path);
    content.set(bytes, offset);
    return write(name, content);
  }

  test('that does not exist', () => refuse('missing.gguf', 'NOT_FOUND'));
  test('with an unknown name', () => refuse('no-such-model', 'NOT_FOUND'));
  test('that is a folder', () => refuse(folder, 'INVALID_MODEL'));
  test('that is empty', () => refuse(write('empty.gguf', ''), 'INVALID_MODEL'));
  test('that is text', () => refuse(write('text.gguf', 'Hello!\n'.repeat(50)), 'INVALID_MODEL'));
  test('with another magic', () =>
    refuse(patched('magic.gguf', 0, [71, 71, 77, 76]), 'INVALID_MODEL'));
  test('of another version', () =>
    refuse(patched('version.gguf', 4, [99, 0, 0, 0]), 'INVALID_MODEL'));

  test('that is truncated', async () => {
    const { length } = readFileSync(model.path);
    const file = path.join(folder, 'cut.gguf');
    copyFileSync(model.path, file);
    const shares = Array.from({ length: 24 }, (_, index) => 1 - (index + 1) / 25);
    const sizes = [
      length - 1,
      ...shares.map((share) => Math.floor(length * share)),
      100,
      24,
      7,
      4,
      1,
    ];
    for (const size of sizes) {
      const descriptor = openSync(file, 'r+');
      ftruncateSync(descriptor, size);
      closeSync(descriptor);
      await assert.rejects(Model.load(file), failure('INVALID_MODEL'), `${size} bytes`);
    }
  });

  const testkit = built('mullama-testkit');
  const skip = testkit ? false : 'mullama-testkit has not been built';
  test('that is broken in a known way', { skip }, async (context) => {
    const run = (...args) => execFileSync(testkit, args, { encoding: 'utf8', stdio: 'pipe' });
    const good = path.join(folder, 'tiny.gguf');
    run('write', 'tiny', good);
    const broken = JSON.parse(run('broken', good, path.join(folder, 'broken')));
    assert.ok(broken.length > 10);
    // In a separate process, whose output shows how far it got if one of the files crashes it.
    const program = `
      const { Model, MullamaError } = require('mullama');
      (async () => {
        for (const file of process.argv.slice(1)) {
          console.log(file);
          try {
            const model = await Model.load(file, { nThreads: 1 });
            // A few are accepted by the engine: they must do no harm.
            await model.generate([1, 2, 3], { maxTokens: 2 }).catch(() => {});
            await model.close();
          } catch (error) {
            if (!(error instanceof MullamaError)) throw error;
            console.log(error.code);
          }
        }
      })();`;
    const files = broken.map(({ file }) => file);
    const options = { cwd: import.meta.dirname, encoding: 'utf8' };
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      ['--eval', program, ...files],
      options,
    );
    const lines = stdout.trim().split('\n');
    assert.equal(status ?? signal, 0, `${lines.at(-1)}: ${stderr}`);
    const codes = lines.filter((line) => !line.endsWith('.gguf'));
    context.diagnostic(`${codes.length} of ${files.length} broken files refused`);
    assert.ok(codes.length > files.length / 2);
    const fitting = ['INVALID_MODEL', 'UNSUPPORTED', 'TEMPLATE', 'OUT_OF_MEMORY'];
    assert.deepEqual(
      codes.filter((code) => !fitting.includes(code)),
      [],
    );
  });

  test('of which only the vocabulary was loaded', async () => {
    const vocabulary = await loadDemo({ vocabOnly: true });
    assert.deepEqual(vocabulary.tokenize('Hello'), model.tokenize('Hello'));
    assert.equal(vocabulary.capabilities.generate, false);
    await assert.rejects(vocabulary.generate('x'), failure('UNSUPPORTED'));
    await assert.rejects(vocabulary.stream('x').next(), failure('UNSUPPORTED'));
    await vocabulary.close();
  });
});

describe('arguments', () => {
  const invalid = (message) => failure('INVALID_ARGUMENT', message);

  test('prompts', async () => {
    const bad = [
      undefined,
      null,
      3,
      {},
      true,
      Symbol('x'),
      () => {},
      new Map(),
      [1.5],
      ['x'],
      [-1],
    ];
    const worse = [[1e12], [model.nVocab], [NaN], [], '', new Float64Array([0.5]), 5n];
    for (const prompt of [...bad, ...worse]) {
      await assert.rejects(model.generate(prompt), invalid(), String(prompt));
    }
  });

  test('text with half a character or a NUL byte', async () => {
    for (const text of ['a\ud83d', '\udc00b', 'a\ud800\ud800', 'a\0b']) {
      assert.throws(() => model.tokenize(text), invalid());
      assert.throws(() => model.countTokens(text), invalid());
      await assert.rejects(model.generate(text), invalid());
      await assert.rejects(async () => model.stream(text).next(), invalid());
      const messages = [{ role: 'user', content: text }];
      // These calls reject invalid Unicode, and NUL is valid Unicode.
      if (!text.includes('\0')) {
        await assert.rejects(model.chat(messages), invalid(/messages\[0\]\.content/));
        await assert.rejects(model.generate('x', { stop: ['a', text] }), invalid(/`stop`: \[1\]/));
        await assert.rejects(model.generate('x', { grammar: text }), invalid(/grammar/));
        assert.throws(() => new Model(text), invalid());
      }
    }
    // Complete characters are accepted.
    assert.equal(model.detokenize(model.tokenize('🙂 \u{10ffff}')), '🙂 \u{10ffff}');
  });

  test('tokens', () => {
    for (const tokens of [undefined, 'x', 3, {}, [1.5], [-1], [model.nVocab], ['1'], [undefined]]) {
      assert.throws(() => model.detokenize(tokens), invalid(), String(tokens));
    }
  });

  test('unknown options', async () => {
    await assert.rejects(model.generate('x', { maxToken: 3 }), invalid(/maxTokens/));
    await assert.rejects(model.chat([{ role: 'user', content: 'x' }], { tool: [] }), invalid());
    await assert.rejects(Model.load('demo', { contextsize: 3 }), invalid(/contextSize/));
    assert.throws(() => model.tokenize('x', { special: true }), invalid(/special/));
    assert.throws(() => model.detokenize([1], { skip: true }), invalid(/skip/));
    await assert.rejects(model.generate('x', { onProgress() {} }), invalid(/onProgress/));
  });

  test('options of wrong types', async () => {
    const cyclic = {};
    cyclic.self = cyclic;
    const bad = [
      { maxTokens: '3' },
      { maxTokens: 1.5 },
      { maxTokens: -2 },
      { maxTokens: 2 ** 40 },
      { temperature: NaN },
      { temperature: Infinity },
      { topK: true },
      { seed: 5n },
      { stop: [1] },
      { stop: () => 'x' },
      { stop: Symbol('x') },
      { stop: new Set(['x']) },
      { logitBias: new Map([[1, 2]]) },
      { logitBias: { x: 1 } },
      { jsonSchema: new Date() },
      { jsonSchema: Promise.resolve({}) },
      { jsonSchema: cyclic },
    ];
    for (const options of bad) {
      const [name] = Object.keys(options);
      const code = name === 'jsonSchema' && typeof options.jsonSchema !== 'object' ? '' : name;
      await assert.rejects(model.generate('x', options), (error) => {
        assert.equal(error.code, 'INVALID_ARGUMENT', error.stack);
        assert.equal(error.context.option, code);
        return true;
      });
    }
    for (const options of ['x', 3, true, () => {}]) {
      await assert.rejects(model.generate('x', options), invalid(/options/));
      await assert.rejects(Model.load('demo', options), invalid(/options/));
      assert.throws(() => model.tokenize('x', options), invalid());
    }
    await assert.rejects(Model.load('demo', { onProgress: 3 }), invalid(/onProgress/));
    assert.throws(() => model.tokenize('x', { addSpecial: 1 }), invalid(/addSpecial/));
  });

  test('huge arrays are rejected immediately', async () => {
    const sparse = [];
    sparse.length = 2 ** 32 - 1;
    const proxy = new Proxy([], {
      get: (target, name) => (name === 'length' ? 1e15 : target[name]),
    });
    let doubled = ['x'];
    for (let count = 0; count < 60; count += 1) doubled = [doubled, doubled];
    const tokens = /the (prompt|texts|tokens).*: has more than 16777216 elements/;
    const others = /: has more than 1048576 elements/;
    for (const long of [sparse, proxy]) {
      await assert.rejects(model.generate(long), failure('INVALID_ARGUMENT', tokens));
      await assert.rejects(model.embed([long]), failure('INVALID_ARGUMENT', tokens));
      assert.throws(() => model.detokenize(long), failure('INVALID_ARGUMENT', tokens));
      await assert.rejects(model.embed(long), failure('INVALID_ARGUMENT', others));
      await assert.rejects(model.rerank('x', long), failure('INVALID_ARGUMENT', others));
      await assert.rejects(model.chat(long), failure('INVALID_ARGUMENT', others));
      const parts = [{ role: 'user', content: long }];
      await assert.rejects(model.chat(parts), failure('INVALID_ARGUMENT', others));
      assert.throws(() => model.startChat({ messages: long }), failure('INVALID_ARGUMENT', others));
      await assert.rejects(model.startChat().send(long), failure('INVALID_ARGUMENT', others));
      for (const option of ['tools', 'logitsProcessors', 'stop', 'lora']) {
        const call = model.chat([{ role: 'user', content: 'x' }], { [option]: long });
        await assert.rejects(call, failure('INVALID_ARGUMENT', others));
        await assert.rejects(call, (error) => error.context.option === option);
      }
      await assert.rejects(
        plan('demo', { tensorSplit: long }),
        failure('INVALID_ARGUMENT', others),
      );
      await assert.rejects(model.setLora(long), failure('INVALID_ARGUMENT', others));
    }
    await assert.rejects(
      model.generate(new Int32Array(2 ** 24 + 1)),
      failure('INVALID_ARGUMENT', tokens),
    );
    await assert.rejects(
      model.generate('x', { stop: doubled }),
      failure('INVALID_ARGUMENT', others),
    );
    function* endless() {
      for (;;) yield { role: 'user', content: 'x' };
    }
    assert.throws(
      () => model.startChat({ messages: endless() }),
      failure('INVALID_ARGUMENT', others),
    );
  });

  test('long values are not repeated in full', async () => {
    const long = 'x'.repeat(1e6);
    for (const call of [
      () => model.chat([{ role: 'user', content: 'x' }], { toolChoice: long }),
      () => model.chat([{ role: long, content: 'x' }]),
      () => model.generate('x', { [long]: 1 }),
      () => model.generate('x', { stop: { [long]: () => 1 } }),
      () => Model.load('demo', { splitMode: long }),
      () => Model.load(long),
    ]) {
      await assert.rejects(call(), (error) => {
        assert.ok(error instanceof MullamaError);
        assert.match(error.message, /xxx.*left out/);
        assert.ok(error.message.length < 10_000);
        return true;
      });
    }
  });

  test('nested invalid values report their place', async () => {
    const tools = [{ type: 'function', function: { name: 'f', parameters: { x: [0, NaN] } } }];
    const messages = [{ role: 'user', content: 'x' }];
    const place = /`tools`: \[0\]\.function\.parameters\.x\[1\]: NaN/;
    await assert.rejects(model.chat(messages, { tools }), invalid(place));
    await assert.rejects(
      model.chat([{ role: 'user', content: () => {} }]),
      invalid(/messages\[0\]/),
    );
  });

  test('plain objects of other realms, without a prototype and of classes are accepted', async () => {
    const { runInNewContext } = await import('node:vm');
    class Mine {
      role = 'user';
      content = 'x';
    }
    const templateKwargs = runInNewContext('({})');
    const options = Object.assign(Object.create(null), { maxTokens: 1, templateKwargs });
    await model.chat([new Mine()], options);
    await model.chat(runInNewContext('[{ role: "user", content: "x" }]'), options);
  });

  test("exceptions of a caller's getter are passed through", async () => {
    const mine = new RangeError('mine');
    const options = {
      stop: [
        Object.defineProperty({}, 'x', {
          enumerable: true,
          get() {
            throw mine;
          },
        }),
      ],
    };
    await assert.rejects(model.generate('x', options), (error) => error === mine);
  });

  test('sources', () => {
    for (const source of [undefined, null, 3, {}, '', 'a\0b']) {
      assert.throws(
        () => new Model(source),
        (error) => error instanceof MullamaError,
      );
    }
  });
});
