// The manifests of the packages: one of JavaScript and types, which depends on a native one per platform.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const own = require('../package.json');

/** The platforms that have packages, with the fields by which npm selects them. */
export const platforms = require('./platforms.json');

/** The name of a platform's package. */
export const nameOf = (platform) => `@mullama/${platform}`;

/** The manifest of the package of JavaScript and types: that of this folder without its development fields. */
export function mainManifest() {
  const { private: _private, scripts: _scripts, devDependencies: _tools, ...manifest } = own;
  // Exactly the same version: they are parts of one program.
  const parts = Object.keys(platforms).map((platform) => [nameOf(platform), own.version]);
  return { ...manifest, optionalDependencies: Object.fromEntries(parts) };
}

/** The manifest of a platform's package. `sizes` has the size in bytes of each file that is loaded or run. */
export function platformManifest(platform, sizes = {}) {
  if (!(platform in platforms)) {
    throw new Error(`there is no ${nameOf(platform)}: add it to packaging/platforms.json`);
  }
  const { version, license, repository, engines } = own;
  return {
    name: nameOf(platform),
    version,
    description: `What mullama needs on ${platform}: the addon, the engine and the command`,
    license,
    repository,
    engines,
    ...platforms[platform],
    main: './mullama.node',
    // Libraries and programs cannot be used from inside an archive.
    preferUnplugged: true,
    publishConfig: { access: 'public' },
    sizes,
  };
}
