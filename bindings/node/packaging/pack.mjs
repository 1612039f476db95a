// Packs the published packages: that of JavaScript and types, and that of this platform, which
// `npm run build` creates in `native`.
//
//     node packaging/pack.mjs [FOLDER]
//
// The tarballs are written to FOLDER, by default `target/npm` of the repository.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { mainManifest } from './manifests.mjs';

const here = path.resolve(import.meta.dirname, '..');
export const repository = path.resolve(here, '../..');

/** The folder of cargo's release build. */
export const target = path.join(
  process.env.CARGO_TARGET_DIR ?? path.join(repository, 'target'),
  'release',
);

/** The compiled `lib`: JavaScript and declarations. */
export const dist = path.join(here, 'dist');

/** The contents of the platform's package. */
export const native = path.join(here, 'native');

/** Creates the package of JavaScript and types in a folder. */
export function stageMain(folder) {
  cpSync(dist, path.join(folder, 'dist'), { recursive: true });
  cpSync(path.join(here, 'README.md'), path.join(folder, 'README.md'));
  cpSync(path.join(repository, 'LICENSE'), path.join(folder, 'LICENSE'));
  writeManifest(folder, mainManifest());
}

export function writeManifest(folder, manifest) {
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Packs a folder. Returns npm's description of the tarball, with its path as `file`. */
export function pack(folder, destination) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', destination];
  const shell = process.platform === 'win32';
  const options = { cwd: folder, encoding: 'utf8', shell, stdio: ['ignore', 'pipe', 'inherit'] };
  const [packed] = JSON.parse(execFileSync('npm', args, options));
  return { ...packed, file: path.join(destination, packed.filename) };
}

/** Packs both packages. */
export function packAll(destination) {
  mkdirSync(destination, { recursive: true });
  const staged = mkdtempSync(path.join(tmpdir(), 'mullama-pack-'));
  try {
    stageMain(staged);
    return [pack(staged, destination), pack(native, destination)];
  } finally {
    rmSync(staged, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const folder = path.resolve(process.argv[2] ?? path.join(repository, 'target/npm'));
  rmSync(folder, { recursive: true, force: true });
  for (const { name, file, size, unpackedSize } of packAll(folder)) {
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
    console.log(`${name}: ${file}, ${megabytes(size)}, unpacked ${megabytes(unpackedSize)}`);
  }
}
