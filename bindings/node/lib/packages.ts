import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** The fields of a manifest that are used here. */
interface Manifest {
  name: string;
  version: string;
  /** In a platform's package: the size in bytes of each file that is loaded or run. */
  sizes: Record<string, number>;
  /** In the package of JavaScript and types. */
  optionalDependencies?: Record<string, string>;
}

/** An installed package. */
export interface Package extends Manifest {
  /** Its folder, with symbolic links resolved. */
  folder: string;
}

/** The scope of the packages with native code. */
export const SCOPE = '@mullama';

/** The manifest of this package. */
export const own: Manifest = require('../package.json') as Manifest;

/** Whether this is the package's own file and not part of a bundle. */
export function isUnbundled(): boolean {
  return read(join(__dirname, '..'))?.name === own.name;
}

/** The folder in the source tree where the platform's package is built. */
export const BUILT: string = join(__dirname, '../native');

/** The installed packages of the scope that this package can resolve, by name; the nearest of each name. */
export function installed(): Map<string, string> {
  const found = new Map<string, string>();
  for (const folder of require.resolve.paths(SCOPE) ?? []) {
    const scope = join(folder, SCOPE);
    if (!existsSync(scope)) continue;
    for (const name of readdirSync(scope)) {
      if (!found.has(name)) found.set(name, join(scope, name));
    }
  }
  return found;
}

/** The manifest of a package; undefined if it does not exist. */
export function read(folder: string): Package | undefined {
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) return undefined;
  const said = JSON.parse(readFileSync(manifest, 'utf8')) as Manifest;
  return { ...said, folder: realpathSync(folder) };
}

/**
 * Describes damaged files of a package, if there are any. Loading a truncated library would end the
 * process; a modified one (with another search path, for example) is longer.
 */
export function damage({ folder, sizes }: Package): string | undefined {
  for (const [file, size] of Object.entries(sizes)) {
    const found = statSync(join(folder, file), { throwIfNoEntry: false });
    if (!found) return `${file} is missing`;
    if (found.size < size) return `${file} is shorter than it should be`;
  }
  return undefined;
}
