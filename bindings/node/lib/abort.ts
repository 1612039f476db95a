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

/** A long operation that reports progress: what cancels it, and what is thrown then. */
export class Watched<News> {
  readonly signal: AbortSignal | undefined;
  /** The options of the work itself. */
  readonly options: Options;
  /** Answers the native side: false stops it. */
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

  /** What the caller is to see of an error. */
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
