// The declarations match the Rust code, and compile in a strict program.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';

import { repository } from './helpers.mjs';

const folder = path.join(repository, 'bindings/node');

test('generated declarations match Rust', () => {
  const { status, stderr } = spawnSync(process.execPath, ['generate-types.mjs', '--check'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
});

test('files of lib have no import cycles, not even for types', () => {
  const lib = path.join(folder, 'lib');
  const files = readdirSync(lib, { recursive: true }).filter((file) => /\.m?ts$/.test(file));
  const needed = new Map();
  for (const file of files) {
    const imports = readFileSync(path.join(lib, file), 'utf8').matchAll(/'(\.[^']+)\.(m?)js'/g);
    const names = Array.from(imports, ([, name, m]) => `${name}.${m}ts`);
    needed.set(
      file,
      names.map((name) => path.join(path.dirname(file), name)),
    );
  }
  const visit = (file, above) => {
    assert.ok(!above.includes(file), [...above, file].join(' needs '));
    for (const other of needed.get(file) ?? []) visit(other, [...above, file]);
  };
  for (const file of files) visit(file, []);
});

test('no type is `any`', () => {
  const lib = path.join(folder, 'lib');
  const files = readdirSync(lib, { recursive: true }).filter((file) => /\.m?ts$/.test(file));
  for (const file of files) {
    const text = readFileSync(path.join(lib, file), 'utf8');
    const code = text.replace(/\/\*.*?\*\/|\/\/[^\n]*|'[^'\n]*'|`[^`]*`/gs, '');
    assert.doesNotMatch(code, /\bany\b/, file);
  }
});

function compiles(...args) {
  const tsc = createRequire(path.join(folder, 'package.json')).resolve('typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
}

test('a strict program compiles', () => {
  const types = path.join(folder, 'node_modules/@types');
  compiles('--project', path.join(import.meta.dirname, 'types'), '--typeRoots', types);
});

test('the declarations need neither the types of Node.js nor the DOM', () => {
  compiles('--project', path.join(import.meta.dirname, 'types/bare'));
});
