// Loaded before all else by ES modules: a bundler has made this a part of another file, but cannot do so with
// what is not JavaScript.

import { createRequire } from 'node:module';

import { MullamaError } from './errors.js';

function isOwnFile(): boolean {
  try {
    const { name } = createRequire(import.meta.url)('../package.json') as { name: string };
    return name === 'mullama';
  } catch {
    // In a bundle of CommonJS, no module knows where it is.
    return false;
  }
}

if (!isOwnFile()) throw MullamaError.bundled();
