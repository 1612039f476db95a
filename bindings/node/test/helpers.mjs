import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';

import { Model, MullamaError } from 'mullama';

/** The repository; named by the environment where these files have been copied out of it. */
export const repository =
  process.env.MULLAMA_REPOSITORY ?? path.resolve(import.meta.dirname, '../../..');

/** A command of the build, or nothing where it has not been built. */
export function built(name) {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(repository, 'target');
  const file = path.join(target, 'release', process.platform === 'win32' ? `${name}.exe` : name);
  return existsSync(file) ? file : undefined;
}

/** The demo model. One thread: it is too small to gain by more, and machines that test are busy. */
export function loadDemo(options) {
  return Model.load('demo', { nThreads: 1, ...options });
}

/** The demo model, closed when the test is over. */
export async function demoFor(t, options) {
  const model = await loadDemo(options);
  t.after(() => model.close());
  return model;
}

/** Greedy, and of no end before `maxTokens`. */
export const endless = { ignoreEos: true, temperature: 0, maxTokens: 1800 };

/** A folder that is removed when the tests of the file are over. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'mullama-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Checks for `assert.throws` and `assert.rejects`. */
export function failure(code, message) {
  return (error) => {
    assert.ok(error instanceof MullamaError, `no MullamaError: ${error?.stack ?? error}`);
    assert.equal(error.code, code, error.stack);
    if (message) assert.match(error.message, message);
    return true;
  };
}

/** All that an async iterable gives. */
export async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}
