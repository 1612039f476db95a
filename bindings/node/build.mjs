// Builds the package of JavaScript and types in `dist`, and the package of this platform in `native`: the
// addon, with the engine's libraries and modules and the program. Arguments go to cargo:
// `node build.mjs --features vulkan`.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { nameOf, platformManifest } from './packaging/manifests.mjs';
import { dist, native, repository, target, writeManifest } from './packaging/pack.mjs';

const require = createRequire(import.meta.url);

const library = { darwin: 'libmullama_node.dylib', win32: 'mullama_node.dll' };
const built = path.join(target, library[process.platform] ?? 'libmullama_node.so');

function run(command, ...args) {
  execFileSync(command, args, { cwd: repository, stdio: 'inherit' });
}

/** Compiles `lib`; gives the status. What has errors is compiled all the same. */
function compile() {
  rmSync(dist, { recursive: true, force: true });
  const args = [require.resolve('typescript/bin/tsc'), '--project', import.meta.dirname];
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status;
}

/** Copies the addon by way of a rename, so that a process that has the old one loaded keeps it. */
function placeAddon() {
  const addon = path.join(native, 'mullama.node');
  copyFileSync(built, `${addon}.partial`);
  // As with the other files; see scripts/stage-engine.sh.
  if (process.platform === 'linux') run('strip', `${addon}.partial`);
  renameSync(`${addon}.partial`, addon);
}

const flags = ['--release', '-p', 'mullama-node', '--features', 'full'];
run('cargo', 'build', ...flags, ...process.argv.slice(2));
// Where the addon has changed, its declarations are written from what is built here.
process.exitCode = compile();
const name = require('./dist/platform.js').thisPlatform();
// Fails for a platform that has no package, before anything is deleted.
platformManifest(name);
rmSync(native, { recursive: true, force: true });
mkdirSync(native, { recursive: true });
run('sh', 'scripts/stage-engine.sh', native);
placeAddon();
const sizes = Object.fromEntries(
  readdirSync(native).map((file) => [file, statSync(path.join(native, file)).size]),
);
copyFileSync(path.join(repository, 'LICENSE'), path.join(native, 'LICENSE'));
writeFileSync(
  path.join(native, 'README.md'),
  `# ${nameOf(name)}\n\nA part of [mullama](https://www.npmjs.com/package/mullama), which installs it on ` +
    'such machines.\n',
);
writeManifest(native, platformManifest(name, sizes));
console.log(path.relative(process.cwd(), native));
