import { fileURLToPath } from 'node:url';

import { type Abortable, Watched, abortable, splitSignal, throwIfAborted } from './abort.js';
import {
  type Deliver,
  type Options,
  type Text,
  jsonOf,
  optionsOf,
  promptOf,
  promptsOf,
  stateOf,
  textOf,
  textsOf,
  tokensOf,
} from './arguments.js';
import { Chat, type StartChatOptions } from './chat.js';
import type { Compacted } from './compacted.js';
import { Embeddings, Reranking } from './embeddings.js';
import { MullamaError, awaiting, calling, refuseOptions } from './errors.js';
import type {
  Cancel,
  Generation,
  NativeModel,
  PullProgress,
  StoredModel,
} from './generated/native.js';
import type {
  ChatOptions,
  EmbedOptions,
  GenerateOptions,
  LoadOptions,
  RerankOptions,
} from './generated/options.js';
import type { Capabilities, Placement, RequestInfo, Stats } from './generated/results.js';
import type { AbortSignal, Buffer, URL } from './globals.js';
import type { Message, Role } from './messages.js';
import { messagesOf, readBlobs } from './pictures.js';
import { native } from './native.js';
import { type Process, Processors } from './processors.js';
import { ChatChunk, ChatCompletion, Chunk, Completion } from './results.js';
import { shownBy } from './shown.js';
import { CompletionStream, type Stream } from './stream.js';
import { withDefinitions } from './tools.js';
import { withSchema } from './typed.js';
import type { Lora, Prompt, StandardSchema, Tokens } from './types.js';

/** Options of a pull. */
export interface PullOptions {
  /** Cancels the pull; the next one resumes it. */
  signal?: AbortSignal;
  /**
   * Called with the progress several times per second. Returning false cancels: the call throws a
   * {@link MullamaError} with the code `CANCELLED`. Exceptions of the callback are rethrown by the
   * call.
   */
  onProgress?: (progress: PullProgress) => unknown;
  /** Allows plain HTTP to other machines. Default: false. */
  insecure?: boolean;
  /** For registries that require a token; Hugging Face's is `HF_TOKEN` in the environment. */
  token?: string;
}

/** Options of a chat whose answer is a value of a schema. */
type Typed<Value> = Omit<ChatOptions, 'responseFormat'> & {
  responseFormat: StandardSchema<Value>;
};

/** The path of a file or the name of a model, for the native side. */
function sourceOf(file: string | URL, name: string): Text {
  return textOf(file instanceof globalThis.URL ? fileURLToPath(file) : file, name);
}

/** A loaded model. Any number of calls can run concurrently; they are batched. */
export class Model implements Disposable, AsyncDisposable {
  #native: NativeModel;
  #closing: Promise<void> | undefined;

  /**
   * Loads a model and blocks meanwhile; `Model.load` does not block.
   *
   * @param source The path of a GGUF file (the first of a split one), the name of a model in the
   *   local store, or `demo`, the built-in model; {@link pull} downloads models.
   * @throws {MullamaError}
   */
  constructor(source: string | URL, options?: LoadOptions);
  /** @internal */
  constructor(loaded: NativeModel);
  constructor(source: string | URL | NativeModel, options?: LoadOptions) {
    if (source instanceof native.NativeModel) {
      this.#native = source;
      return;
    }
    const loading = new Watched(options);
    try {
      this.#native = native.loadNow(sourceOf(source, 'the model'), loading.options, loading.hear);
    } catch (error) {
      throw loading.reason(error);
    }
  }

  /**
   * Loads a model.
   *
   * @param source The path of a GGUF file (the first of a split one), the name of a model in the
   *   local store, or `demo`, the built-in model; {@link pull} downloads models.
   */
  static async load<T extends typeof Model>(
    this: T,
    source: string | URL,
    options?: LoadOptions,
  ): Promise<InstanceType<T>> {
    const loading = new Watched(options);
    try {
      const pending = native.load(sourceOf(source, 'the model'), loading.options, loading.hear);
      // A model that is loaded after the call was aborted is freed.
      const discard = () =>
        void pending.then((model) => model.close(optionsOf({}))).catch(() => {});
      const loaded = await abortable(loading.signal, pending, discard);
      return new this(loaded) as InstanceType<T>;
    } catch (error) {
      throw loading.reason(error);
    }
  }

