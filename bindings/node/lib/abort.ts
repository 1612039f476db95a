import { type Options, optionsOf } from './arguments.js';
import { MullamaError, invalidArgument, invalidOption, translated } from './errors.js';
import type { AbortSignal } from './globals.js';

/** Options of cancellable calls. */
export interface Abortable {
  /**
   * Aborts the call: it throws the signal's reason if that is an error (an `AbortError`, unless
   * `abort` was called with another), otherwise a {@link MullamaError} with the code `CANCELLED`.
   */
  signal?: AbortSignal;
}

/** Options of calls that report progress. */
export interface Progress {
  /**
   * Called with the completed fraction, from 0 to 1. Returning false cancels: the call throws a
   * {@link MullamaError} with the code `CANCELLED`. Exceptions of the callback are rethrown by the
   * call.
   */
  onProgress?: (progress: number) => unknown;
}

/** Separates the signal, which is validated, from the other options. */
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

/**
 * The error that an aborted call throws: the signal's reason if it is an error, as with `fetch`.
 */
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

/**
 * Waits for a promise or the signal. When the signal aborts, calls `cancel` and rejects at once.
 */
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

/** A long operation that reports progress and can be cancelled. */
export class Watched<News> {
  readonly signal: AbortSignal | undefined;
  /** The other options, for the native side. */
  readonly options: Options;
  /** Called by the native side with the progress; returning false cancels the operation. */
  readonly hear = (news: News): boolean => this.#hear(news);
  #onProgress: ((news: News) => unknown) | undefined;
  #thrown: { error: unknown } | undefined;

  constructor(options: (Abortable & { onProgress?: (news: News) => unknown }) | undefined) {
    const { signal, rest } = splitSignal(options);
    const { onProgress, ...others } = rest;
    if (typeof (onProgress ?? Watched) !== 'function') {
      throw invalidOption('onProgress', 'expected a function');
    }
    throwIfAborted(signal);
    this.#onProgress = onProgress;
    this.signal = signal;
    this.options = optionsOf(others);
  }

  /** The error that the caller receives when the native side fails with `error`. */
  reason(error: unknown): unknown {
    if (this.#thrown) return this.#thrown.error;
    return this.signal?.aborted ? abortError(this.signal) : translated(error);
  }

  #hear(news: News): boolean {
    if (this.signal?.aborted) return false;
    try {
      return this.#onProgress?.(news) !== false;
    } catch (error) {
      this.#thrown = { error };
      return false;
    }
  }
}
