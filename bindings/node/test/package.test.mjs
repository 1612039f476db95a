// The package loads only its own files and those of its platform's package.

import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { gpu } from 'mullama';

import { finish } from './finish.mjs';
import { repository, temporaryFolder } from './helpers.mjs';

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

test('a bundle without the addon has a hint', async () => {
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

// The tests run in the installation, which has no dependencies.
const esbuild = createRequire(path.join(repository, 'bindings/node/package.json'))('esbuild');
const programs = {
  esm: `
    import { Model } from 'mullama';
    const model = new Model('demo', { vocabOnly: true });
    console.log('loaded', model.nVocab);`,
  cjs: `
    const { Model } = require('mullama');
    const model = new Model('demo', { vocabOnly: true });
    console.log('loaded', model.nVocab);`,
};
for (const [format, contents] of Object.entries(programs)) {
  test(`esbuild bundles a program that leaves the package external: ${format}`, async () => {
    const bundle = temporaryFolder();
    mkdirSync(path.join(bundle, 'node_modules'));
    symlinkSync(path.dirname(manifest), path.join(bundle, 'node_modules/mullama'), 'junction');
    const run = async (external) => {
      const outfile = path.join(bundle, format === 'esm' ? 'out.mjs' : 'out.cjs');
      const stdin = { contents, resolveDir: import.meta.dirname };
      const options = { bundle: true, platform: 'node', logLevel: 'error', format };
      await esbuild.build({ ...options, stdin, external, outfile });
      return finish(process.execPath, [outfile], { timeout: 60_000 });
    };
    const { status, output } = await run(['mullama']);
    assert.equal(status, 0, output);
    assert.match(output, /^loaded \d+/);
    const whole = await run([]);
    assert.notEqual(whole.status, 0);
    for (const said of ['part of a bundle', 'esbuild', 'external: ["mullama"]']) {
      assert.ok(whole.output.includes(said), whole.output);
    }
  });
}
