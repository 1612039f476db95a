// The packages, installed by npm from a registry into empty folders: that they work, and that
// errors of a faulty installation explain what to do.

import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import platform from '../dist/platform.js';
import { World } from './installation.mjs';
import { mainManifest, nameOf, platformManifest, platforms } from './manifests.mjs';
import { native, stageMain, writeManifest } from './pack.mjs';

const here = platform.thisPlatform();
const main = mainManifest();
const own = platformManifest(here);
const OTHER_VERSION = '99.0.0';

const ASK = `
  const { Model } = require('mullama');
  const france = [{ role: 'user', content: 'What is the capital of France?' }];
  Model.load('demo', { nThreads: 1 })
    .then((model) => model.chat(france, { temperature: 0 }))
    .then((answer) => console.log(String(answer)));`;

/** Prints the error of loading the package, as a program receives it. */
const FAIL = `
  try {
    require('mullama');
    console.log('{}');
  } catch ({ name, code, hint, message, context }) {
    console.log(JSON.stringify({ name, code, hint, message, context }));
  }`;

let world;
/** A project with a correct installation. */
let good;

/** A platform's package without a working addon. */
function emptyPackage(name, manifest) {
  const folder = world.path('empty', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'mullama.node'), 'no library');
  writeManifest(folder, manifest);
  return folder;
}

before(async () => {
  world = await World.open();
  const folder = world.path('main');
  stageMain(folder);
  world.publish(folder);
  world.publish(native);
  writeManifest(folder, {
    ...main,
    version: OTHER_VERSION,
    optionalDependencies: { [own.name]: OTHER_VERSION },
  });
  world.publish(folder);
  const changed = world.path('other');
  cpSync(native, changed, { recursive: true });
  writeManifest(changed, { ...own, version: OTHER_VERSION });
  world.publish(changed);
  for (const name of Object.keys(platforms).filter((name) => name !== here)) {
    world.publish(emptyPackage(name, platformManifest(name)));
  }
  good = world.project('good');
  await good.npm('install', 'mullama');
});

after(() => world?.close());

/** A copy of the correct project whose installed files a test may damage. */
function copyOfGood(name) {
  const project = world.project(name);
  cpSync(good.path('node_modules'), project.path('node_modules'), {
    recursive: true,
    verbatimSymlinks: true,
  });
  return project;
}

function failure(project, code = FAIL, options) {
  const { status, stdout, stderr } = project.node(code, options);
  assert.equal(status, 0, stderr);
  const error = JSON.parse(stdout);
  assert.equal(error.name, 'MullamaError', stdout);
  return error;
}

function assertAnswers(project, options) {
  const { status, stdout, stderr } = project.node(ASK, options);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /Paris/);
  return stderr;
}

/** All files of a folder, with their sizes. */
function* filesOf(folder) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isFile()) yield [path.relative(folder, file), statSync(file).size];
  }
}

