'use strict';

const { isMainThread } = require('node:worker_threads');

const { MullamaError } = require('./errors.js');

/** Where the native module may lie: in this platform's package, or beside this one's files. */
function candidates() {
  const { arch, platform } = process;
  const variants = { linux: ['-gnu', '-musl'], win32: ['-msvc'] }[platform] ?? [''];
  const names = variants.map((variant) => `${platform}-${arch}${variant}`);
  return [
    ...names.map((name) => `@mullama/${name}`),
    ...names.map((name) => `../native/mullama.${name}.node`),
  ];
}

function load() {
  const failures = [];
  for (const candidate of candidates()) {
    try {
      return require(candidate);
    } catch (error) {
      // What is not there may be elsewhere; what is there and does not load is worth telling.
      if (error.code !== 'MODULE_NOT_FOUND') failures.push(error);
    }
  }
  const [failure] = failures;
  const platform = `${process.platform}-${process.arch}`;
  throw new MullamaError({
    kind: 'Backend',
    code: 'BACKEND',
    message: failure
      ? `the native module of mullama does not load: ${failure.message}`
      : `there is no native module of mullama for ${platform}`,
    hint: failure
      ? undefined
      : `reinstall mullama without --no-optional; looked for ${candidates().join(', ')}`,
    context: { platform },
    cause: failure,
  });
}

const native = load();
// The process ends on the main thread; what runs on others must be over by then.
if (isMainThread) process.on('exit', () => native.shutDown());

module.exports = native;
