// Loaded first by ES modules: throws if a bundler has included this file in another one, since it cannot include
// the native part.

import { createRequire } from 'node:module';

import { MullamaError } from './errors.js';

function isOwnFile(): boolean {
  try {
    const { name } = createRequire(import.meta.url)('../package.json') as { name: string };
    return name === 'mullama';
  } catch {
    // In a CommonJS bundle, `import.meta.url` is not available.
    return false;
  }
}

if (!isOwnFile()) throw MullamaError.bundled();
