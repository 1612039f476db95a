import { MullamaError, invalidArgument, invalidOption } from './errors.js';

/** What can be stopped from outside. */
export interface Abortable {
  /**
   * Aborts the call: it throws the signal's reason if that is an error (an `AbortError`, unless
   * `abort` was called with another), else a {@link MullamaError} with the code `CANCELLED`.
   */
  signal?: AbortSignal;
}

/** The signal among the options, checked, and the other options. */
export function splitSignal<Options extends Abortable>(
  options: Options | undefined,
): { signal: AbortSignal | undefined; rest: Omit<Options, 'signal'> } {
  if (typeof (options ?? {}) !== 'object') {
    throw invalidArgument('the options: expected an object');
  }
  const { signal, ...rest } = options ?? ({} as Options);
  if (signal === undefined || signal === null) return { signal: undefined, rest };
  if (typeof signal.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw invalidOption('signal', 'expected an AbortSignal');
  }
  return { signal, rest };
}

/** What an aborted call throws: the signal's reason, as `fetch` does, if that is an error. */
export function abortError({ reason }: AbortSignal): Error {
  if (reason instanceof Error) return reason;
  const error = MullamaError.of({
    kind: 'Cancelled',
    code: 'CANCELLED',
    message: 'the operation was aborted',
    cause: reason,
  });
  error.name = 'AbortError';
  return error;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** Waits for a promise, or for the signal: then it calls `cancel` and does not wait any longer. */
export async function abortable<T>(
  signal: AbortSignal | undefined,
  promise: Promise<T>,
  cancel?: () => void,
): Promise<T> {
  if (!signal) return promise;
  let onAbort!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      cancel?.();
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