describe('what is published', () => {
  test('JavaScript and types, and packages for platforms of the same version', () => {
    assert.deepEqual(Object.keys(main.optionalDependencies), Object.keys(platforms).map(nameOf));
    for (const [name, version] of Object.entries(main.optionalDependencies)) {
      assert.equal(version, main.version, name);
    }
    for (const field of ['scripts', 'private', 'dependencies', 'devDependencies']) {
      assert.equal(main[field], undefined, field);
    }
    const files = [...filesOf(good.package('mullama'))].map(([file]) => file);
    assert.ok(files.includes('LICENSE') && files.includes('README.md'));
    const odd = files.filter((file) => !/\.(?:js|mjs|ts|mts|json|md)$|^LICENSE$/.test(file));
    assert.deepEqual(odd, []);
  });

  test('platform packages differ in os, cpu and libc', () => {
    const told = Object.keys(platforms).map((name) => {
      const { os, cpu, libc, version, scripts } = platformManifest(name);
      assert.deepEqual([version, scripts], [main.version, undefined]);
      assert.ok(name.startsWith(`${os}-${cpu}`));
      return JSON.stringify([os, cpu, libc]);
    });
    assert.equal(new Set(told).size, told.length);
  });

  test('this platform’s package is complete', () => {
    const files = readdirSync(good.package(own.name));
    for (const file of ['LICENSE', 'README.md', 'mullama.node', 'package.json']) {
      assert.ok(files.includes(file), file);
    }
    assert.ok(
      files.some((file) => /ggml-rpc\./.test(file)),
      files.join(),
    );
    assert.ok(
      files.some((file) => /ggml-cpu/.test(file)),
      files.join(),
    );
    for (const program of ['mullama-probe', 'mullama-worker']) {
      assert.ok(
        files.some((file) => file.startsWith(program)),
        files.join(),
      );
    }
  });

  test('less than 20 MB in addition to the engine’s own files', () => {
    const sizes = [...filesOf(good.package('mullama')), ...filesOf(good.package(own.name))];
    const isEngine = (file) => /^(?:lib)?(?:ggml|llama)/.test(file);
    const ours = sizes.filter(([file]) => !isEngine(file)).map(([, size]) => size);
    const total = ours.reduce((sum, size) => sum + size, 0);
    assert.ok(total < 20e6, `${total}`);
  });
});

describe('installed', () => {
  test('npm installs only the package of this platform', () => {
    assert.deepEqual(readdirSync(good.package('@mullama')), [here]);
  });

  test('it works with require', () => {
    assert.equal(assertAnswers(good), '');
  });

  test('it works with import', () => {
    const code = `import { Model, gpu, MullamaError } from 'mullama';
      if (!gpu.devices().length || !MullamaError) throw new Error('exports');
      const model = await Model.load('demo', { nThreads: 1 });
      console.log(String(await model.generate('The capital of France is', { temperature: 0 })));`;
    const { status, stdout, stderr } = good.node(code, { args: ['--input-type=module'] });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Paris/);
  });

  test('`require` and `import` share one module', () => {
    const code = `import { createRequire } from 'node:module';
      import * as imported from 'mullama';
      const required = Object.entries(createRequire(process.cwd() + '/x')('mullama'));
      console.log(required.length, Object.keys(imported).length);
      for (const [name, value] of required) if (imported[name] !== value) console.log(name);`;
    const { stdout } = good.node(code, { args: ['--input-type=module'] });
    assert.match(stdout, /^(\d+) \1\n$/);
  });

  test('in a folder with spaces and letters of other languages', async () => {
    const project = world.project('ein Ördner – папка 目录');
    await project.npm('install', 'mullama');
    assertAnswers(project);
    const { status, stdout, stderr } = npx(project, 'run', 'demo', '--temperature', '0', QUESTION);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Paris/);
  });

  const asNobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const skip = process.platform === 'win32' ? 'this system has no such permissions' : false;
  test('in a folder that cannot be written to', { skip }, (t) => {
    const project = copyOfGood('read only');
    const all = readdirSync(project.folder, { recursive: true, withFileTypes: true });
    const folders = all.filter((entry) => entry.isDirectory());
    const places = folders.map((entry) => path.join(entry.parentPath, entry.name));
    places.push(project.folder);
    chmodSync(world.folder, 0o755);
    for (const place of places) chmodSync(place, 0o555);
    t.after(() => places.forEach((place) => chmodSync(place, 0o755)));
    // The home folder is not writable, either.
    const options = { ...asNobody, env: { HOME: '/nonexistent' } };
    assert.equal(assertAnswers(project, options), '');
    const args = [project.path('node_modules/.bin/mullama'), 'run', 'demo', QUESTION];
    const { status, stderr } = project.run(process.execPath, args, options);
    assert.equal(status, 0, stderr);
  });

  test('two copies of one version share an engine, on all threads', () => {
    const project = copyOfGood('two copies');
    const inner = project.package('dependency');
    cpSync(good.path('node_modules'), path.join(inner, 'node_modules'), { recursive: true });
    writeFileSync(
      path.join(inner, 'index.js'),
      `exports.mullama = require('mullama');
       exports.folder = require.resolve('mullama');`,
    );
    const code = `
      const { Worker, isMainThread } = require('node:worker_threads');
      const first = require('mullama');
      const { mullama, folder } = require('dependency');
      if (folder === require.resolve('mullama')) throw new Error('one copy');
      const france = [{ role: 'user', content: 'What is the capital of France?' }];
      (async () => {
        const models = await Promise.all([first, mullama].map(({ Model }) => Model.load('demo')));
        const ask = (model) => model.chat(france, { temperature: 0 });
        for (const answer of await Promise.all(models.map(ask))) console.log(String(answer));
        console.log(first.gpu.devices().filter(({ kind }) => kind === 'cpu').length);
      })();
      // A thread that sees the second copy alone.
      const worker = "require(" + JSON.stringify(folder) + ").Model.load('demo')" +
        ".then((model) => model.chat(" + JSON.stringify(france) + ", { temperature: 0 }))" +
        ".then((answer) => console.log(String(answer)))";
      new Worker(worker, { eval: true });`;
    const { status, stdout, stderr } = project.node(code);
    assert.equal(status, 0, stderr);
    assert.equal(stdout.match(/Paris/g).length, 3, stdout);
    assert.match(stdout, /^1$/m);
  });
});

