// Prints the sizes of the packages, and the time that `require` and `import` take in addition to the start of
// Node.js: medians over new processes.

import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';

import { World } from './installation.mjs';
import { native, stageMain } from './pack.mjs';

const PROCESSES = 21;

/** The parts of a platform's package. */
const PARTS = [
  ['addon', /\.node$/],
  ['engine libraries', /^(?:lib)?(?:llama|ggml(?:-base)?\.)/],
  ['CPU modules', /^(?:lib)?ggml-cpu/],
  ['other modules', /^(?:lib)?ggml-/],
  ['demo model', /\.gguf$/],
  ['the rest', /./],
];

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2).padStart(7)} MB`;

function printSizes(packed) {
  for (const { name, size, unpackedSize } of packed) {
    console.log(`${name}: ${megabytes(size)} to download, ${megabytes(unpackedSize)} unpacked`);
  }
  const sums = new Map(PARTS.map(([part]) => [part, 0]));
  for (const file of readdirSync(native)) {
    const [part] = PARTS.find(([, pattern]) => pattern.test(file));
    sums.set(part, sums.get(part) + statSync(path.join(native, file)).size);
  }
  for (const [part, size] of sums) console.log(`  ${part.padEnd(18)}${megabytes(size)}`);
}

/** The run time of a process with these arguments, in ms. */
function time(project, args) {
  const start = performance.now();
  const env = project.world.environment();
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: project.folder, env });
  if (status !== 0) throw new Error(String(stderr));
  return performance.now() - start;
}

function printTimes(project) {
  const programs = {
    'node alone': ['--eval', '0'],
    require: ['--eval', "require('mullama')"],
    'node alone, as a module': ['--input-type=module', '--eval', '0'],
    import: ['--input-type=module', '--eval', "import 'mullama'"],
    'require, and the devices': ['--eval', "require('mullama').gpu.devices()"],
  };
  const times = new Map(Object.keys(programs).map((name) => [name, []]));
  for (let round = 0; round < PROCESSES; round += 1) {
    for (const [name, args] of Object.entries(programs)) times.get(name).push(time(project, args));
  }
  const median = (name) => times.get(name).sort((a, b) => a - b)[(PROCESSES - 1) / 2];
  for (const [name, alone] of [
    ['require', 'node alone'],
    ['import', 'node alone, as a module'],
    ['require, and the devices', 'node alone'],
  ]) {
    console.log(`${name}: ${(median(name) - median(alone)).toFixed(1)} ms`);
  }
  console.log(`(node itself: ${median('node alone').toFixed(1)} ms; ${PROCESSES} processes each)`);
}

const world = await World.open();
try {
  stageMain(world.path('main'));
  printSizes([world.path('main'), native].map((folder) => world.publish(folder)));
  const project = world.project('project');
  await project.npm('install', 'mullama');
  printTimes(project);
} finally {
  world.close();
}
