import { realpathSync } from 'node:fs';

import { BUILT, type Package, SCOPE, damage, installed, own, read } from './packages.js';
import { platforms, thisPlatform } from './platform.js';

/** The package with the addon and the engine for this machine. */
export interface Located extends Package {
  /** The folders of the packages with GPU backends for it. */
  backends: string[];
}

/** Explains why a package cannot be used; loaded only when needed. */
export const unavailable = (): typeof import('./unavailable.js') =>
  require('./unavailable.js') as typeof import('./unavailable.js');

/** The package of this machine's platform: an installed one, or the one built in this source tree. */
function ofPlatform(packages: Map<string, string>): Package | undefined {
  let names = platforms().filter((name) => packages.has(name));
  // It only matters which one this machine can load if both are installed.
  if (names.length > 1) names = [thisPlatform()];
  const [name] = names;
  return read((name && packages.get(name)) ?? BUILT);
}

/** Finds the packages for this machine. Throws if there are none, or none that can be used. */
export function locate(): Located {
  const packages = installed();
  const found = ofPlatform(packages);
  if (!found) throw unavailable().missing([...packages.keys()]);
  if (found.version !== own.version) throw unavailable().mismatched(found);
  const wrong = damage(found);
  if (wrong) throw unavailable().broken(found, new Error(wrong));
  const backend = `${found.name.slice(SCOPE.length + 1)}-`;
  const backends = [...packages].filter(([name]) => name.startsWith(backend));
  return { ...found, backends: backends.map(([, folder]) => realpathSync(folder)) };
}
