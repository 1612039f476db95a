'use strict';

const { abortable, splitSignal, throwIfAborted } = require('./abort.js');
const { calling, invalidArgument } = require('./errors.js');
const native = require('./native.js');
const { callTool, readTools, withDefinitions } = require('./tools.js');

/** What a conversation has of its own among the options. */
function splitOptions(options) {
  const { signal, rest } = splitSignal(options);
  const { maxToolRounds, ...others } = rest;
  return { signal, maxToolRounds, options: others };
}

/** A message, or several, from what was said. */
function said(input) {
  if (typeof input === 'string') return [{ role: 'user', content: input }];
  return Array.isArray(input) ? input : [input];
}

/** One turn of a conversation: the native side says what comes next, this calls the functions. */
class Turn {
  #chat;
  #native;
  #tools;
  #stop = new AbortController();
  #ignoreSignal = () => {};

  constructor(chat, input, { signal, maxToolRounds, options }) {
    const tools = readTools(options.tools);
    this.#chat = chat;
    this.#tools = new Map(tools.filter(({ execute }) => execute).map((tool) => [tool.name, tool]));
    this.signal = this.#stop.signal;
    if (signal) this.#heed(signal);
    const definitions = tools.map(({ definition }) => definition);
    this.options = tools.length ? { ...options, tools: definitions } : options;
    const names = [...this.#tools.keys()];
    this.#native = calling(
      () => new native.Turn(chat.messages, said(input), definitions, names, maxToolRounds),
    );
  }

  get messages() {
    return this.#native.messages();
  }

  get isOver() {
    return this.#native.isOver;
  }

  /** Takes an answer: gives the calls that it asks for, or notes the turn that it ends. */
  take(answer) {
    const { message, finishReason, usage } = answer;
    const requests = this.#native.answered(message, finishReason, usage);
    if (this.isOver) {
      answer.usage = this.#native.usage;
      this.#chat.messages.push(...this.#native.news());
    }
    return requests;
  }

  /** Makes the calls, all at a time. */
  async call(requests) {
    throwIfAborted(this.signal);
    const calls = requests.map((request) =>
      callTool(this.#tools.get(request.name), request, this.signal),
    );
    this.#native.returned(await abortable(this.signal, Promise.all(calls), () => {}));
  }

  /** Ends the turn: tools that still run are told that nobody waits for them. */
  stop() {
    this.#ignoreSignal();
    this.#stop.abort();
  }

  #heed(signal) {
    const onAbort = () => this.#stop.abort(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#ignoreSignal = () => signal.removeEventListener('abort', onAbort);
  }
}

/** An answer of a chat while it is being generated: an async iterator of chunks, over all rounds. */
class ChatTurn {
  #turn;
  #stream;
  #chunks;
  #cancelled = false;
  #completion;
  #release;

  constructor(model, turn, release) {
    this.#turn = turn;
    this.#release = release;
    // Starts now, as every stream does.
    this.#ask(model);
    this.#chunks = this.#run(model);
  }

  get completion() {
    return this.#completion;
  }

  cancel() {
    this.#cancelled = true;
    this.#stream.cancel();
  }

  next() {
    return this.#chunks.next();
  }

  async return(value) {
    this.#turn.stop();
    await this.#stream.return();
    this.#release();
    await this.#chunks.return();
    return { value, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async [Symbol.asyncDispose ?? Symbol('asyncDispose')]() {
    await this.return();
  }

  #ask(model) {
    const { messages, options, signal } = this.#turn;
    this.#stream = model.streamChat(messages, { ...options, signal });
    if (this.#cancelled) this.#stream.cancel();
  }

  async *#run(model) {
    try {
      for (;;) {
        let requests;
        for await (const chunk of this.#stream) {
          if (chunk.completion) {
            requests = this.#turn.take(chunk.completion);
            if (this.#turn.isOver) this.#completion = chunk.completion;
            else delete chunk.completion;
          }
          yield chunk;
        }
        if (!requests || this.#turn.isOver) return;
        await this.#turn.call(requests);
        this.#ask(model);
      }
    } finally {
      this.#release();
    }
  }
}

/** A conversation: keeps what is said, and calls the tools that the model asks for. */
class Chat {
  #model;
  #options;
  #maxToolRounds;
  #active;

  constructor(model, options) {
    const { system, messages, ...rest } = options ?? {};
    const split = splitOptions(rest);
    if (split.signal) throw invalidArgument('a signal is for one turn: give it to `send`');
    if (typeof (system ?? '') !== 'string') throw invalidArgument('the system: expected a string');
    this.#model = model;
    this.#options = split.options;
    this.#maxToolRounds = split.maxToolRounds;
    this.messages = [...(messages ?? [])];
    if (typeof system === 'string') this.messages.unshift({ role: 'system', content: system });
    // What is wrong with options is said now rather than when they are used.
    readTools(this.#options.tools);
    calling(() => native.checkChatOptions(withDefinitions(this.#options)));
  }

  async send(input, options) {
    const { turn, release } = this.#start(input, options);
    try {
      throwIfAborted(turn.signal);
      for (;;) {
        const { messages, options, signal } = turn;
        const answer = await this.#model.chat(messages, { ...options, signal });
        const requests = turn.take(answer);
        if (turn.isOver) return answer;
        await turn.call(requests);
      }
    } finally {
      turn.stop();
      release();
    }
  }

  stream(input, options) {
    const { turn, release } = this.#start(input, options);
    try {
      return new ChatTurn(this.#model, turn, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Begins a turn: until it is released, no other can be. */
  #start(input, given) {
    if (this.#active?.deref()) throw invalidArgument('the chat has not finished its last answer');
    const own = splitOptions(given);
    const turn = new Turn(this, input, {
      signal: own.signal,
      maxToolRounds: own.maxToolRounds ?? this.#maxToolRounds,
      options: { ...this.#options, ...own.options },
    });
    // One that nobody reads any more does not stand in the way when it is collected.
    const active = new WeakRef(turn);
    this.#active = active;
    const release = () => {
      if (this.#active === active) this.#active = undefined;
    };
    return { turn, release };
  }
}

module.exports = { Chat };
