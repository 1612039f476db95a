'use strict';

// Why what is not JavaScript cannot be used, and what to do about it. Read only when something is wrong.

const path = require('node:path');

const { optionalDependencies, version } = require('../package.json');
const { MullamaError } = require('./errors.js');
const { SCOPE, read } = require('./packages.js');
const { report, thisPlatform } = require('./platform.js');

function backendError(message, hint, context, cause) {
  return new MullamaError({ kind: 'Backend', code: 'BACKEND', message, hint, context, cause });
}

const name = () => `${SCOPE}/${thisPlatform()}`;

/** Names of packages without those that other packages of the list begin with: platforms, no backends. */
function withoutBackends(names) {
  return names.filter((one) => !names.some((other) => one.startsWith(`${other}-`)));
}

/** There is no package for this machine among those of the scope that are installed. */
function missing(installed) {
  const platform = thisPlatform();
  const context = { platform, package: name() };
  // The tree itself depends on none.
  if (!optionalDependencies) {
    const built = path.join(__dirname, '../native');
    const message = `${name()} is not installed, and ${built} has not been built`;
    return backendError(message, 'run `make node-package`', context);
  }
  if (!(name() in optionalDependencies)) {
    const platforms = Object.keys(optionalDependencies).map((known) => known.split('/')[1]);
    return new MullamaError({
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

function notInstalled(context) {
  return backendError(
    `${name()}, the part of mullama for this platform, is not installed`,
    'run `npm install --include=optional`; if that does not bring it, package-lock.json was written without' +
      ' it: delete node_modules and package-lock.json first',
    context,
  );
}

/** What is installed is for other machines. */
function foreign(others) {
  return backendError(
    `${name()}, the part of mullama for this platform, is not installed, but ${others.join(', ')}: ` +
      'node_modules comes from another machine',
    'delete node_modules and run `npm install` on this machine (or in this container)',
    { platform: thisPlatform(), package: name(), installed: others.join(', ') },
  );
}

/** The package for this machine is not of this package's version. */
function mismatched(found) {
  return backendError(
    `${found.name} in ${found.folder} is of version ${found.version}, and mullama of ${version}`,
    optionalDependencies
      ? `run \`npm install mullama@${version} ${found.name}@${version}\`, or delete node_modules and` +
          ' package-lock.json and run `npm install`'
      : 'run `make node-package`',
    { package: found.name, path: found.folder, version: found.version, expected: version },
  );
}

/** This process has loaded another engine: of another version of mullama, or of another program. */
function mixed(found, other) {
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

/** The package for this machine is there, and cannot be loaded or started. */
function broken(found, cause) {
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

/** The folder of another engine that this process has loaded. */
function loadedEngine(folder) {
  const isEngine = (file) => /^(?:lib)?llama\b/.test(path.basename(file));
  const engines = report().sharedObjects.filter(isEngine);
  return engines.map((file) => path.dirname(file)).find((other) => other !== folder);
}

module.exports = { broken, missing, mismatched, mixed };
