import { type Abortable, abortError, splitSignal, throwIfAborted } from './abort.js';
import { type Options, optionsOf } from './arguments.js';
import { invalidOption, translated } from './errors.js';

/** What tells how far it is. */
export interface Progress {
  /**
   * Called with numbers from 0 to 1. Returning false cancels: the call throws a {@link MullamaError}
   * with the code `CANCELLED`. What it throws is what the call throws.
   */
  onProgress?: (progress: number) => unknown;
}

/** Long work that tells how far it is: what stops it, and what is thrown then. */
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
