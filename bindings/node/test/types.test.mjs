// The declarations: as Rust has what they are generated from, and as a strict program uses them.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';

import { repository } from './helpers.mjs';

const folder = path.join(repository, 'bindings/node');

test('what is generated is what Rust declares', () => {
  const { status, stderr } = spawnSync(process.execPath, ['generate-types.mjs', '--check'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

test('a strict program compiles', () => {
  const tsc = createRequire(path.join(folder, 'package.json')).resolve('typescript/bin/tsc');
  const types = path.join(folder, 'node_modules/@types');
  const args = ['--project', path.join(import.meta.dirname, 'types'), '--typeRoots', types];
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});
