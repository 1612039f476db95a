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
  // A process has one engine: that of the copy of mullama which was loaded first. Of the same version, all
  // copies use that one's addon too.
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
  // The process ends on the main thread; what runs on others must be over by then. (Required here, since it
  // takes a third of the time that all of this package does.)
  const { isMainThread } = require('node:worker_threads') as typeof import('node:worker_threads');
  if (isMainThread) native.shutDown();
});
