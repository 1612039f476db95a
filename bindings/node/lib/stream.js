'use strict';

const { setInterval } = require('node:timers');

const { abortError } = require('./abort.js');
const { translated } = require('./errors.js');

/** Keeps the process running while streams are awaited, which the native side does not. */
const keepAlive = setInterval(() => {}, 2 ** 31 - 1).unref();
let awaited = 0;

/** An answer while it is being generated: an async iterator of its chunks. */
class CompletionStream {
  #generation;
  #Chunk;
  #signal;
  #onAbort;
  /**
   * What has come and was not asked for yet, and the way to what waits for it. The native side holds
   * this, so that it refers to the stream only while something does wait: a stream that nobody reads
   * any more is collected, and its generation with it.
   */
  #inbox = { chunks: [], read: 0, error: undefined, wake: undefined };
  /** The call of `next` that waits, where there is one. */
  #waiting;
  #ended = false;
  #completion;

  constructor(generation, Chunk, signal) {
    this.#generation = generation;
    this.#Chunk = Chunk;
    const inbox = this.#inbox;
    generation.start((chunks, error) => {
      for (const chunk of chunks) inbox.chunks.push(chunk);
      inbox.error ??= error;
      inbox.wake?.();
    });
    if (signal) {
      // A signal may live long: neither must it keep a stream that nobody reads.
      const stream = new WeakRef(this);
      this.#signal = signal;
      this.#onAbort = () => stream.deref()?.#close(abortError(signal));
      signal.addEventListener('abort', this.#onAbort, { once: true });
      if (signal.aborted) this.#onAbort();
    }
  }

  /** The whole answer, once the last chunk has been read. */
  get completion() {
    return this.#completion;
  }

  /** Stops the generation; what there is of the answer can still be read. */
  cancel() {
    this.#generation.cancel();
  }

  next() {
    // Calls that overlap take their turns.
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

  /** Ends the stream and the generation: what leaving a `for await` does. */
  return(value) {
    this.#close();
    return Promise.resolve({ value, done: true });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [Symbol.asyncDispose ?? Symbol('asyncDispose')]() {
    await this.return();
  }

  /** Waits for the next chunk. */
  async #receive() {
    const inbox = this.#inbox;
    while (inbox.read === inbox.chunks.length) {
      if (inbox.error) {
        const error = translated(inbox.error);
        this.#close();
        throw error;
      }
      if (this.#ended) return { value: undefined, done: true };
      await this.#woken();
    }
    return { value: this.#take(), done: false };
  }

  async #woken() {
    if (awaited++ === 0) keepAlive.ref();
    await new Promise((resolve) => {
      this.#inbox.wake = resolve;
    });
    this.#inbox.wake = undefined;
    if (--awaited === 0) keepAlive.unref();
  }

  #take() {
    const inbox = this.#inbox;
    const chunk = new this.#Chunk(inbox.chunks[inbox.read++]);
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

  /** Ends the stream: what comes still is dropped, and the error told once. */
  #close(error) {
    this.#inbox.error = undefined;
    if (this.#ended) return;
    this.#ended = true;
    this.#inbox.chunks = [];
    this.#inbox.read = 0;
    this.#inbox.error = error;
    this.#generation.close();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#inbox.wake?.();
  }
}

module.exports = { CompletionStream };
