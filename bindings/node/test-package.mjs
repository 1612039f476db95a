// Packs the package, installs it into an empty folder and runs the tests there: what is tested is
// what ships.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const here = import.meta.dirname;
const folder = mkdtempSync(path.join(tmpdir(), 'mullama-package-'));

function run(command, args, cwd = folder) {
  const env = { ...process.env, MULLAMA_REPOSITORY: path.resolve(here, '../..') };
  // The package finds its libraries by itself.
  delete env.LD_LIBRARY_PATH;
  delete env.DYLD_LIBRARY_PATH;
  execFileSync(command, args, { cwd, env, stdio: 'inherit', shell: process.platform === 'win32' });
}

try {
  run('npm', ['pack', '--silent', '--pack-destination', folder], here);
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'));
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${tarball}`]);
  mkdirSync(path.join(folder, 'test'));
  cpSync(path.join(here, 'test'), path.join(folder, 'test'), { recursive: true });
  const tests = readdirSync(path.join(folder, 'test')).filter((file) => file.endsWith('.test.mjs'));
  run(process.execPath, ['--test', ...tests.map((file) => path.join('test', file))]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
