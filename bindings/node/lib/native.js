'use strict';

const path = require('node:path');

const { locate, read } = require('./packages.js');

const ADDON = 'mullama.node';

/** Loads the addon of a package. */
function load(found) {
  const unavailable = () => require('./unavailable.js');
  let native;
  try {
    native = require(path.join(found.folder, ADDON));
  } catch (error) {
    throw unavailable().broken(found, error);
  }
  // A process has one engine: that of the copy of mullama which was loaded first. Of the same version, all
  // copies use that one's addon too.
  const elsewhere = native.engineElsewhere(found.folder);
  if (elsewhere === null) return native;
  if (read(elsewhere)?.version !== found.version) throw unavailable().mixed(found, elsewhere);
  return require(path.join(elsewhere, ADDON));
}

const found = locate();
const native = load(found);
if (found.backends.length) native.addBackendDirs(found.backends);
process.on('exit', () => {
  // The process ends on the main thread; what runs on others must be over by then. (Required here, since it
  // takes a third of the time that all of this package does.)
  if (require('node:worker_threads').isMainThread) native.shutDown();
});

module.exports = native;