const QUESTION = 'What is the capital of France?';

/** Runs the command with npx, as users do. */
function npx(project, ...args) {
  const [command] = process.platform === 'win32' ? ['npx.cmd'] : ['npx'];
  return project.run(command, ['--no', 'mullama', ...args], {
    env: { PATH: process.env.PATH, npm_config_cache: world.path('cache') },
    shell: process.platform === 'win32',
  });
}

describe('the command', () => {
  const command = () => good.path('node_modules/mullama/dist/command.js');
  const mullama = (...args) => good.run(process.execPath, [command(), ...args]);

  test('npx mullama run demo', () => {
    const { status, stdout, stderr } = npx(good, 'run', 'demo', '--temperature', '0', QUESTION);
    assert.equal(status, 0, stderr);
    assert.equal(stdout.trim(), 'The capital of France is Paris.');
  });

  test('passes on what is piped in, and the exit code', () => {
    const args = [command(), 'run', 'demo', '--temperature', '0'];
    const { status, stdout } = good.run(process.execPath, args, { input: QUESTION });
    assert.equal(status, 0);
    assert.match(stdout, /Paris/);
    assert.equal(mullama('run', 'no-such.gguf', 'x').status, 3);
    assert.equal(mullama('--no-such-flag').status, 2);
  });

  const skip = process.platform === 'win32' ? 'this system has no signals' : false;
  test('is interrupted by signals', { skip }, async () => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 130],
    ]) {
      const args = [command(), 'run', 'demo', '--ignore-eos', '--max-tokens', '100000', 'x'];
      const child = good.start(process.execPath, args);
      const ended = new Promise((resolve) => child.on('exit', (...how) => resolve(how)));
      await new Promise((resolve) => child.stdout.once('data', resolve));
      child.kill(signal);
      assert.deepEqual(await ended, [code, null], signal);
    }
  });

  test('reports problems of the installation', async () => {
    const project = world.project('command without its platform');
    await project.npm('install', 'mullama', '--omit=optional');
    const args = [project.path('node_modules/mullama/dist/command.js'), 'devices'];
    const { status, stdout, stderr } = project.run(process.execPath, args);
    assert.equal(status, 12);
    assert.equal(stdout, '');
    assert.match(stderr, /^error: .*is not installed\nhint: run `npm install --include=optional`/);
  });
});

