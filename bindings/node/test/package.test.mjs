// The package loads only its own files and those of its platform's package.

import assert from 'node:assert/strict';
import { copyFileSync, existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { gpu } from 'mullama';

import { temporaryFolder } from './helpers.mjs';

// Other modules in the build folder, if there is one, would be found as well.
process.env.MULLAMA_BACKEND = 'cpu,rpc';
const manifest = createRequire(import.meta.url).resolve('mullama/package.json');
const scope = path.join(path.dirname(manifest), '../@mullama');
// In the source tree, both are the same folder.
const folder = realpathSync(existsSync(scope) ? scope : path.dirname(manifest));

test('backend modules come from the package of the platform', () => {
  for (const { name, path: file } of gpu.backends()) {
    assert.ok(realpathSync(file).startsWith(folder), `${name}: ${file}`);
  }
});

const maps = '/proc/self/maps';
const skip = existsSync(maps) ? false : 'this system does not tell what a process has mapped';
test('the engine comes from the package of the platform', { skip }, () => {
  gpu.devices();
  const mapped = new Set(readFileSync(maps, 'utf8').match(/\/\S*(?:mullama|llama|ggml)\S*/g));
  const engine = [...mapped].filter((file) => /\.(?:node|so)\b/.test(file));
  assert.ok(engine.length >= 5, engine.join());
  for (const file of engine) assert.ok(file.startsWith(folder), file);
});

test('a bundle without the addon says what to do', async () => {
  const bundle = temporaryFolder();
  for (const file of ['index.mjs', 'unbundled.mjs', 'errors.js']) {
    copyFileSync(path.join(path.dirname(manifest), 'dist', file), path.join(bundle, file));
  }
  await assert.rejects(import(pathToFileURL(path.join(bundle, 'index.mjs'))), (error) => {
    assert.equal(error.code, 'UNSUPPORTED');
    for (const said of ['bundle', 'external', 'serverExternalPackages']) {
      assert.ok(error.message.includes(said), error.message);
    }
    return true;
  });
});
