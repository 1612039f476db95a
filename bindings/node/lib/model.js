'use strict';

const { fileURLToPath } = require('node:url');

const { abortError, abortable, splitSignal, throwIfAborted } = require('./abort.js');
const { Chat } = require('./chat.js');
const { Embeddings, Reranking } = require('./embeddings.js');
const {
  MullamaError,
  awaiting,
  calling,
  invalidOption,
  refuseOptions,
  translated,
} = require('./errors.js');
const native = require('./native.js');
const { ChatChunk, ChatCompletion, Chunk, Completion } = require('./results.js');
const { CompletionStream } = require('./stream.js');
const { withDefinitions } = require('./tools.js');

/** What the native side takes for a file: a path. Anything else goes by. */
function pathOf(file) {
  return file instanceof URL ? fileURLToPath(file) : file;
}

/** Long work that tells how far it is: what stops it, and what is thrown then. */
class Watched {
  #onProgress;
  #thrown;

  constructor(options) {
    const { signal, rest } = splitSignal(options);
    const { onProgress, ...others } = rest;
    if (typeof (onProgress ?? Watched) !== 'function') {
      throw invalidOption('onProgress', 'expected a function');
    }
    throwIfAborted(signal);
    this.#onProgress = onProgress;
    this.signal = signal;
    /** The options of the work itself. */
    this.options = others;
    /** Answers the native side: false stops it. */
    this.hear = (news) => this.#hear(news);
  }

  /** What the caller is to see of an error. */
  reason(error) {
    if (this.#thrown) return this.#thrown.error;
    return this.signal?.aborted ? abortError(this.signal) : translated(error);
  }

  #hear(news) {
    if (this.signal?.aborted) return false;
    try {
      return this.#onProgress?.(news) !== false;
    } catch (error) {
      this.#thrown = { error };
      return false;
    }
  }
}

/** One loading of a model. */
class Loading extends Watched {
  constructor(source, options) {
    super(options);
    this.arguments = [pathOf(source), this.options, this.hear];
  }
}

/** A loaded model. */
class Model {
  #native;
  #closing;

  constructor(source, options) {
    if (source instanceof native.NativeModel) {
      this.#native = source;
      return;
    }
    const loading = new Loading(source, options);
    try {
      this.#native = native.loadNow(...loading.arguments);
    } catch (error) {
      throw loading.reason(error);
    }
  }

  static async load(source, options) {
    const loading = new Loading(source, options);
    try {
      const pending = native.load(...loading.arguments);
      // What comes after the caller gave up is freed.
      const discard = () => pending.then((model) => model.close()).catch(() => {});
      return new this(await abortable(loading.signal, pending, discard));
    } catch (error) {
      throw loading.reason(error);
    }
  }

  static async pull(name, options) {
    const watched = new Watched(options);
    try {
      const pull = new native.Pull(name, watched.options);
      return await abortable(watched.signal, pull.run(watched.hear), () => pull.cancel());
    } catch (error) {
      throw watched.reason(error);
    }
  }

  async generate(prompt, options) {
    return await this.#finish(Completion, options, (model, rest) => model.generation(prompt, rest));
  }

  stream(prompt, options) {
    return this.#stream(Chunk, options, (model, rest) => model.generation(prompt, rest));
  }

  async chat(messages, options) {
    return await this.#finish(ChatCompletion, options, (model, rest) =>
      model.chat(messages, withDefinitions(rest)),
    );
  }

  streamChat(messages, options) {
    return this.#stream(ChatChunk, options, (model, rest) =>
      model.chat(messages, withDefinitions(rest)),
    );
  }

  startChat(options) {
    return new Chat(
      calling(() => this.#open() && this),
      options,
    );
  }

  async embed(texts, options) {
    return await this.#finish(Embeddings, options, (model, rest) => model.embed(texts, rest));
  }

  async rerank(query, documents, options) {
    const ask = (model, rest) => model.rerank(query, documents, rest);
    return await this.#finish(Reranking, options, ask);
  }

  applyChatTemplate(messages, options) {
    return calling(() => this.#open().applyChatTemplate(messages, withDefinitions(options)));
  }

  tokenize(text, options) {
    return calling(() => this.#open().tokenize(text, options));
  }

  detokenize(tokens, options) {
    return calling(() => this.#open().detokenize(tokens, options));
  }

  countTokens(text) {
    return calling(() => this.#open().countTokens(text));
  }

  async setLora(lora) {
    await awaiting(() => this.#open().setLora(lora));
  }

  async saveState(prompt, options) {
    const { path, ...others } = options ?? {};
    refuseOptions(others);
    return await awaiting(() => this.#open().saveState(prompt, pathOf(path)));
  }

  async loadState(state) {
    return await awaiting(() => this.#open().loadState(pathOf(state)));
  }

  close(options) {
    this.#closing ??= awaiting(() => this.#native.close(options));
    return this.#closing;
  }

  /** For `using`: blocks until the step that is being computed is over. */
  [Symbol.dispose ?? Symbol('dispose')]() {
    this.#native.closeNow();
  }

  /** For `await using`. */
  async [Symbol.asyncDispose ?? Symbol('asyncDispose')]() {
    await this.close();
  }

  get isClosed() {
    return this.#closing !== undefined || this.#native.isClosed;
  }

  get defaultOptions() {
    return calling(() => this.#open().defaultOptions);
  }

  get path() {
    return this.#native.path;
  }

  get contextSize() {
    return this.#native.contextSize;
  }

  get placement() {
    return this.#native.placement;
  }

  stats() {
    return calling(() => this.#open().stats());
  }

  get gpuLayers() {
    return this.#native.gpuLayers;
  }

  get nLayers() {
    return this.#native.nLayers;
  }

  get nVocab() {
    return this.#native.nVocab;
  }

  get nEmbd() {
    return this.#native.nEmbd;
  }

  get nParams() {
    return this.#native.nParams;
  }

  get size() {
    return this.#native.size;
  }

  get architecture() {
    return this.#native.architecture;
  }

  get name() {
    return this.#native.name;
  }

  get description() {
    return this.#native.description;
  }

  get metadata() {
    return this.#native.metadata;
  }

  get chatTemplate() {
    return this.#native.chatTemplate;
  }

  get capabilities() {
    return this.#native.capabilities;
  }

  /** The native model, unless `close` has been called: that takes effect on another thread. */
  #open() {
    if (!this.#closing) return this.#native;
    throw new MullamaError({
      kind: 'Closed',
      code: 'CLOSED',
      message: 'the model has been closed',
    });
  }

  async #finish(Result, options, ask) {
    const { signal, rest } = splitSignal(options);
    throwIfAborted(signal);
    try {
      const generation = ask(this.#open(), rest);
      const answer = abortable(signal, generation.finish(), () => generation.cancel());
      return new Result(await answer);
    } catch (error) {
      throw translated(error);
    }
  }

  #stream(Piece, options, ask) {
    const { signal, rest } = splitSignal(options);
    return new CompletionStream(
      calling(() => ask(this.#open(), rest)),
      Piece,
      signal,
    );
  }
}

module.exports = { Model };
