'use strict';

const fs = require('node:fs');
const path = require('node:path');

const { version } = require('../package.json');
const { platforms, thisPlatform } = require('./platform.js');

/** The scope of the packages that hold what is not JavaScript. */
const SCOPE = '@mullama';

/** The packages of the scope that are installed where this package sees them, by name; nearest first. */
function installed() {
  const found = new Map();
  for (const folder of require.resolve.paths(SCOPE)) {
    const scope = path.join(folder, SCOPE);
    if (!fs.existsSync(scope)) continue;
    for (const name of fs.readdirSync(scope)) {
      if (!found.has(name)) found.set(name, path.join(scope, name));
    }
  }
  return found;
}

/** What a package says of itself, and where it really lies; nothing where there is none. */
function read(folder) {
  const manifest = path.join(folder, 'package.json');
  if (!fs.existsSync(manifest)) return undefined;
  const { name, version, sizes } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
  return { name, version, sizes, folder: fs.realpathSync(folder) };
}

/** The package of this machine's platform: an installed one, or the one that this tree has built. */
function ofPlatform(packages) {
  let names = platforms().filter((name) => packages.has(name));
  // Only where somebody has installed both does it matter which one can be loaded.
  if (names.length > 1) names = [thisPlatform()];
  const folder = names.length ? packages.get(names[0]) : path.join(__dirname, '../native');
  return read(folder);
}

/**
 * What is wrong with the files of a package, if something is. To load a library that is cut short ends the
 * process; one that somebody has changed (so that it finds others, say) is longer.
 */
function damage({ folder, sizes }) {
  for (const [file, size] of Object.entries(sizes)) {
    const found = fs.statSync(path.join(folder, file), { throwIfNoEntry: false });
    if (!found) return `${file} is missing`;
    if (found.size < size) return `${file} is shorter than it should be`;
  }
  return undefined;
}

/**
 * Finds the package that has the addon, the engine and the program for this machine, and the folders of the
 * packages that have GPU backends for it. Throws where there is none, or none that can be used.
 */
function locate() {
  const packages = installed();
  const found = ofPlatform(packages);
  if (!found) throw require('./unavailable.js').missing([...packages.keys()]);
  if (found.version !== version) throw require('./unavailable.js').mismatched(found);
  const wrong = damage(found);
  if (wrong) throw require('./unavailable.js').broken(found, new Error(wrong));
  const backend = `${found.name.slice(SCOPE.length + 1)}-`;
  const backends = [...packages].filter(([name]) => name.startsWith(backend));
  return { ...found, backends: backends.map(([, folder]) => fs.realpathSync(folder)) };
}

module.exports = { SCOPE, locate, read };