  /**
   * Downloads a model into the local store. A model that is already present and up to date is not
   * downloaded again; an interrupted download resumes.
   *
   * @param name A name (`llama3.2:1b`, `host/user/model:tag`), a Hugging Face repository
   *   (`hf.co/user/repo:Q4_K_M`), or the URL of a GGUF file.
   */
  static async pull(name: string, options?: PullOptions): Promise<StoredModel> {
    const pulling = new Watched<PullProgress>(options);
    try {
      const cancel = new native.Cancel();
      const pending = native.pull(
        textOf(name, 'the name of the model'),
        pulling.options,
        pulling.hear,
        cancel,
      );
      return await abortable(pulling.signal, pending, () => cancel.cancel());
    } catch (error) {
      throw pulling.reason(error);
    }
  }

  /** Generates until the model stops or an option ends the generation. */
  async generate(prompt: Prompt, options?: GenerateOptions): Promise<Completion> {
    return new Completion(
      await this.#finish(options, (model, given, cancel, process) =>
        model.generate(promptOf(prompt), given, process, cancel),
      ),
    );
  }

  /**
   * Generates the text between two texts (fill in the middle), with a model that was trained for
   * it: {@link generate} with the option `infillSuffix`, which {@link stream} accepts too.
   */
  async infill(prefix: Prompt, suffix: string, options?: GenerateOptions): Promise<Completion> {
    return this.generate(prefix, { ...options, infillSuffix: suffix });
  }

  /** Like {@link generate}, but streams the answer. */
  stream(prompt: Prompt, options?: GenerateOptions): Stream<Chunk> {
    const make = (fields: string | Chunk) => new Chunk(fields);
    return this.#stream(make, options, (model, given, deliver, process) =>
      model.stream(promptOf(prompt), given, process, deliver),
    );
  }

  /** Answers the last message, using the model's chat template. */
  async chat<Value, Given extends string = Role>(
    messages: readonly Message<Given>[],
    options: Typed<Value>,
  ): Promise<ChatCompletion<Value>>;
  async chat<Given extends string = Role>(
    messages: readonly Message<Given>[],
    options?: ChatOptions,
  ): Promise<ChatCompletion>;
  async chat(messages: readonly Message[], given?: ChatOptions): Promise<ChatCompletion> {
    const { options, read } = withSchema(given);
    const ready = readBlobs(messages);
    const list = ready instanceof Promise ? await ready : ready;
    const answer = await this.#finish(options, (model, given, cancel, process) =>
      model.chat(messagesOf(list), given, process, cancel),
    );
    return new ChatCompletion(answer, read);
  }

  /** Like {@link chat}, but streamed. */
  streamChat<Value, Given extends string = Role>(
    messages: readonly Message<Given>[],
    options: Typed<Value>,
  ): Stream<ChatChunk<Value>>;
  streamChat<Given extends string = Role>(
    messages: readonly Message<Given>[],
    options?: ChatOptions,
  ): Stream<ChatChunk>;
  streamChat(messages: readonly Message[], given?: ChatOptions): Stream<ChatChunk> {
    const { options, read } = withSchema(given);
    const make = (fields: string | ChatChunk) => new ChatChunk(fields, read);
    return this.#stream(make, options, (model, given, deliver, process) =>
      model.streamChat(messagesOf(messages), given, process, deliver),
    );
  }

  /**
   * Embeds texts; the vectors are in the order of the texts.
   *
   * @param texts A text or an array of them; an array of tokens can be passed in place of a text.
   */
  async embed(texts: Prompt | readonly Prompt[], options?: EmbedOptions): Promise<Embeddings> {
    return new Embeddings(
      await this.#finish(options, (model, given, cancel) =>
        model.embed(promptsOf(texts), given, cancel),
      ),
    );
  }

  /**
   * Sorts documents by how well they answer a query, best first. The model must be a reranker: one
   * with a classification head.
   */
  async rerank(
    query: string,
    documents: readonly string[],
    options?: RerankOptions,
  ): Promise<Reranking> {
    return new Reranking(
      await this.#finish(options, (model, given, cancel) =>
        model.rerank(textOf(query), textsOf(documents, 'the documents'), given, cancel),
      ),
    );
  }

  /** Starts a conversation, which stores the messages and runs tools. */
  startChat<Given extends string = Role>(options?: StartChatOptions<Given>): Chat;
  startChat(options?: StartChatOptions): Chat {
    this.#open();
    return Chat.start(this, options);
  }

  /** @internal */
  async compacted(
    history: readonly Message[],
    said: readonly Message[],
    given: ChatOptions,
    summarizes: boolean,
  ): Promise<Compacted | null | undefined> {
    const { options } = withSchema(given);
    const { rest } = splitSignal(options);
    const known = optionsOf(withDefinitions(new Processors(rest).options));
    return awaiting(() =>
      this.#open().compact(messagesOf(history), messagesOf(said), known, summarizes),
    );
  }

  /** The prompt for a chat with these messages. */
  applyChatTemplate<Given extends string = Role>(
    messages: readonly Message<Given>[],
    options?: Omit<ChatOptions, 'signal'> & {
      /** Whether it includes the header of the answer. Default: true. */
      addGenerationPrompt?: boolean;
    },
  ): string {
    const given = () => optionsOf(withDefinitions(new Processors(options ?? {}).options));
    return calling(() => this.#open().applyChatTemplate(messagesOf(messages), given()));
  }

  /** Converts text to tokens. */
  tokenize(
    text: string,
    options?: {
      /** Adds the special tokens that the model expects around a text. Default: true. */
      addSpecial?: boolean;
      /** Parses special tokens written in the text. Default: false. */
      parseSpecial?: boolean;
    },
  ): number[] {
    return calling(() => this.#open().tokenize(textOf(text), optionsOf(options)));
  }

  /** Converts tokens to text. */
  detokenize(
    tokens: Tokens,
    options?: {
      /** Leaves special tokens out. Default: false. */
      skipSpecial?: boolean;
    },
  ): string {
    return calling(() => this.#open().detokenize(tokensOf(tokens), optionsOf(options)));
  }

  /** The number of tokens of a text as a prompt. */
  countTokens(text: string): number {
    return calling(() => this.#open().countTokens(textOf(text)));
  }

  /**
   * Sets the LoRA adapters for all future requests that do not specify their own: a path, or an
   * array of paths and of pairs of a path and a scale. An empty array turns adapters off.
   */
  async setLora(lora: Lora): Promise<void> {
    await awaiting(() => this.#open().setLora(jsonOf(lora, 'the adapters')));
  }

  /**
   * The computed state of a prompt, as bytes for {@link loadState} in this process or another.
   * Tokens that have not been computed yet are computed.
   */
  async saveState(
    prompt: string | Tokens,
    options?: {
      /** A file to write the state to as well. */
      path?: string | URL;
    },
  ): Promise<Buffer> {
    const { path, ...others } = options ?? {};
    refuseOptions(others);
    const file = path === undefined || path === null ? null : sourceOf(path, 'the path');
    return await awaiting(() => this.#open().saveState(promptOf(prompt), file));
  }

  /**
   * Loads a saved state, from bytes or from the file at a path: requests that start with its prompt
   * reuse it. Returns its number of tokens. The state of another model, or of other settings, is
   * rejected with the code `INVALID_ARGUMENT`.
   */
  async loadState(state: Uint8Array | string | URL): Promise<number> {
    return await awaiting(() =>
      this.#open().loadState(
        stateOf(state instanceof globalThis.URL ? fileURLToPath(state) : state),
      ),
    );
  }

  /**
   * Frees the model. Later calls fail with the code `CLOSED`; properties such as the name and the
   * size remain available.
   */
  close(options?: {
    /** Completes running requests first instead of cancelling them. Default: false. */
    finish?: boolean;
  }): Promise<void> {
    this.#closing ??= awaiting(() => this.#native.close(optionsOf(options)));
    return this.#closing;
  }

  /** The active requests, oldest first. */
  requests(): RequestInfo[] {
    return calling(() => this.#open().requests());
  }

  /**
   * Cancels the requests with this id (`requestId`), which return their partial answers.
   *
   * @returns Whether there are any such requests.
   */
  cancelRequest(id: string): boolean {
    return calling(() => this.#open().cancelRequest(textOf(id)));
  }

  /** Statistics since the model was loaded, and its current load. */
  stats(): Stats {
    return calling(() => this.#open().stats());
  }

  /** Whether the model has been closed. */
  get isClosed(): boolean {
    return this.#closing !== undefined || this.#native.isClosed;
  }

  /** The sampling options of a call that sets none. */
  get defaultOptions(): GenerateOptions {
    return calling(() => this.#open().defaultOptions);
  }

  /** The file that the model was loaded from. */
  declare readonly path: string;
  /**
   * Context size in tokens, shared by all concurrent requests; for a model that does not generate,
   * the maximum length of a text.
   */
  declare readonly contextSize: number;
  /**
   * The placement of the model: layers and bytes on each device; memory for embeddings is included
   * after the first one.
   */
  declare readonly placement: Placement;
  /** Number of layers on GPUs; the output layer counts as one. */
  declare readonly gpuLayers: number;
  /** Number of layers (blocks), without the output layer. */
  declare readonly nLayers: number;
  /** Size of the vocabulary. */
  declare readonly nVocab: number;
  /** Number of dimensions of an embedding. */
  declare readonly nEmbd: number;
  /** Number of parameters. */
  declare readonly nParams: number;
  /** Size of all tensors in bytes. */
  declare readonly size: number;
  /** The architecture, as the file names it: `llama`, `qwen3`, ... */
  declare readonly architecture: string;
  /** The name in the file's metadata. */
  declare readonly name: string | null;
  /** Architecture, number of parameters and quantisation: `llama 1.2B Q4_K_M`. */
  declare readonly description: string;
  /** The file's metadata as text, without arrays. */
  declare readonly metadata: Record<string, string>;
  /** The chat template in use (Jinja). */
  declare readonly chatTemplate: string | null;
  /** The tasks that the model supports. */
  declare readonly capabilities: Capabilities;

  static {
    shownBy(Model, (model) => model.toJSON());
    // The getters of the native model that this class does not define itself.
    const told = Object.getOwnPropertyDescriptors(native.NativeModel.prototype);
    for (const [name, descriptor] of Object.entries(told)) {
      if ('value' in descriptor || name in this.prototype) continue;
      Object.defineProperty(this.prototype, name, {
        get(this: Model) {
          return (this.#native as unknown as Record<string, unknown>)[name];
        },
        configurable: true,
      });
    }
  }

  /** A summary for logs: name and description, context size and placement. */
  toJSON(): {
    name: string | null;
    description: string;
    contextSize: number;
    gpuLayers: number;
    isClosed: boolean;
  } {
    const { name, description, contextSize, gpuLayers, isClosed } = this;
    return { name, description, contextSize, gpuLayers, isClosed };
  }

  /** The name and the description: `Model(Mullama Demo, llama 1.9M F16)`. */
  toString(): string {
    return `Model(${[this.name, this.description].filter(Boolean).join(', ')})`;
  }

  /** For `using`: like {@link close}, but blocking. */
  [Symbol.dispose](): void {
    // Blocks until the current step has been computed.
    this.#native.closeNow();
  }

  /** For `await using`: {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * The native model. Throws once `close` has been called, which takes effect later, on another
   * thread.
   */
  #open(): NativeModel {
    if (!this.#closing) return this.#native;
    throw MullamaError.of({
      kind: 'Closed',
      code: 'CLOSED',
      message: 'the model has been closed',
    });
  }

  /** Waits for an answer, or for the signal, which cancels it. */
  async #finish<Answer>(
    options: Abortable | undefined,
    ask: (
      model: NativeModel,
      given: Options,
      cancel: Cancel,
      process: Process | undefined,
    ) => Promise<Answer>,
  ): Promise<Answer> {
    const { signal, rest } = splitSignal(options);
    throwIfAborted(signal);
    const cancel = new native.Cancel();
    const processors = new Processors(rest);
    const given = optionsOf(withDefinitions(processors.options));
    try {
      return await awaiting(() =>
        abortable(signal, ask(this.#open(), given, cancel, processors.process), () =>
          cancel.cancel(),
        ),
      );
    } catch (error) {
      throw processors.explain(error);
    }
  }

  #stream<Piece extends Chunk | ChatChunk>(
    make: (fields: string | Piece) => Piece,
    options: Abortable | undefined,
    ask: (
      model: NativeModel,
      given: Options,
      deliver: Deliver,
      process: Process | undefined,
    ) => Generation,
  ): Stream<Piece> {
    const { signal, rest } = splitSignal(options);
    const processors = new Processors(rest);
    const given = optionsOf(withDefinitions(processors.options));
    const explain = (error: unknown) => processors.explain(error);
    return new CompletionStream(make, signal, explain, (deliver) =>
      calling(() => ask(this.#open(), given, deliver, processors.process)),
    );
  }
}
