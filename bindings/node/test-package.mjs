// Installs the packages with npm from a registry into an empty folder, and runs the tests there: the tests run
// against the published files.

import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { spawn } from 'node:child_process';
import path from 'node:path';

import { World } from './packaging/installation.mjs';
import { native, stageMain } from './packaging/pack.mjs';

const here = import.meta.dirname;
const world = await World.open();

/** Runs the tests in a folder and returns the exit status. */
function runTests(folder) {
  const env = { ...process.env, MULLAMA_REPOSITORY: path.resolve(here, '../..') };
  // The package must find its libraries without these.
  delete env.LD_LIBRARY_PATH;
  delete env.DYLD_LIBRARY_PATH;
  const tests = readdirSync(path.join(folder, 'test')).filter((file) => file.endsWith('.test.mjs'));
  const args = ['--test', ...tests.map((file) => path.join('test', file))];
  const child = spawn(process.execPath, args, { cwd: folder, env, stdio: 'inherit' });
  return new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
}

try {
  stageMain(world.path('main'));
  for (const folder of [world.path('main'), native]) world.publish(folder);
  const project = world.project('project');
  await project.npm('install', 'mullama');
  mkdirSync(project.path('test'));
  cpSync(path.join(here, 'test'), project.path('test'), { recursive: true });
  process.exitCode = await runTests(project.folder);
} finally {
  world.close();
}