describe('an installation that cannot work', () => {
  const fails = async (project, code, message, hint) => {
    const error = failure(project);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.match(error.hint, hint);
    // The same with an ES module.
    const { status, stdout } = project.node(
      "import('mullama').catch(({ code }) => console.log(code))",
    );
    assert.deepEqual([status, stdout.trim()], [0, code]);
    return error;
  };

  test('without optional packages; the hint fixes it', async () => {
    const project = world.project('omitted');
    await project.npm('install', 'mullama', '--omit=optional');
    const error = await fails(project, 'BACKEND', /is not installed/, /--include=optional/);
    assert.deepEqual(error.context, { platform: here, package: own.name });
    await project.npm('install', '--include=optional');
    assertAnswers(project);
  });

  test('by a lock file of another platform; the hint fixes it', async () => {
    const project = world.project('locked');
    await project.npm('install', 'mullama');
    const lock = JSON.parse(readFileSync(project.path('package-lock.json'), 'utf8'));
    delete lock.packages[`node_modules/${own.name}`];
    writeFileSync(project.path('package-lock.json'), JSON.stringify(lock));
    rmSync(project.path('node_modules'), { recursive: true });
    await project.npm('install').catch(() => {});
    if (!existsSync(project.package(own.name))) {
      await fails(project, 'BACKEND', /is not installed/, /delete node_modules and package-lock/);
    }
    rmSync(project.path('node_modules'), { recursive: true });
    rmSync(project.path('package-lock.json'));
    await project.npm('install');
    assertAnswers(project);
  });

  test('from a machine of another platform; the hint fixes it', async () => {
    const project = world.project('moved');
    const other = here === 'darwin-arm64' ? 'linux-x64-gnu' : 'darwin-arm64';
    const [os, cpu] = other.split('-');
    await project.npm('install', 'mullama', `--os=${os}`, `--cpu=${cpu}`);
    assert.deepEqual(readdirSync(project.package('@mullama')), [other]);
    await fails(project, 'BACKEND', /from another machine/, /delete node_modules/);
    rmSync(project.path('node_modules'), { recursive: true });
    await project.npm('install');
    assertAnswers(project);
  });

  const isLinux = process.platform === 'linux' && process.arch === 'x64';
  test('for the other C library', { skip: isLinux ? false : 'Linux has two' }, async () => {
    const other = here.endsWith('gnu') ? 'linux-x64-musl' : 'linux-x64-gnu';
    const project = world.project('other libc');
    const libc = platforms[other].libc[0];
    await project.npm('install', 'mullama', '--os=linux', '--cpu=x64', `--libc=${libc}`);
    assert.deepEqual(readdirSync(project.package('@mullama')), [other]);
    await fails(project, 'BACKEND', new RegExp(`but @mullama/${other}`), /delete node_modules/);
    const args = [project.path('node_modules/mullama/dist/command.js'), 'devices'];
    assert.match(project.run(process.execPath, args).stderr, /from another machine/);
    // Some installers install both.
    cpSync(good.package(own.name), project.package(own.name), { recursive: true });
    assertAnswers(project);
  });

  test('a platform without a package', () => {
    const code = `Object.defineProperty(process, 'arch', { value: 'riscv64' }); ${FAIL}`;
    const error = failure(good, code);
    assert.equal(error.code, 'UNSUPPORTED');
    assert.match(error.message, /riscv64/);
    for (const name of Object.keys(platforms)) assert.ok(error.hint.includes(name), error.hint);
  });

  test('a part of another version; the hint fixes it', async () => {
    const project = world.project('mismatched', { overrides: { [own.name]: OTHER_VERSION } });
    await project.npm('install', `mullama@${main.version}`);
    const error = await fails(project, 'BACKEND', /99\.0\.0/, /npm install mullama@/);
    assert.equal(error.context.version, OTHER_VERSION);
    assert.equal(error.context.expected, main.version);
    const [, command] = error.hint.match(/`npm (.*?)`/);
    writeFileSync(project.path('package.json'), '{ "private": true }');
    await project.npm(...command.split(' '));
    assertAnswers(project);
  });

  test('truncated, missing and invalid libraries', async () => {
    const files = readdirSync(good.package(own.name));
    const engine = files.find((file) => /^(?:lib)?llama\./.test(file));
    const processor = files.find((file) => /^(?:lib)?ggml-cpu/.test(file));
    const overwrite = (file) => writeFileSync(file, Buffer.alloc(statSync(file).size, 'x'));
    for (const [file, spoil, said] of [
      ['mullama.node', (file) => truncateSync(file, 100_000), /is shorter than/],
      [engine, (file) => truncateSync(file, 100_000), /is shorter than/],
      [processor, (file) => truncateSync(file, 100_000), /is shorter than/],
      [engine, rmSync, /is missing/],
      ['mullama.node', overwrite, /does not load: ./],
      [engine, overwrite, /does not load: ./],
    ]) {
      const project = copyOfGood('damaged');
      spoil(path.join(project.package(own.name), file));
      const error = await fails(project, 'BACKEND', said, /is damaged: delete its folder/);
      assert.ok(error.message.includes(file), error.message);
      assert.ok(error.message.includes(project.package(own.name)), error.message);
      rmSync(project.folder, { recursive: true });
    }
  });

  test('two versions in one process', async () => {
    const project = copyOfGood('two versions');
    const inner = world.project('two versions/node_modules/dependency');
    await inner.npm('install', `mullama@${OTHER_VERSION}`);
    writeFileSync(inner.path('index.js'), "module.exports = require('mullama');");
    const { code, message, hint } = failure(
      project,
      `require('mullama'); ${FAIL.replace("'mullama'", "'dependency'")}`,
    );
    assert.equal(code, 'BACKEND');
    assert.match(message, /has loaded the engine in .*two versions/);
    assert.match(hint, /npm ls mullama/);
    // Each of them works alone.
    assertAnswers(project);
    assertAnswers(inner);
  });

  test(
    'another engine in the process',
    { skip: isLinux ? false : 'Linux has the variable' },
    () => {
      const project = copyOfGood('another engine');
      const foreign = project.path('foreign');
      cpSync(good.package(own.name), foreign, { recursive: true });
      rmSync(path.join(foreign, 'package.json'));
      const { code, message, hint } = failure(project, FAIL, { env: { LD_LIBRARY_PATH: foreign } });
      assert.equal(code, 'BACKEND');
      assert.ok(message.includes(foreign), message);
      assert.match(hint, /LD_LIBRARY_PATH/);
    },
  );
});

