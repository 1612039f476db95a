import type {
  PromptProgress,
  StopReason,
  Timings,
  TokenLogprob,
  ToolCallDelta,
  Usage,
} from './generated/results.js';
import type { AssistantMessage } from './messages.js';
import type { Read } from './typed.js';

/** Why a generation ended. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'cancelled';

/** A finished answer. */
export class Completion {
  /** The text, without the stop sequence that ended it. */
  text: string;
  /** All generated tokens. */
  tokens: number[];
  finishReason: FinishReason;
  /** The exact reason: the stop sequence, end token or limit. */
  stopReason: StopReason;
  usage: Usage;
  timings: Timings;
  /** Log probabilities, if requested. */
  logprobs?: TokenLogprob[];

  /** @internal */
  constructor({ text, tokens, finishReason, stopReason, usage, timings, logprobs }: Completion) {
    this.text = text;
    this.tokens = tokens;
    this.finishReason = finishReason;
    this.stopReason = stopReason;
    this.usage = usage;
    this.timings = timings;
    if (logprobs) this.logprobs = logprobs;
  }

  /** The text. */
  toString(): string {
    return this.text;
  }
}

/** A finished chat answer. Its `text` is the content, without reasoning and tool calls. */
export class ChatCompletion<Value = unknown> extends Completion {
  /** The answer, ready to be appended to the messages of the next turn. */
  message: AssistantMessage;

  #read: Read | undefined;

  /** @internal */
  constructor(fields: ChatCompletion, read?: Read) {
    super(fields);
    this.message = fields.message;
    this.#read = read;
  }

  /**
   * The answer as a value of the schema that was given as `responseFormat` (Zod, Valibot, ArkType or
   * another one that follows Standard Schema); `undefined` if there was none.
   *
   * @throws {MullamaError} If the answer ended before it was complete.
   */
  get parsed(): Value | undefined {
    return this.#read?.(this.text, this.stopReason) as Value | undefined;
  }
}

/** A chunk of an answer that is being generated. */
export class Chunk {
  /** New text: whole characters, never part of a stop sequence. */
  text: string;
  /** Log probabilities of the new tokens, if requested. */
  logprobs?: TokenLogprob[];
  /** The progress of prompt processing, in chunks before the first token, if requested. */
  progress?: PromptProgress;
  /** The complete answer; only in the last chunk. */
  completion?: Completion;

  /**
   * A chunk with only text is passed as a string.
   *
   * @internal
   */
  constructor(fields: string | Chunk) {
    const { text, logprobs, progress, completion }: Chunk =
      typeof fields === 'string' ? { text: fields } : fields;
    this.text = text;
    if (logprobs) this.logprobs = logprobs;
    if (progress) this.progress = progress;
    if (completion) this.completion = new Completion(completion);
  }

  /** The text. */
  toString(): string {
    return this.text;
  }
}

/** A chunk of a chat answer that is being generated. */
export class ChatChunk<Value = unknown> {
  /** New text of the answer. */
  text: string;
  /** New text of the reasoning before the answer. */
  reasoning: string;
  /** New parts of tool calls. */
  toolCalls: ToolCallDelta[];
  /**
   * Log probabilities of all tokens since the last chunk, if requested, including those of
   * reasoning, tool calls and tags.
   */
  logprobs?: TokenLogprob[];
  /** The progress of prompt processing, in chunks before the first token, if requested. */
  progress?: PromptProgress;
  /** The complete answer; only in the last chunk. */
  completion?: ChatCompletion<Value>;

  /** @internal */
  constructor(fields: string | ChatChunk, read?: Read) {
    const { text, reasoning, toolCalls, logprobs, progress, completion }: Partial<ChatChunk> =
      typeof fields === 'string' ? { text: fields } : fields;
    this.text = text ?? '';
    this.reasoning = reasoning ?? '';
    this.toolCalls = toolCalls ?? [];
    if (logprobs) this.logprobs = logprobs;
    if (progress) this.progress = progress;
    if (completion) this.completion = new ChatCompletion<Value>(completion, read);
  }

  /** The text. */
  toString(): string {
    return this.text;
  }
}
