import { join } from 'node:path';

import { textOf, textsOf } from './arguments.js';
import { type Located, locate, unavailable } from './locate.js';
import { read } from './packages.js';

type Addon = typeof import('./generated/native.js');

const ADDON = 'mullama.node';

/** Loads the addon of a package. */
function load(found: Located): Addon {
  let addon: Addon;
  try {
    addon = require(join(found.folder, ADDON)) as Addon;
  } catch (error) {
    throw unavailable().broken(found, error as Error);
  }
  // A process has one engine: that of the first copy of mullama that was loaded. Copies of the same version use
  // the addon of that copy, too.
  const elsewhere = addon.engineElsewhere(textOf(found.folder));
  if (elsewhere === null) return addon;
  if (read(elsewhere)?.version !== found.version) throw unavailable().mixed(found, elsewhere);
  return require(join(elsewhere, ADDON)) as Addon;
}

const found = locate();

/** The addon. */
export const native: Addon = load(found);

if (found.backends.length) native.addBackendDirs(textsOf(found.backends, 'the folders'));
process.on('exit', () => {
  // The process exits on the main thread; calls on other threads must have ended by then. (Required here, since
  // loading it takes a third as long as loading all of this package.)
  const { isMainThread } = require('node:worker_threads') as typeof import('node:worker_threads');
  if (isMainThread) native.shutDown();
});
