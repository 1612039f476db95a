'use strict';

/** What the message of a native error begins with where the rest is the error as JSON. */
const MARK = 'mullama:';

/** Every failure of mullama: `code` says which of a fixed list it is, `hint` what to do next. */
class MullamaError extends Error {
  constructor({ kind, code, message, hint, context, cause }) {
    super(
      hint ? `${message}\nhint: ${hint}` : message,
      cause === undefined ? undefined : { cause },
    );
    this.code = code;
    this.kind = kind;
    if (hint) this.hint = hint;
    this.context = context ?? {};
  }
}

// On the prototype, as with the built-in errors, so that it does not show as a field.
Object.defineProperty(MullamaError.prototype, 'name', {
  value: 'MullamaError',
  configurable: true,
  writable: true,
});

/** An error about an argument that only this side of the binding knows. */
function invalidArgument(message, context) {
  return new MullamaError({ kind: 'InvalidArgument', code: 'INVALID_ARGUMENT', message, context });
}

function invalidOption(option, problem) {
  return invalidArgument(`option \`${option}\`: ${problem}`, { option });
}

/**
 * What the native side threw, as the caller is to see it. Made here rather than there, so that the
 * stack leads to the caller. What the caller's own code threw on the way (a getter) stays as it is.
 */
function translated(error) {
  if (error?.code !== 'GenericFailure') return error;
  const { message } = error;
  if (message.startsWith(MARK)) return new MullamaError(JSON.parse(message.slice(MARK.length)));
  return new MullamaError({ kind: 'Internal', code: 'INTERNAL', message, cause: error });
}

/** Calls the native side. */
function calling(call) {
  try {
    return call();
  } catch (error) {
    throw translated(error);
  }
}

/** Calls the native side, and waits for what it promises. */
async function awaiting(call) {
  try {
    return await call();
  } catch (error) {
    throw translated(error);
  }
}

/** Options that nothing knows. */
function refuseOptions(options) {
  for (const name of Object.keys(options)) throw invalidOption(name, 'there is no such option');
}

module.exports = {
  MullamaError,
  awaiting,
  calling,
  invalidArgument,
  invalidOption,
  refuseOptions,
  translated,
};
