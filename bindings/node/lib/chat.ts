import { abortable, splitSignal, throwIfAborted } from './abort.js';
import {
  argument,
  checkOptions,
  elementsOf,
  jsonOf,
  optionsOf,
  textOf,
  textsOf,
} from './arguments.js';
import type { Compacted } from './compacted.js';
import { calling, invalidArgument } from './errors.js';
import type { Turn as NativeTurn } from './generated/native.js';
import type { ChatOptions } from './generated/options.js';
import type { ToolRequest } from './generated/results.js';
import type { AbortSignal } from './globals.js';
import type { Message, Role } from './messages.js';
import { messagesOf, readBlobs } from './pictures.js';
import { native } from './native.js';
import { Processors } from './processors.js';
import type { ChatChunk, ChatCompletion } from './results.js';
import type { Stream } from './stream.js';
import { type ToolFunction, callTool, readTools, withDefinitions } from './tools.js';
import { withSchema } from './typed.js';

/** Options of a turn of a conversation. */
export interface SendOptions extends ChatOptions {
  /**
   * Maximum rounds of tool calls before an answer. Further calls are returned as the answer, with
   * the finish reason `tool_calls`, and the model is informed of the limit. Default: 8.
   */
  maxToolRounds?: number;
}

/** Options of a conversation; they apply to every answer. */
export interface StartChatOptions<Given extends string = Role> extends Omit<SendOptions, 'signal'> {
  /**
   * Summarises the oldest messages when the context is full, with `overflow: 'compact'`; without
   * it, the model does. An empty text leaves them out.
   */
  compact?: (messages: Message[]) => string | Promise<string>;
  /** The system message. */
  system?: string;
  /** The conversation so far. */
  messages?: readonly Message<Given>[];
}

/** The input of a turn: a text from the user, a message, or several messages. */
export type ChatInput<Given extends string = Role> =
  string | Message<Given> | readonly Message<Given>[];

/** The methods of a model that a conversation uses. */
interface Answering {
  chat(messages: readonly Message[], options: ChatOptions): Promise<ChatCompletion>;
  streamChat(messages: readonly Message[], options: ChatOptions): Stream<ChatChunk>;
  /** @internal */
  compacted(
    history: readonly Message[],
    said: readonly Message[],
    options: ChatOptions,
    summarizes: boolean,
  ): Promise<Compacted | null | undefined>;
}

type Summarize = NonNullable<StartChatOptions['compact']>;

interface TurnOptions {
  signal: AbortSignal | undefined;
  maxToolRounds: number | undefined;
  options: Omit<ChatOptions, 'signal'>;
}

/** Separates the options of the conversation itself from those of its requests. */
function splitOptions(options: SendOptions | undefined): TurnOptions {
  const { signal, rest } = splitSignal(options);
  const { maxToolRounds, ...others } = rest;
  return { signal, maxToolRounds, options: others };
}

/** The messages of an input. */
function said(input: ChatInput): readonly Message[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  return (Array.isArray(input) ? input : [input]) as readonly Message[];
}

/**
 * One turn of a conversation: the native side decides what to do next, this class runs the tools.
 */
class Turn {
  readonly signal: AbortSignal;
  readonly options: ChatOptions;
  #chat: Chat;
  #input: ChatInput;
  #begin: () => NativeTurn;
  #native: NativeTurn;
  #functions: Map<string, ToolFunction>;
  #stop = new AbortController();
  #ignoreSignal = (): void => {};

