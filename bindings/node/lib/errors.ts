import type { ErrorCode, ErrorKind } from './generated/errors.js';

/** Prefix of the message of a native error whose rest is the error as JSON. */
const MARK = 'mullama:';

/** The parts of an error. */
export interface ErrorParts {
  kind: ErrorKind;
  code: ErrorCode;
  message: string;
  hint?: string;
  context?: Record<string, string>;
  cause?: unknown;
}

/** The class of all errors of mullama. */
export class MullamaError extends Error {
  /** The kind of an error, for programs to act on. */
  readonly code: ErrorCode;
  /** The kind, named as in the other languages: `NotFound`. */
  readonly kind: ErrorKind;
  /** A suggestion of what to do next; it is also part of the message. */
  readonly hint?: string;
  /** Details of the error: an option, a path, a number of bytes. */
  readonly context: Readonly<Record<string, string>>;

  private constructor({ kind, code, message, hint, context, cause }: ErrorParts) {
    super(
      shortened(message) + (hint ? `\nhint: ${hint}` : ''),
      cause === undefined ? undefined : { cause },
    );
    this.code = code;
    this.kind = kind;
    if (hint) this.hint = hint;
    this.context = context ?? {};
  }

  /** @internal */
  static of(parts: ErrorParts): MullamaError {
    return new MullamaError(parts);
  }

  /** @internal The error if a bundler has included mullama's JavaScript in another file. */
  static bundled(): MullamaError {
    return MullamaError.of({
      kind: 'Unsupported',
      code: 'UNSUPPORTED',
      message: 'mullama has been made a part of a bundle, without its addon and engine',
      hint:
        'let it be required from node_modules: `external: ["mullama"]` for esbuild, Rollup and Vite,' +
        ' `externals: { mullama: "commonjs mullama" }` for webpack, `serverExternalPackages: ["mullama"]` for Next.js',
    });
  }
}

// On the prototype, as with the built-in errors, so that it does not show as a field.
Object.defineProperty(MullamaError.prototype, 'name', {
  value: 'MullamaError',
  configurable: true,
  writable: true,
});

/** Length of the longest message; as on the native side, the middle of longer ones is left out. */
const LONGEST = 4000;

function shortened(message: string): string {
  if (message.length <= LONGEST) return message;
  const count = message.length - LONGEST;
  return `${message.slice(0, LONGEST - 1000)} ... (${count} characters left out) ... ${message.slice(-1000)}`;
}

/** An error about an argument that only this side of the binding validates. */
export function invalidArgument(
  message: string,
  context: Record<string, string> = {},
): MullamaError {
  return MullamaError.of({ kind: 'InvalidArgument', code: 'INVALID_ARGUMENT', message, context });
}

export function invalidOption(option: string, problem: string): MullamaError {
  return invalidArgument(`option \`${option}\`: ${problem}`, { option });
}

/**
 * Converts an exception of the native side for the caller. The error is created here, so that its
 * stack leads to the caller. Exceptions of the caller's own code (a getter) are returned unchanged.
 */
export function translated(error: unknown): unknown {
  if ((error as { code?: unknown } | null | undefined)?.code !== 'GenericFailure') return error;
  const { message } = error as Error;
  if (message.startsWith(MARK)) {
    return MullamaError.of(JSON.parse(message.slice(MARK.length)) as ErrorParts);
  }
  return MullamaError.of({ kind: 'Internal', code: 'INTERNAL', message, cause: error });
}

/** Calls the native side. */
export function calling<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translated(error);
  }
}

/** Calls the native side and waits for its promise. */
export async function awaiting<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw translated(error);
  }
}

/** Throws an error if any unknown options remain. */
export function refuseOptions(options: object): void {
  for (const name of Object.keys(options)) throw invalidOption(name, 'there is no such option');
}
