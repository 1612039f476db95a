'use strict';

const { setInterval } = require('node:timers');

const { abortError } = require('./abort.js');
const { translated } = require('./errors.js');

const DONE = { value: undefined, done: true };

/** Keeps the process running while streams are awaited, which the native side does not. */
const keepAlive = setInterval(() => {}, 2 ** 31 - 1).unref();
let awaited = 0;

/** An answer while it is being generated: an async iterator of its chunks. */
class CompletionStream {
  #generation;
  #Chunk;
  #signal;
  #onAbort;
  /** Chunks that have come and were not asked for yet, the next one last. */
  #ready = [];
  /** The call of `next` that waits, where there is one. */
  #waiting;
  /**
   * The way to what waits. The native side holds it, and so it refers to the stream only while
   * something does wait: a stream that nobody reads any more is collected, and its generation with it.
   */
  #gate = {};
  #ended = false;
  #failure;
  #completion;

  constructor(generation, Chunk, signal) {
    this.#generation = generation;
    this.#Chunk = Chunk;
    const gate = this.#gate;
    generation.start(() => gate.open?.());
    if (signal) {
      // A signal may live long: neither must it keep a stream that nobody reads.
      const stream = new WeakRef(this);
      this.#signal = signal;
      this.#onAbort = () => stream.deref()?.#fail(abortError(signal));
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
    if (this.#ready.length > 0) return Promise.resolve({ value: this.#take(), done: false });
    if (this.#ended) return this.#end();
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

  /** Waits for the native side's next chunks, and gives the first. */
  async #receive() {
    while (!this.#ended) {
      try {
        const chunks = this.#generation.take();
        if (!chunks) await this.#woken();
        else if (chunks.length === 0) this.#close();
        else {
          this.#ready = chunks.reverse();
          return { value: this.#take(), done: false };
        }
      } catch (error) {
        this.#fail(translated(error));
      }
    }
    return this.#end();
  }

  async #woken() {
    if (awaited++ === 0) keepAlive.ref();
    await new Promise((resolve) => {
      this.#gate.open = resolve;
    });
    this.#gate.open = undefined;
    if (--awaited === 0) keepAlive.unref();
  }

  #take() {
    const chunk = new this.#Chunk(this.#ready.pop());
    if (chunk.completion) {
      this.#completion = chunk.completion;
      this.#close();
    }
    return chunk;
  }

  #fail(error) {
    if (this.#ended) return;
    this.#close();
    this.#failure = { error };
  }

  #close() {
    if (this.#ended) return;
    this.#ended = true;
    this.#ready = [];
    this.#generation.close();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#gate.open?.();
  }

  /** The end, or the failure, which is told once. */
  async #end() {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
    return DONE;
  }
}

module.exports = { CompletionStream };
