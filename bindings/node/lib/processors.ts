// Functions of the caller that change logits.

import { arrayOf, option } from './arguments.js';
import { MullamaError, invalidOption } from './errors.js';

/**
 * Changes the logits of the next token in place, one for each token of the vocabulary. `tokens` are
 * the prompt and what has been generated; negative ones stand for pictures. The array is detached
 * after the call.
 */
export type LogitsProcessor = (tokens: Int32Array, logits: Float32Array) => void;

/** Called by the native side for each token: returns the logits, or an error message. */
export type Process = (tokens: Int32Array, logits: Float32Array) => Float32Array | string;

/** The processors among the options of a request. */
export class Processors<Options extends object> {
  /** The other options. */
  readonly options: Options;
  readonly process: Process | undefined;
  #thrown: { error: unknown } | undefined;

  constructor(given: Options & { logitsProcessors?: unknown }) {
    const { logitsProcessors: processors, ...options } = given;
    this.options = options as unknown as Options;
    if (processors === undefined || processors === null) return;
    const list: unknown[] = Array.isArray(processors)
      ? arrayOf(processors, option('logitsProcessors'))
      : [processors];
    if (!list.every((processor) => typeof processor === 'function')) {
      throw invalidOption('logitsProcessors', 'expected a function, or an array of functions');
    }
    this.process = (tokens, given) => {
      // Arrays of the native side cannot be detached.
      const logits = new Float32Array(given);
      try {
        for (const processor of list as LogitsProcessor[]) {
          const returned: unknown = processor(tokens, logits);
          if (returned !== undefined) {
            throw new TypeError('it changes the logits in place and returns nothing');
          }
        }
        // References that the function stored become invalid.
        return structuredClone(logits, { transfer: [logits.buffer] });
      } catch (error) {
        this.#thrown = { error };
        return error instanceof Error ? error.message : String(error);
      }
    };
  }

  /** An error of the request, whose cause is the exception of a processor. */
  explain(error: unknown): unknown {
    if (!this.#thrown || !(error instanceof MullamaError) || error.code !== 'CALLBACK')
      return error;
    error.cause = this.#thrown.error;
    return error;
  }
}