  constructor(chat: Chat, input: ChatInput, { signal, maxToolRounds, options }: TurnOptions) {
    const tools = readTools(options.tools);
    this.#chat = chat;
    this.#functions = new Map(
      tools.flatMap(({ name, execute }) => (execute ? [[name as string, execute]] : [])),
    );
    this.signal = this.#stop.signal;
    if (signal) this.#heed(signal);
    const definitions = tools.map(({ definition }) => definition);
    this.options = { ...options, signal: this.signal };
    this.#input = input;
    this.#begin = () =>
      calling(
        () =>
          new native.Turn(
            messagesOf(chat.messages),
            messagesOf(said(input)),
            jsonOf(definitions, 'the tools'),
            textsOf([...this.#functions.keys()], 'the names of tools'),
            maxToolRounds,
          ),
      );
    this.#native = this.#begin();
  }

  /** Whether a summary may have to replace the oldest messages first. */
  get compacts(): boolean {
    return this.options.overflow === 'compact';
  }

  /** Replaces the oldest messages by a summary if the conversation does not fit. */
  async makeRoom(model: Answering, summarize: Summarize | undefined): Promise<void> {
    if (!this.compacts) return;
    throwIfAborted(this.signal);
    const { messages } = this.#chat;
    const asked = model.compacted(messages, said(this.#input), this.options, !summarize);
    const found = await abortable(this.signal, asked);
    // If tools make the turn too long, others are left out.
    this.options.overflow = 'truncate';
    if (!found) return;
    const stays = new Set(found.kept);
    const before = messages.slice(0, found.start);
    const old = before.filter((_, index) => !stays.has(index));
    let { turn } = found;
    if (summarize) {
      const summary = await abortable(this.signal, Promise.resolve(summarize(old)));
      turn = calling(() => native.Turn.summary(textOf(summary)));
    }
    const kept = before.filter((_, index) => stays.has(index));
    this.#chat.messages = [...kept, ...turn, ...messages.slice(found.start)];
    this.#native = this.#begin();
    this.#native.noteDropped(old.length);
  }

  get messages(): Message[] {
    return this.#native.messages();
  }

  get isOver(): boolean {
    return this.#native.isOver;
  }

  /** Records an answer and returns its tool calls. If the turn is over, stores its messages. */
  take(answer: ChatCompletion): ToolRequest[] {
    const { message, finishReason, usage } = answer;
    const requests = calling(() =>
      this.#native.recordAnswer(jsonOf({ message, finishReason, usage }, 'the answer')),
    );
    if (this.isOver) {
      answer.usage = this.#native.usage;
      this.#chat.messages.push(...this.#native.newMessages());
    }
    return requests;
  }

  /** Runs the calls concurrently. */
  async call(requests: ToolRequest[]): Promise<void> {
    throwIfAborted(this.signal);
    const calls = requests.map((request) =>
      callTool(this.#functions.get(request.name)!, request, this.signal),
    );
    const outputs = jsonOf(await abortable(this.signal, Promise.all(calls)), 'the outputs');
    calling(() => this.#native.recordToolResults(outputs));
  }

  /** Ends the turn and aborts the signals of tools that are still running. */
  stop(): void {
    this.#ignoreSignal();
    this.#stop.abort();
  }

  #heed(signal: AbortSignal): void {
    const onAbort = () => this.#stop.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#ignoreSignal = () => signal.removeEventListener('abort', onAbort);
  }
}

/** A chat answer that is being generated, over all rounds of tool calls. */
class ChatTurn implements Stream<ChatChunk> {
  #turn: Turn;
  /** Starts when the stream is read if a summary has to be made first. */
  #stream: Stream<ChatChunk> | undefined;
  #chunks: AsyncGenerator<ChatChunk, undefined>;
  #cancelled = false;
  #completion: ChatCompletion | undefined;
  #release: () => void;

  constructor(model: Answering, turn: Turn, summarize: Summarize | undefined, release: () => void) {
    this.#turn = turn;
    this.#release = release;
    // Invalid arguments are reported now rather than when the stream is read.
    if (!turn.compacts) this.#stream = this.#ask(model);
    this.#chunks = this.#run(model, summarize);
  }

  get completion(): ChatCompletion | undefined {
    return this.#completion;
  }

  cancel(): void {
    this.#cancelled = true;
    this.#stream?.cancel();
  }

  next(): Promise<IteratorResult<ChatChunk, undefined>> {
    return this.#chunks.next();
  }

  async return(value?: unknown): Promise<IteratorResult<ChatChunk, undefined>> {
    this.#turn.stop();
    await this.#stream?.return();
    this.#release();
    await this.#chunks.return(undefined);
    return { value: value as undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #ask(model: Answering): Stream<ChatChunk> {
    const stream = model.streamChat(this.#turn.messages, this.#turn.options);
    if (this.#cancelled) stream.cancel();
    return stream;
  }

  async *#run(
    model: Answering,
    summarize: Summarize | undefined,
  ): AsyncGenerator<ChatChunk, undefined> {
    try {
      await this.#turn.makeRoom(model, summarize);
      for (;;) {
        let requests: ToolRequest[] | undefined;
        this.#stream ??= this.#ask(model);
        for await (const chunk of this.#stream) {
          if (chunk.completion) {
            requests = this.#turn.take(chunk.completion);
            if (this.#turn.isOver) this.#completion = chunk.completion;
            else delete chunk.completion;
          }
          yield chunk;
        }
        if (!requests || this.#turn.isOver) return undefined;
        await this.#turn.call(requests);
        this.#stream = undefined;
      }
    } finally {
      this.#release();
    }
  }
}

/**
 * A conversation with a model, started by {@link Model.startChat}. It stores the messages and runs
 * the tools that the model calls, all calls of one answer concurrently.
 */
export class Chat {
  /** The messages so far; they can be changed between turns. */
  messages: Message[];
  #model: Answering;
  #options: Omit<ChatOptions, 'signal'>;
  #maxToolRounds: number | undefined;
  #summarize: Summarize | undefined;
  #active: WeakRef<Turn> | undefined;

  private constructor(model: Answering, options: StartChatOptions | undefined) {
    checkOptions(options);
    const { system, messages, compact, ...rest } = options ?? {};
    const split = splitOptions(rest);
    if (split.signal) throw invalidArgument('a signal is for one turn: give it to `send`');
    if (typeof (system ?? '') !== 'string') throw invalidArgument('the system: expected a string');
    if (compact !== undefined && typeof compact !== 'function') {
      throw invalidArgument('option `compact`: expected a function');
    }
    this.#model = model;
    this.#summarize = compact;
    this.#options = split.options;
    this.#maxToolRounds = split.maxToolRounds;
    this.messages = elementsOf(messages ?? [], argument('messages'));
    if (typeof system === 'string') this.messages.unshift({ role: 'system', content: system });
    // Invalid options are reported now rather than when they are used.
    readTools(this.#options.tools);
    const { options: known } = withSchema(this.#options);
    const { options: data } = new Processors(known);
    calling(() => native.checkChatOptions(optionsOf(withDefinitions(data))));
  }

  /** @internal */
  static start(model: Answering, options: StartChatOptions | undefined): Chat {
    return new Chat(model, options);
  }

  /**
   * Sends a message and waits for the answer, running tools as needed. Its usage includes all
   * requests. If it fails or is aborted, `messages` is unchanged.
   */
  async send<Given extends string = Role>(
    input: ChatInput<Given>,
    options?: SendOptions,
  ): Promise<ChatCompletion>;
  async send(input: ChatInput, options?: SendOptions): Promise<ChatCompletion> {
    const ready = readBlobs(input);
    const { turn, release } = this.#start(ready instanceof Promise ? await ready : ready, options);
    try {
      throwIfAborted(turn.signal);
      await turn.makeRoom(this.#model, this.#summarize);
      for (;;) {
        const answer = await this.#model.chat(turn.messages, turn.options);
        const requests = turn.take(answer);
        if (turn.isOver) return answer;
        await turn.call(requests);
      }
    } finally {
      turn.stop();
      release();
    }
  }

  /**
   * Like {@link send}, but streams the answer over all rounds of tools. `messages` includes the
   * turn after the last chunk has been read.
   */
  stream<Given extends string = Role>(
    input: ChatInput<Given>,
    options?: SendOptions,
  ): Stream<ChatChunk>;
  stream(input: ChatInput, options?: SendOptions): Stream<ChatChunk> {
    const { turn, release } = this.#start(input, options);
    try {
      return new ChatTurn(this.#model, turn, this.#summarize, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Begins a turn; no other can begin until it is released. */
  #start(input: ChatInput, given: SendOptions | undefined): { turn: Turn; release: () => void } {
    if (this.#active?.deref()) throw invalidArgument('the chat has not finished its last answer');
    const own = splitOptions(given);
    const turn = new Turn(this, input, {
      signal: own.signal,
      maxToolRounds: own.maxToolRounds ?? this.#maxToolRounds,
      options: { ...this.#options, ...own.options },
    });
    // Weak, so that an abandoned turn does not block the next one once it is garbage-collected.
    const active = new WeakRef(turn);
    this.#active = active;
    const release = () => {
      if (this.#active === active) this.#active = undefined;
    };
    return { turn, release };
  }
}
