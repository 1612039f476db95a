// Builds the native module and puts it, with the engine's libraries and modules, into `native`.
// Arguments go to cargo: `node build.mjs --features vulkan`.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import path from 'node:path';

const repository = path.resolve(import.meta.dirname, '../..');
const target = process.env.CARGO_TARGET_DIR ?? path.join(repository, 'target');
const native = path.join(import.meta.dirname, 'native');

/** The name of this machine's platform, as npm packages have it: `linux-x64-gnu`. */
function platform() {
  const { arch, platform, report } = process;
  if (platform === 'linux') {
    const libc = report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl';
    return `linux-${arch}-${libc}`;
  }
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`;
}

const library = { darwin: 'libmullama_node.dylib', win32: 'mullama_node.dll' };
const built = path.join(target, 'release', library[process.platform] ?? 'libmullama_node.so');

function run(command, ...args) {
  execFileSync(command, args, { cwd: repository, stdio: 'inherit' });
}

run(
  'cargo',
  'build',
  '--release',
  '-p',
  'mullama-node',
  '--features',
  'full',
  ...process.argv.slice(2),
);
mkdirSync(native, { recursive: true });
run('sh', 'scripts/stage-engine.sh', native);

// By way of a rename, so that a process that has the old module loaded keeps it.
const module = path.join(native, `mullama.${platform()}.node`);
copyFileSync(built, `${module}.partial`);
renameSync(`${module}.partial`, module);
console.log(path.relative(process.cwd(), module));