describe('packages of GPU backends', () => {
  const backend = `${own.name}-vulkan`;
  const module = process.platform === 'win32' ? 'ggml-vulkan.dll' : 'libggml-vulkan.so';
  const LIST = `console.log(JSON.stringify(require('mullama').gpu.backends()
    .filter(({ name }) => name === 'vulkan')));`;

  /** A package whose module is not a library. */
  function broken(folder, version) {
    mkdirSync(folder, { recursive: true });
    writeManifest(folder, { name: backend, version });
    const label = { package: backend, version, install: `npm install ${backend}@` };
    writeFileSync(path.join(folder, 'mullama-backend.json'), JSON.stringify(label));
    writeFileSync(path.join(folder, module), 'no library');
  }

  const list = (project, options) => {
    const { status, stdout, stderr } = project.node(LIST, options);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  };

  test('are found next to the package, above it and inside it', () => {
    assert.deepEqual(list(good), []);
    for (const place of ['', 'node_modules/mullama/', '../']) {
      const project = copyOfGood('outer/with backend');
      const folder = project.path(`${place}node_modules`, backend);
      broken(folder, main.version);
      const [found] = list(project);
      assert.equal(found?.path, path.join(folder, module));
      assert.equal(found.loaded, false);
      assert.match(found.reason, /./);
      assertAnswers(project);
      rmSync(world.path('outer'), { recursive: true });
    }
  });

  test('are found where packages are links into a store', () => {
    const project = world.project('linked');
    const store = project.path('node_modules/.pnpm');
    const put = (from, name, version) => {
      const folder = path.join(store, `${name.replace('/', '+')}@${version}/node_modules`, name);
      mkdirSync(path.dirname(folder), { recursive: true });
      if (from) renameSync(from, folder);
      return folder;
    };
    const copy = copyOfGood('to link');
    const parts = put(copy.package(own.name), own.name, own.version);
    const whole = put(copy.package('mullama'), 'mullama', main.version);
    const gpu = put(undefined, backend, main.version);
    broken(gpu, main.version);
    mkdirSync(path.join(whole, '../@mullama'));
    symlinkSync(parts, path.join(whole, '..', own.name));
    mkdirSync(project.path('node_modules/@mullama'));
    symlinkSync(whole, project.package('mullama'));
    symlinkSync(gpu, project.package(backend));
    assertAnswers(project);
    assert.equal(list(project)[0]?.path, path.join(gpu, module));
  });

  test('of another version are refused, with the reason', () => {
    const project = copyOfGood('backend of another version');
    broken(project.package(backend), OTHER_VERSION);
    const [found] = list(project);
    assert.equal(found.loaded, false);
    assert.ok(found.reason.includes(`\`npm install ${backend}@${main.version}\``), found.reason);
    assertAnswers(project);
    const args = [project.path('node_modules/mullama/dist/command.js'), 'devices'];
    const { stdout, stderr } = project.run(process.execPath, args);
    assert.match(stdout + stderr, /vulkan.*99\.0\.0/s);
  });

  const tarball = path.resolve(
    native,
    '../../../target/packages',
    `mullama-${here}-vulkan-${main.version}.tgz`,
  );
  const skip = existsSync(tarball) ? false : 'make gpu-package has not built the one of Vulkan';
  test('add devices, or report the reason', { skip }, async (t) => {
    const project = world.project('vulkan');
    await project.npm('install', 'mullama', tarball);
    // A software renderer is skipped unless it is selected.
    const env = { GGML_VK_VISIBLE_DEVICES: '0' };
    const [found] = list(project, { env });
    assert.equal(found.path, path.join(project.package(backend), module));
    const code = "console.log(require('mullama').gpu.vulkanAvailable())";
    if (project.node(code, { env }).stdout === 'true\n') assert.ok(found.loaded);
    const { stdout } = npx(project, 'devices', '--json');
    const { backends } = JSON.parse(stdout);
    assert.equal(backends.find(({ name }) => name === 'vulkan').path, found.path);
    t.diagnostic(found.reason ?? 'there is a device');
    assertAnswers(project);
  });

  test('of another version are refused by npm as well', { skip }, async () => {
    const project = world.project('vulkan of another version');
    const install = project.npm('install', `mullama@${OTHER_VERSION}`, tarball);
    await assert.rejects(install, /ERESOLVE/);
  });
});

describe('threads', () => {
  test('terminating one during a stream does not affect the others', async () => {
    const code = `
      const { Worker } = require('node:worker_threads');
      const body = (rest) => "const { parentPort } = require('node:worker_threads');" +
        "const { Model } = require('mullama');" +
        "Model.load('demo', { nThreads: 1 }).then(async (model) => {" + rest + "});";
      const endless = body("for await (const _ of model.stream('x', { ignoreEos: true }))" +
        "parentPort.postMessage('');");
      const france = body("parentPort.postMessage(String(await model.generate(" +
        "'The capital of France is', { temperature: 0 })));");
      const start = (code) => new Worker(code, { eval: true });
      const said = (worker) => new Promise((resolve) => worker.once('message', resolve));
      (async () => {
        const [first, ...others] = [start(endless), start(france), start(france)];
        const answers = others.map(said);
        await said(first);
        await first.terminate();
        console.log(...await Promise.all(answers));
      })();`;
    const { status, stdout, stderr } = good.node(code);
    assert.equal(status, 0, stderr);
    assert.equal(stdout.match(/Paris/g)?.length, 2, stdout);
  });
});
