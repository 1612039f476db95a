import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';

import { Model, MullamaError } from 'mullama';

/** The repository; set by the environment if these files have been copied elsewhere. */
export const repository =
  process.env.MULLAMA_REPOSITORY ?? path.resolve(import.meta.dirname, '../../..');

/** A program of the build; undefined if it has not been built. */
export function built(name) {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(repository, 'target');
  const file = path.join(target, 'release', process.platform === 'win32' ? `${name}.exe` : name);
  return existsSync(file) ? file : undefined;
}

/**
 * The demo model, with one thread: it is too small to benefit from more, and test machines are
 * busy.
 */
export function loadDemo(options) {
  return Model.load('demo', { nThreads: 1, ...options });
}

/** The demo model, closed at the end of the test. */
export async function demoFor(t, options) {
  const model = await loadDemo(options);
  t.after(() => model.close());
  return model;
}

/** Greedy sampling that ends only at `maxTokens`. */
export const endless = { ignoreEos: true, temperature: 0, maxTokens: 1800 };

/** A folder that is removed after the tests of the file. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'mullama-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A check for `assert.throws` and `assert.rejects`. */
export function failure(code, message) {
  return (error) => {
    assert.ok(error instanceof MullamaError, `no MullamaError: ${error?.stack ?? error}`);
    assert.equal(error.code, code, error.stack);
    if (message) assert.match(error.message, message);
    return true;
  };
}

/** All values of an async iterable. */
export async function collect(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}
