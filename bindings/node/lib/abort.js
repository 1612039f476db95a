'use strict';

const { MullamaError, invalidArgument, invalidOption } = require('./errors.js');

/** The signal among the options, checked, and the other options. */
function splitSignal(options) {
  if (typeof (options ?? {}) !== 'object') {
    throw invalidArgument('the options: expected an object');
  }
  const { signal, ...rest } = options ?? {};
  if (signal === undefined || signal === null) return { rest };
  if (typeof signal?.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw invalidOption('signal', 'expected an AbortSignal');
  }
  return { signal, rest };
}

/** What an aborted call throws: the signal's reason, as `fetch` does, if that is an error. */
function abortError(signal) {
  const { reason } = signal;
  if (reason instanceof Error) return reason;
  const error = new MullamaError({
    kind: 'Cancelled',
    code: 'CANCELLED',
    message: 'the operation was aborted',
    cause: reason,
  });
  error.name = 'AbortError';
  return error;
}

function throwIfAborted(signal) {
  if (signal?.aborted) throw abortError(signal);
}

/** Waits for a promise, or for the signal: then it calls `cancel` and does not wait any longer. */
async function abortable(signal, promise, cancel) {
  if (!signal) return promise;
  let onAbort;
  const aborted = new Promise((_, reject) => {
    onAbort = () => {
      cancel();
      reject(abortError(signal));
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

module.exports = { abortError, abortable, splitSignal, throwIfAborted };
