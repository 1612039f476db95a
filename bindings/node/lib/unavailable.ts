// Explains why the native part cannot be used, and how to fix it. Loaded only when something is wrong.

import { basename, dirname } from 'node:path';

import { MullamaError } from './errors.js';
import { BUILT, type Package, SCOPE, isUnbundled, own, read } from './packages.js';
import { report, thisPlatform } from './platform.js';

function backendError(
  message: string,
  hint: string,
  context: Record<string, string>,
  cause?: unknown,
): MullamaError {
  return MullamaError.of({ kind: 'Backend', code: 'BACKEND', message, hint, context, cause });
}

const name = (): string => `${SCOPE}/${thisPlatform()}`;

/** The names of platforms' packages: without those of backends, which extend the name of another in the list. */
function withoutBackends(names: string[]): string[] {
  return names.filter((one) => !names.some((other) => one.startsWith(`${other}-`)));
}

/** The error if none of the installed packages of the scope is for this machine. */
export function missing(installed: string[]): MullamaError {
  if (!isUnbundled()) return MullamaError.bundled();
  const platform = thisPlatform();
  const context = { platform, package: name() };
  // The source tree has no such dependencies.
  if (!own.optionalDependencies) {
    const message = `${name()} is not installed, and ${BUILT} has not been built`;
    return backendError(message, 'run `make node-package`', context);
  }
  if (!(name() in own.optionalDependencies)) {
    const platforms = Object.keys(own.optionalDependencies).map((known) => known.split('/')[1]);
    return MullamaError.of({
      kind: 'Unsupported',
      code: 'UNSUPPORTED',
      message: `there is no package of mullama for ${platform}`,
      hint: `there are packages for ${platforms.join(', ')}; for others mullama is built from source`,
      context,
    });
  }
  const others = withoutBackends(installed).map((other) => `${SCOPE}/${other}`);
  return others.length ? foreign(others) : notInstalled(context);
}

function notInstalled(context: Record<string, string>): MullamaError {
  return backendError(
    `${name()}, the part of mullama for this platform, is not installed`,
    'run `npm install --include=optional`; if that does not bring it, package-lock.json was written without' +
      ' it: delete node_modules and package-lock.json first',
    context,
  );
}

/** The error if the installed packages are for other machines. */
function foreign(others: string[]): MullamaError {
  return backendError(
    `${name()}, the part of mullama for this platform, is not installed, but ${others.join(', ')}: ` +
      'node_modules comes from another machine',
    'delete node_modules and run `npm install` on this machine (or in this container)',
    { platform: thisPlatform(), package: name(), installed: others.join(', ') },
  );
}

/** The error if the package for this machine has another version than this package. */
export function mismatched(found: Package): MullamaError {
  return backendError(
    `${found.name} in ${found.folder} is of version ${found.version}, and mullama of ${own.version}`,
    own.optionalDependencies
      ? `run \`npm install mullama@${own.version} ${found.name}@${own.version}\`, or delete node_modules and` +
          ' package-lock.json and run `npm install`'
      : 'run `make node-package`',
    { package: found.name, path: found.folder, version: found.version, expected: own.version },
  );
}

/** The error if this process has loaded another engine: of another version of mullama, or of another program. */
export function mixed(found: Package, other: string): MullamaError {
  return backendError(
    `${found.name} ${found.version} in ${found.folder} cannot be used: this process has loaded the engine` +
      ` in ${other}, and has room for one`,
    read(other)?.name.startsWith(SCOPE)
      ? 'use one version of mullama (`npm ls mullama` shows who asks for another), or load the second in a' +
          ' process of its own'
      : 'use mullama in a process without the other program; LD_LIBRARY_PATH must not name its folder',
    { package: found.name, path: found.folder, other },
  );
}

/** The error if the package for this machine is installed, but cannot be loaded. */
export function broken(found: Package, cause: Error): MullamaError {
  if (found.name !== name()) return foreign([found.name]);
  const other = loadedEngine(found.folder);
  if (other) return mixed(found, other);
  const tooOld = /GLIBC(?:XX)?_[\d.]+/.exec(cause.message);
  return backendError(
    `${found.name} in ${found.folder} does not load: ${cause.message}`,
    tooOld
      ? `this system's C and C++ libraries are older than ${tooOld[0]}: mullama needs a newer system, or is` +
          ' built on this one from source'
      : 'it is damaged: delete its folder and run `npm install`',
    { package: found.name, path: found.folder },
    cause,
  );
}

/** The folder of another engine that this process has loaded, if any. */
function loadedEngine(folder: string): string | undefined {
  const isEngine = (file: string): boolean => /^(?:lib)?llama\b/.test(basename(file));
  const engines = report().sharedObjects.filter(isEngine);
  return engines.map((file) => dirname(file)).find((other) => other !== folder);
}
