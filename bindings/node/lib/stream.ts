import { setInterval } from 'node:timers';

import { abortError } from './abort.js';
import type { Deliver } from './arguments.js';
import { translated } from './errors.js';
import type { Generation } from './generated/native.js';
import type { AbortSignal } from './globals.js';
import type { ChatChunk, Chunk } from './results.js';

/**
 * An answer that is being generated, read with `for await`. The generation starts when the stream
 * is first read and ends when the loop is left. A stream that is no longer referenced is
 * garbage-collected, which ends its generation.
 */
export interface Stream<Piece extends Chunk | ChatChunk>
  extends AsyncIterableIterator<Piece>, AsyncDisposable {
  /** The complete answer, after the last chunk has been read. */
  readonly completion: NonNullable<Piece['completion']> | undefined;
  /**
   * Cancels the generation; the partial answer is still delivered, with the finish reason
   * `cancelled`.
   */
  cancel(): void;
  next(): Promise<IteratorResult<Piece, undefined>>;
  return(value?: unknown): Promise<IteratorResult<Piece, undefined>>;
}

/**
 * Prevents the process from exiting while streams are awaited, which the native side does not do.
 */
const keepAlive = setInterval(() => {}, 2 ** 31 - 1).unref();
let awaited = 0;

/**
 * Chunks that have arrived and have not been read yet, and the function that wakes a waiting call.
 */
interface Inbox {
  chunks: unknown[];
  read: number;
  error: unknown;
  wake: (() => void) | undefined;
}

/** A stream of one generation. */
export class CompletionStream<Piece extends Chunk | ChatChunk> implements Stream<Piece> {
  #generation: Generation;
  #make: (fields: string | Piece) => Piece;
  /** Adds information to an error that only the caller's side has. */
  #explain: (error: unknown) => unknown;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;
  /**
   * The native side refers to this object and not to the stream, which it refers to only while a
   * call waits: an abandoned stream is garbage-collected together with its generation.
   */
  #inbox: Inbox = { chunks: [], read: 0, error: undefined, wake: undefined };
  /** The waiting call of `next`, if any. */
  #waiting: Promise<unknown> | undefined;
  #ended = false;
  #completion: NonNullable<Piece['completion']> | undefined;

  constructor(
    make: (fields: string | Piece) => Piece,
    signal: AbortSignal | undefined,
    explain: (error: unknown) => unknown,
    prepare: (deliver: Deliver) => Generation,
  ) {
    this.#make = make;
    this.#explain = explain;
    const inbox = this.#inbox;
    this.#generation = prepare((chunks, error) => {
      for (const chunk of chunks) inbox.chunks.push(chunk);
      inbox.error ??= error;
      inbox.wake?.();
    });
    if (signal) {
      // A signal may live long: it must not keep an abandoned stream alive, either.
      const weak = new WeakRef(this);
      this.#signal = signal;
      this.#onAbort = () => {
        const stream = weak.deref();
        if (stream) stream.#close(abortError(signal));
      };
      signal.addEventListener('abort', this.#onAbort, { once: true });
      if (signal.aborted) this.#onAbort();
    }
  }

  get completion(): NonNullable<Piece['completion']> | undefined {
    return this.#completion;
  }

  cancel(): void {
    this.#generation.cancel();
  }

  next(): Promise<IteratorResult<Piece, undefined>> {
    // Overlapping calls are served in order.
    if (this.#waiting) return this.#waiting.then(() => this.next());
    const { chunks, read } = this.#inbox;
    if (read < chunks.length) return Promise.resolve({ value: this.#take(), done: false });
    const received = this.#receive();
    const over = () => {
      this.#waiting = undefined;
    };
    this.#waiting = received.then(over, over);
    return received;
  }

  /** Ends the stream and the generation, as leaving a `for await` loop does. */
  return(value?: unknown): Promise<IteratorResult<Piece, undefined>> {
    this.#close();
    return Promise.resolve({ value: value as undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** Waits for the next chunk. */
  async #receive(): Promise<IteratorResult<Piece, undefined>> {
    const inbox = this.#inbox;
    while (inbox.read === inbox.chunks.length) {
      if (inbox.error) {
        const error = this.#explain(translated(inbox.error));
        this.#close();
        throw error;
      }
      if (this.#ended) return { value: undefined, done: true };
      await this.#woken();
    }
    return { value: this.#take(), done: false };
  }

  async #woken(): Promise<void> {
    this.#generation.begin();
    if (awaited++ === 0) keepAlive.ref();
    await new Promise<void>((resolve) => {
      this.#inbox.wake = resolve;
    });
    this.#inbox.wake = undefined;
    if (--awaited === 0) keepAlive.unref();
  }

  #take(): Piece {
    const inbox = this.#inbox;
    const chunk = this.#make(inbox.chunks[inbox.read++] as string | Piece);
    if (inbox.read === inbox.chunks.length) {
      inbox.chunks = [];
      inbox.read = 0;
    }
    if (chunk.completion) {
      this.#completion = chunk.completion;
      this.#close();
    }
    return chunk;
  }

  /** Ends the stream: later chunks are dropped, and the error is reported once. */
  #close(error?: unknown): void {
    this.#inbox.error = undefined;
    if (this.#ended) return;
    this.#ended = true;
    this.#inbox.chunks = [];
    this.#inbox.read = 0;
    this.#inbox.error = error;
    this.#generation.close();
    if (this.#onAbort) this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#inbox.wake?.();
  }
}
