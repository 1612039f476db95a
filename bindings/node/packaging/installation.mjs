// Projects into which npm installs packages, and programs that run in them in a clean environment.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { finish } from '../test/finish.mjs';
import { Registry } from './registry.mjs';

const isWindows = process.platform === 'win32';

/** A temporary folder with a registry, a home folder, and a folder of programs that has only Node.js. */
export class World {
  #registry;

  static async open() {
    const world = new World();
    world.folder = mkdtempSync(path.join(tmpdir(), 'mullama-packages-'));
    for (const name of ['home', 'bin', 'tarballs']) mkdirSync(world.path(name));
    if (!isWindows) symlinkSync(process.execPath, world.path('bin', 'node'));
    world.#registry = new Registry(world.path('tarballs'));
    world.address = await world.#registry.listen();
    return world;
  }

  close() {
    this.#registry.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  path(...names) {
    return path.join(this.folder, ...names);
  }

  publish(folder) {
    return this.#registry.publish(folder);
  }

  /** Creates a project in a subfolder. */
  project(name, manifest = {}) {
    const folder = this.path(name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      path.join(folder, 'package.json'),
      JSON.stringify({ name: 'project', version: '1.0.0', private: true, ...manifest }),
    );
    return new Project(this, folder);
  }

  /** The environment of programs: Node.js, a home folder, and nothing from this process's environment. */
  environment(more) {
    const home = this.path('home');
    const system = isWindows ? { SystemRoot: process.env.SystemRoot, LOCALAPPDATA: home } : {};
    return { PATH: this.path('bin'), HOME: home, TMPDIR: tmpdir(), ...system, ...more };
  }
}

/** A project into which packages are installed. */
class Project {
  constructor(world, folder) {
    this.world = world;
    this.folder = folder;
  }

  path(...names) {
    return path.join(this.folder, ...names);
  }

  /** The folder of an installed package. */
  package(name) {
    return this.path('node_modules', name);
  }

  /** Runs npm in the project; throws an error if it fails. */
  async npm(...args) {
    const { world } = this;
    const env = world.environment({
      PATH: process.env.PATH,
      npm_config_registry: world.address,
      npm_config_cache: world.path('cache'),
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    });
    // Must not block, because the registry runs in this process.
    const { status, output } = await finish('npm', args, {
      cwd: this.folder,
      env,
      shell: isWindows,
    });
    if (status !== 0) throw new Error(`npm ${args.join(' ')}: ${output}`);
    return output;
  }

  /** Runs JavaScript code in the project. */
  node(code, { args = [], env, ...options } = {}) {
    return this.run(process.execPath, [...args, '--eval', code], { env, ...options });
  }

  /** Runs a program in the project and waits for it to exit. */
  run(program, args, { env, ...options } = {}) {
    const { status, signal, stdout, stderr } = spawnSync(program, args, {
      cwd: this.folder,
      encoding: 'utf8',
      timeout: 60_000,
      ...options,
      env: this.world.environment(env),
    });
    return { status: status ?? signal, stdout, stderr };
  }

  /** Starts a program in the project. */
  start(program, args) {
    const env = this.world.environment();
    // The command would read piped input as a part of the prompt.
    const stdio = ['ignore', 'pipe', 'pipe'];
    return spawn(program, args, { cwd: this.folder, env, stdio });
  }
}
