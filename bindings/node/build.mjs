// Builds the package of JavaScript and types in `dist`, and the package of this platform in `native`, from the
// output of `make build`: the addon, with the engine's libraries and modules.

import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { nameOf, platformManifest } from './packaging/manifests.mjs';
import { dist, native, repository, writeManifest } from './packaging/pack.mjs';

const require = createRequire(import.meta.url);

/** Compiles `lib` and returns the exit status. Code with type errors is also emitted. */
function compile() {
  rmSync(dist, { recursive: true, force: true });
  const args = [require.resolve('typescript/bin/tsc'), '--project', import.meta.dirname];
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status;
}

// A failure does not stop here: after changes of the addon, its declarations are generated from this build.
process.exitCode = compile();
const name = require('./dist/platform.js').thisPlatform();
// Fails for a platform that has no package, before anything is deleted.
platformManifest(name);
rmSync(native, { recursive: true, force: true });
mkdirSync(native, { recursive: true });
execFileSync('sh', ['scripts/stage-engine.sh', native, 'mullama_node', 'mullama.node'], {
  cwd: repository,
  stdio: 'inherit',
});
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
