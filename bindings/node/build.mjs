// Makes the package of this platform in `native`, of what `make build` built: the addon, with the engine's
// libraries and modules and the program.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { nameOf, platformManifest } from './packaging/manifests.mjs';
import { native, writeManifest } from './packaging/pack.mjs';
import platform from './lib/platform.js';

const repository = path.resolve(import.meta.dirname, '../..');
const name = platform.thisPlatform();
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
