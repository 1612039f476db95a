/// <reference lib="esnext.disposable" />

import type {
  ChatOptions,
  EmbedOptions,
  GenerateOptions,
  LoadOptions,
  PlanOptions,
  RerankOptions,
} from './options.js';

export type {
  ChatOptions,
  EmbedOptions,
  GenerateOptions,
  LoadOptions,
  PlanOptions,
  RerankOptions,
} from './options.js';

/** What can be stopped from outside. */
export interface Abortable {
  /**
   * Aborts the call: it throws the signal's reason if that is an error (an `AbortError`, unless
   * `abort` was called with another), else a {@link MullamaError} with the code `CANCELLED`.
   */
  signal?: AbortSignal;
}

/** What tells how far it is. */
export interface Progress {
  /**
   * Called with numbers from 0 to 1. Returning false cancels: the call throws a {@link MullamaError}
   * with the code `CANCELLED`. What it throws is what the call throws.
   */
  onProgress?: (progress: number) => unknown;
}

/** LoRA adapters: a path, or an array of paths and of pairs of a path and a scale. */
export type Lora = string | (string | [path: string, scale: number])[];

/** How far a pull has come. */
export interface PullProgress {
  /** What is being done; `waiting` is for another pull of the same file. */
  phase: 'resolving' | 'waiting' | 'downloading' | 'verifying' | 'done';
  /** Bytes that are in the store or on their way there, earlier runs included. */
  completed: number;
  /** Bytes of all the files; 0 while it is not known. */
  total: number;
  /** How much of it is there, from 0 to 1. */
  fraction: number;
  /** Bytes per second of late; 0 while it is not known. */
  speed: number;
  /** Seconds that are left at this speed. */
  eta?: number;
}

/** What a pull takes. */
export interface PullOptions {
  /** Ends the pull; what has come stays for the next. */
  signal?: AbortSignal;
  /**
   * Called with how far it has come, some times a second. Returning false cancels: the call throws a
   * {@link MullamaError} with the code `CANCELLED`. What it throws is what the call throws.
   */
  onProgress?: (progress: PullProgress) => unknown;
  /** Allows plain HTTP to other machines. Default: false. */
  insecure?: boolean;
  /** For a registry that wants one; Hugging Face's is `HF_TOKEN` in the environment. */
  token?: string;
}

/** A model of the local store. */
export interface StoredModel {
  /** The name, by which the model is loaded. */
  name: string;
  /** The id that a list shows: 12 digits. */
  id: string;
  /** Bytes of all its files. */
  size: number;
  /** The file of the weights; the first of a split model. */
  path: string;
}

/** The number format of a KV cache. */
export type KvCacheType =
  'f32' | 'f16' | 'bf16' | 'q8_0' | 'q5_1' | 'q5_0' | 'q4_1' | 'q4_0' | 'iq4_nl';

/** A JSON schema. */
export type JsonSchema = object | boolean;

/** A tool that the model may call, in OpenAI's shape. */
export interface Tool {
  type: 'function';
  function: {
    name: string;
    description?: string;
    /** A JSON schema of the arguments. */
    parameters?: object;
    strict?: boolean | null;
  };
  /** The function: see {@link FunctionTool.execute}. */
  execute?: ToolFunction;
}

/** What a tool's function is called with beside the arguments. */
export interface ToolContext {
  /** Names the call. */
  id: string;
  /** Aborted when nobody waits for the result any more. */
  signal: AbortSignal;
}

/** A tool's function. What it gives is the model's to read: text as it is, anything else as JSON. */
export type ToolFunction = (arguments_: any, context: ToolContext) => unknown;

/** A tool that the model may call, with its function. */
export interface FunctionTool {
  name: string;
  /** What the model is told of it. */
  description?: string;
  /** A JSON schema of the arguments. */
  parameters?: object;
  /**
   * The function, which a {@link Chat} calls where the model asks for it. It may give a promise; what it
   * throws is told to the model. Without it, the calls are the caller's to make.
   */
  execute?: ToolFunction;
}

/** Whether tools are called, or which. */
export type ToolChoice =
  'auto' | 'none' | 'required' | { type: 'function'; function: { name: string } };

/** What an answer of a chat has to be. */
export type ResponseFormat =
  | { type: 'text' }
  | { type: 'json_object' }
  | {
      type: 'json_schema';
      json_schema: { schema: object; name?: string; strict?: boolean | null };
    };

/** Who says a message. */
export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool';

/** A part of a message that has several. */
export type ContentPart = { type: 'text'; text: string };

/** A call of a tool by the model. */
export interface ToolCall {
  /** Names the call, for the result to refer to. */
  id: string;
  type: 'function';
  function: {
    name: string;
    /** A JSON object, as text. */
    arguments: string;
  };
}

/** One message of a chat, in OpenAI's shape. */
export interface Message {
  role: Role;
  /** What is said; absent where an assistant only calls tools. */
  content?: string | ContentPart[] | null;
  /** What the assistant thought before it answered. */
  reasoning?: string | null;
  /** Tools that the assistant calls. */
  tool_calls?: ToolCall[] | null;
  /** Of a tool's result: the id of the call. */
  tool_call_id?: string;
  /** Of a tool's result: the tool's name. Of others: the speaker's. */
  name?: string;
}

/** The message of an answer: ready to be added to the messages of the next turn. */
export interface AssistantMessage {
  role: 'assistant';
  content: string | null;
  /** What the model thought before it answered. */
  reasoning?: string;
  tool_calls?: ToolCall[];
}

/** A prompt: text, in which special tokens count as such, or tokens. */
export type Prompt = string | Tokens;

/** Tokens of a model's vocabulary. */
export type Tokens = readonly number[] | Int32Array | Uint32Array;

/** Why a generation ended. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'cancelled';

/** Tokens that a request took. */
export interface Usage {
  promptTokens: number;
  /** Tokens of the prompt that had been computed before. */
  cachedTokens: number;
  /** Tokens that were generated; a closing end-of-generation token counts. */
  completionTokens: number;
}

/** Times of a request, in milliseconds, and rates, in tokens per second. */
export interface Timings {
  /** From the call to the start of the prompt's computation. */
  queueMs: number;
  /** The prompt's computation. */
  promptMs: number;
  /** From the call to the first token. */
  firstTokenMs: number;
  /** From the call to the end. */
  totalMs: number;
  promptTps: number;
  decodeTps: number;
}

/** A token with its log probability, before any sampling option. */
export interface Logprob {
  token: number;
  /** Its text; a part of a character shows as U+FFFD. */
  text: string;
  /** The natural logarithm of its probability. */
  logprob: number;
}

/** A token that was generated, with its log probability. */
export interface TokenLogprob extends Logprob {
  /** The likeliest tokens at its place, likeliest first. */
  top: Logprob[];
}

/** A finished answer. */
export interface Completion {
  /** The text, without the stop text that ended it. */
  text: string;
  /** Every token that was generated. */
  tokens: number[];
  finishReason: FinishReason;
  usage: Usage;
  timings: Timings;
  /** Where they were asked for. */
  logprobs?: TokenLogprob[];
  /** The text. */
  toString(): string;
}

/** A finished answer of a chat. Its `text` is the content, without reasoning and tool calls. */
export interface ChatCompletion extends Completion {
  /** The answer, to be added to the messages of the next turn. */
  message: AssistantMessage;
}

/** A piece of an answer that is being generated. */
export interface Chunk {
  /** New text: whole characters, never any part of a stop text. */
  text: string;
  /** Of the new tokens, where they were asked for. */
  logprobs?: TokenLogprob[];
  /** The whole answer, in the last chunk. */
  completion?: Completion;
  /** The text. */
  toString(): string;
}

/** What is new in one tool call. The first piece of a call has its id and name. */
export interface ToolCallDelta {
  /** Which of the answer's calls. */
  index: number;
  id?: string;
  name?: string;
  /** New text of the arguments. */
  arguments: string;
}

/** What is new in an answer of a chat that is being generated. */
export interface ChatChunk {
  /** New text of the answer. */
  text: string;
  /** New text of the reasoning before the answer. */
  reasoning: string;
  /** What is new in tool calls. */
  toolCalls: ToolCallDelta[];
  /** The whole answer, in the last chunk. */
  completion?: ChatCompletion;
  /** The text. */
  toString(): string;
}

/**
 * An answer while it is being generated, read with `for await`. The generation starts with the call
 * that gives the stream, and ends when the loop is left; a stream that nobody reads any more is
 * collected as garbage, and its generation ends.
 */
export interface Stream<Piece extends Chunk | ChatChunk>
  extends AsyncIterableIterator<Piece>, AsyncDisposable {
  /** The whole answer, once the last chunk has been read. */
  readonly completion: NonNullable<Piece['completion']> | undefined;
  /** Stops the generation; what there is of it still comes, with the finish reason `cancelled`. */
  cancel(): void;
  next(): Promise<IteratorResult<Piece, undefined>>;
  return(value?: unknown): Promise<IteratorResult<Piece, undefined>>;
}

/** What a turn of a conversation takes. */
export interface SendOptions extends ChatOptions {
  /**
   * How often the model may have tools called before its answer. When it asks for more, what it asks is
   * the answer, with the finish reason `tool_calls`, and it is told of the limit. Default: 8.
   */
  maxToolRounds?: number;
}

/** What a conversation starts with; the options hold for every answer. */
export interface StartChatOptions extends Omit<SendOptions, 'signal'> {
  /** What the model is told for all of it. */
  system?: string;
  /** What has been said before. */
  messages?: readonly Message[];
}

/** What is said to a conversation: a text of the user's, a message, or several. */
export type ChatInput = string | Message | readonly Message[];

/**
 * A conversation with a model, which {@link Model.startChat} starts: keeps what is said, and calls the
 * tools that the model asks for, those of one answer all at a time.
 */
export class Chat {
  private constructor();
  /** What has been said; it can be changed between turns. */
  messages: Message[];

  /**
   * Says something and waits for the answer, calling tools on the way. Its usage counts every request.
   * Where it fails or is aborted, `messages` is as it was.
   */
  send(input: ChatInput, options?: SendOptions): Promise<ChatCompletion>;

  /**
   * As {@link send}, piece by piece, over all rounds of tools. `messages` has the turn when the last
   * chunk has been read.
   */
  stream(input: ChatInput, options?: SendOptions): Stream<ChatChunk>;
}

/** What can be done with a model. */
export interface Capabilities {
  /** Text can be generated. */
  generate: boolean;
  /** There is a chat template. */
  chat: boolean;
  /** The chat template takes tools. */
  tools: boolean;
  /** The chat template can switch reasoning on and off. */
  reasoning: boolean;
  /** Texts can be embedded, without more ado. */
  embed: boolean;
  /** Documents can be ranked: there is a classification head. */
  rerank: boolean;
}

/** Tokens that an embedding or a reranking took. */
export interface EmbeddingUsage {
  /** Tokens that were computed, of all inputs. */
  promptTokens: number;
  /** Tokens that were cut off because an input was too long. */
  truncatedTokens: number;
}

/** The vectors of some texts, in the order of the texts: iterating gives the vectors. */
export interface Embeddings extends Iterable<Float32Array> {
  /**
   * A vector for each text. With `pooling: 'none'` the numbers of all its tokens, vector after vector.
   * All are views of `values`.
   */
  readonly vectors: Float32Array[];
  /** All numbers, vector after vector. */
  readonly values: Float32Array;
  /** How many texts there are. */
  readonly length: number;
  /** Numbers in a vector. */
  readonly dimensions: number;
  /** Tokens of each text that were computed. */
  readonly tokenCounts: number[];
  /** How the vectors of a text's tokens became one. */
  readonly pooling: 'mean' | 'cls' | 'last' | 'none' | 'rank';
  /** Whether each vector has been scaled to length 1. */
  readonly normalized: boolean;
  /** Tokens that the texts took. */
  readonly usage: EmbeddingUsage;
  /** The vectors as arrays of numbers, to be written as JSON. */
  toJSON(): number[][];
}

/** A document with its score. */
export interface RankedDocument {
  /** Which of the documents it is, counted from 0. */
  index: number;
  /**
   * How well it answers the query, as the model gives it: higher is better; what range scores have
   * depends on the model.
   */
  score: number;
}

/** Documents by how well they answer a query, the best first: iterating gives them. */
export interface Reranking extends Iterable<RankedDocument> {
  /** The documents; those with equal scores in the order in which they were given. */
  readonly results: RankedDocument[];
  /** How many there are. */
  readonly length: number;
  /** Tokens that the query and the documents took; the query counts with each document. */
  readonly usage: EmbeddingUsage;
}

/** What one device holds of a model, in bytes as they were allocated. */
export interface DeviceShare {
  /** The device's name; `CPU` is the machine's own memory. */
  name: string;
  /** Layers; the output layer counts as one. */
  layers: number;
  /** Bytes of weights. */
  weights: number;
  /** Bytes of KV cache. */
  kv: number;
  /** Bytes of buffers to compute in. */
  compute: number;
}

/** Where a model is. */
export interface Placement {
  /** The devices that hold a part of it, the machine's own memory last. */
  devices: DeviceShare[];
}

/** What a model has done since it was loaded, and what it is doing. */
export interface Stats {
  /** Requests that are running. */
  running: number;
  /** Requests that wait for their turn. */
  waiting: number;
  /** Requests that have ended, however they did. */
  finished: number;
  /** Steps of the engine. */
  steps: number;
  /** Tokens of prompts that were computed. */
  promptTokens: number;
  /** Tokens of prompts that had been computed before. */
  cachedTokens: number;
  /** Tokens that were generated. */
  completionTokens: number;
  /** Tokens that were guessed ahead (`promptLookup`). */
  draftedTokens: number;
  /** Guesses among those that were right. */
  acceptedTokens: number;
  /** Cells of the KV cache in use. */
  kvUsed: number;
  /** Cells of those that are kept for later requests only; told when none is running. */
  kvKept: number;
  /** Tokens that were kept and have been given up to make room. */
  evictedTokens: number;
  /** Tokens that had left the KV cache and were copied back (`cacheRam`). */
  restoredTokens: number;
  /** Times that a request gave its cells up and was computed again later. */
  preemptions: number;
  /** Texts that were embedded, and documents that were scored. */
  embeddedInputs: number;
  /** Tokens of those. */
  embeddedTokens: number;
  /** Batches that they were computed in. */
  embeddingSteps: number;
}

/** A loaded model. Any number of calls may run at once; they are computed together. */
export class Model implements Disposable, AsyncDisposable {
  /**
   * Loads a model while the program waits: `Model.load` does not block it.
   *
   * @param source The path of a GGUF file (the first of a split one), the name of a model in the
   *   local store, or `demo`, the built-in model; {@link pull} downloads.
   * @throws {MullamaError}
   */
  constructor(source: string | URL, options?: LoadOptions);

  /**
   * Loads a model.
   *
   * @param source The path of a GGUF file (the first of a split one), the name of a model in the
   *   local store, or `demo`, the built-in model; {@link pull} downloads.
   */
  static load<T extends typeof Model>(
    this: T,
    source: string | URL,
    options?: LoadOptions,
  ): Promise<InstanceType<T>>;

  /**
   * Downloads a model into the local store. One that is there and current is not downloaded again; a
   * download that was broken off goes on.
   *
   * @param name A name (`llama3.2:1b`, `host/user/model:tag`), a repository of Hugging Face
   *   (`hf.co/user/repo:Q4_K_M`), or the address of a GGUF file.
   */
  static pull(name: string, options?: PullOptions): Promise<StoredModel>;

  /** Generates until the model is done or an option ends it. */
  generate(prompt: Prompt, options?: GenerateOptions): Promise<Completion>;

  /** As {@link generate}, piece by piece. */
  stream(prompt: Prompt, options?: GenerateOptions): Stream<Chunk>;

  /** Answers the last of the messages, through the model's chat template. */
  chat(messages: readonly Message[], options?: ChatOptions): Promise<ChatCompletion>;

  /** As {@link chat}, piece by piece. */
  streamChat(messages: readonly Message[], options?: ChatOptions): Stream<ChatChunk>;

  /**
   * Vectors of texts, in the order of the texts.
   *
   * @param texts A text or an array of them; an array of tokens can stand for a text.
   */
  embed(texts: Prompt | readonly Prompt[], options?: EmbedOptions): Promise<Embeddings>;

  /**
   * Puts documents in the order of how well they answer a query, the best first. The model must be a
   * reranker: one with a classification head.
   */
  rerank(query: string, documents: readonly string[], options?: RerankOptions): Promise<Reranking>;

  /** Starts a conversation, which keeps what is said and calls tools. */
  startChat(options?: StartChatOptions): Chat;

  /** The prompt that a chat with these messages would start from. */
  applyChatTemplate(
    messages: readonly Message[],
    options?: Omit<ChatOptions, 'signal'> & {
      /** Whether the beginning of the answer is part of it. Default: true. */
      addGenerationPrompt?: boolean;
    },
  ): string;

  /** Text to tokens. */
  tokenize(
    text: string,
    options?: {
      /** Adds the tokens that the model expects around a text. Default: true. */
      addSpecial?: boolean;
      /** Takes special tokens that are written out in the text for what they are. Default: false. */
      parseSpecial?: boolean;
    },
  ): number[];

  /** Tokens to text. */
  detokenize(
    tokens: Tokens,
    options?: {
      /** Leaves special tokens out. Default: false. */
      skipSpecial?: boolean;
    },
  ): string;

  /** How many tokens a text takes as a prompt. */
  countTokens(text: string): number;

  /**
   * Makes these the LoRA adapters of all requests from now on that name none of their own: a path, or
   * an array of paths and of pairs of a path and a scale. An empty array is the model without any.
   */
  setLora(lora: Lora): Promise<void>;

  /**
   * What was computed from a prompt, as bytes for {@link loadState} of this process or another; what
   * has not been computed yet is.
   */
  saveState(
    prompt: string | Tokens,
    options?: {
      /** A file that the bytes are written to as well. */
      path?: string | URL;
    },
  ): Promise<Buffer>;

  /**
   * Takes a state that was saved, as bytes or from the file of this path: requests that begin with its
   * prompt go on from there. Gives how many tokens it has. The state of another model, or of other
   * settings, fails with the code `INVALID_ARGUMENT`.
   */
  loadState(state: Uint8Array | string | URL): Promise<number>;

  /**
   * Frees the model. From the call on everything asked of it fails with the code `CLOSED`; what it is
   * (its name, its size) can still be asked.
   */
  close(options?: {
    /** Lets what runs be finished first, rather than cancelling it. Default: false. */
    finish?: boolean;
  }): Promise<void>;

  /** What the model has done since it was loaded, and what it is doing. */
  stats(): Stats;

  /** Whether the model has been closed. */
  readonly isClosed: boolean;
  /** The sampling options that hold where a call sets none. */
  readonly defaultOptions: GenerateOptions;
  /** The file that the model was loaded from. */
  readonly path: string;
  /**
   * Tokens of context, shared by all requests that run at once; of a model that does not generate, those
   * of the longest text.
   */
  readonly contextSize: number;
  /** Where the model is: layers and bytes on each device, those of embeddings once there are any. */
  readonly placement: Placement;
  /** Layers on GPUs; the output layer counts. */
  readonly gpuLayers: number;
  /** Layers (blocks), without the output layer. */
  readonly nLayers: number;
  /** Tokens in the vocabulary. */
  readonly nVocab: number;
  /** Numbers in an embedding. */
  readonly nEmbd: number;
  /** Parameters. */
  readonly nParams: number;
  /** Bytes of all tensors. */
  readonly size: number;
  /** The architecture, as the file names it: `llama`, `qwen3`, ... */
  readonly architecture: string;
  /** The name that the file gives itself. */
  readonly name: string | null;
  /** Architecture, size class and quantisation in a few words. */
  readonly description: string;
  /** The file's metadata as text, without arrays. */
  readonly metadata: Record<string, string>;
  /** The chat template in use (Jinja). */
  readonly chatTemplate: string | null;
  /** What can be done with the model. */
  readonly capabilities: Capabilities;

  /** For `using`: as {@link close}, but the program waits. */
  [Symbol.dispose](): void;
  /** For `await using`: {@link close}. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What went wrong, as far as a program can act on it. */
export type ErrorCode =
  /** A file, or a model of this name, is not there. */
  | 'NOT_FOUND'
  /** The file is no GGUF model, is cut short or damaged, or of an unknown architecture. */
  | 'INVALID_MODEL'
  /** An argument has the wrong type or a value outside its range. */
  | 'INVALID_ARGUMENT'
  /** The name cannot be the name of a model. */
  | 'UNKNOWN_MODEL'
  /** The machine or a device ran out of memory. */
  | 'OUT_OF_MEMORY'
  /** The placement that was asked for does not fit the devices. */
  | 'DOES_NOT_FIT'
  /** The prompt is longer than the context. */
  | 'CONTEXT_OVERFLOW'
  /** A grammar or JSON schema cannot be used. */
  | 'INVALID_GRAMMAR'
  /** A chat template is missing, damaged, or does not accept the messages. */
  | 'TEMPLATE'
  /** The model or the backend cannot do this. */
  | 'UNSUPPORTED'
  /** A backend module failed. */
  | 'BACKEND'
  /** The caller cancelled. */
  | 'CANCELLED'
  /** The model has been closed. */
  | 'CLOSED'
  /** A download failed. */
  | 'DOWNLOAD'
  /** Reading or writing a file failed. */
  | 'IO'
  /** A defect of mullama or of the engine. */
  | 'INTERNAL'
  | (string & {});

/** Every failure of mullama. */
export class MullamaError extends Error {
  private constructor();
  /** What went wrong, as far as a program can act on it. */
  readonly code: ErrorCode;
  /** The same as the other languages name it: `NotFound`. */
  readonly kind: string;
  /** What to do next; the message has it too. */
  readonly hint?: string;
  /** What the error is about: an option, a path, a number of bytes. */
  readonly context: Readonly<Record<string, string>>;
}

/** A device that the engine can compute on. */
export interface Device {
  /** The engine's name: `CPU`, `CUDA0`, `Vulkan1`. */
  name: string;
  /** The maker's name of the device. */
  description: string;
  /** The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`. */
  backend: string;
  /** The processor; a graphics processor with memory of its own, or without; another. */
  kind: 'cpu' | 'gpu' | 'igpu' | 'accelerator';
  /** Bytes of memory that are free now. */
  memoryFree: number;
  /** Bytes of memory in all. */
  memoryTotal: number;
}

/** A backend module that was found, and what became of it. */
export interface Backend {
  /** The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`. */
  name: string;
  /** The module's file. */
  path: string;
  /** Whether it is in use. */
  loaded: boolean;
  /** Why it is not. */
  reason?: string;
}

/** What the machine has. Available is what can be used now, not what was compiled. */
export interface Gpu {
  /** The devices, with their memory as it is now; the processor comes last. */
  devices(): Device[];
  /** The backend modules, in the order in which they were tried. */
  backends(): Backend[];
  /** Whether an NVIDIA GPU can be used now. */
  cudaAvailable(): boolean;
  /** Whether Apple's Metal can be used now. */
  metalAvailable(): boolean;
  /** Whether an AMD GPU can be used now through ROCm. */
  rocmAvailable(): boolean;
  /** Whether a GPU can be used now through Vulkan. */
  vulkanAvailable(): boolean;
  /** Whether a GPU can be used now through OpenCL. */
  openclAvailable(): boolean;
  /** Whether a GPU can be used now through SYCL. */
  syclAvailable(): boolean;
  /** How many NVIDIA GPUs can be used now. */
  cudaDeviceCount(): number;
  /** How many AMD GPUs can be used now through ROCm. */
  rocmDeviceCount(): number;
  /** Bytes in use and in all on one NVIDIA GPU; zeros where there is no such GPU. */
  cudaMemoryInfo(index: number): [used: number, total: number];
}

/** What the machine has. */
export const gpu: Readonly<Gpu>;

/** A device that need not be there. */
export interface DeviceDescription {
  /** A card: `RTX 4090`. */
  name?: string;
  /** Its memory, as a size with its unit or in bytes. */
  memory?: string | number;
  /** The backend that it is used by: `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`. */
  backend?: string;
  /** The bandwidth of its memory: `936GB/s`. */
  bandwidth?: string;
  /** What it computes in a second: `165TFLOPS`. */
  compute?: string;
  /** How it is connected: `PCIe 4.0 x16`, or a bandwidth. */
  link?: string;
  /** How many there are. */
  count?: number;
}

/** A model that need not exist: its architecture, and metadata such as `block_count`. */
export interface Shape {
  /** The architecture, as GGUF files name it: `llama`, `qwen3`, ... */
  architecture: string;
  /** The quantisation. Default: `Q4_K_M`. */
  quantization?: string;
  /** Whether the embedding is the output matrix too. Default: false. */
  tied?: boolean;
  /** Whether there are biases. Default: false. */
  biases?: boolean;
  /** Metadata of the architecture. */
  [key: string]: string | number | boolean | number[] | undefined;
}

/** What a device would hold, in bytes. */
export interface PlannedDevice {
  name: string;
  /** What it is. */
  description: string;
  /** Layers; the output layer counts as one. */
  layers: number;
  weights: number;
  /** The KV cache. */
  kv: number;
  /** Buffers to compute in. */
  compute: number;
  /** Bytes that are free before. */
  free: number;
  /** Bytes that are left free where the placement is chosen. */
  margin: number;
}

/** How fast a plan would be. */
export interface Prediction {
  /** Tokens a second, one answer at a time, with an empty context. */
  decodeTps: number;
  /** The same with a full context. */
  decodeTpsFull: number;
  /** Tokens of a prompt a second. */
  prefillTps: number;
  /** Seconds to load the model from a disk. */
  loadSeconds: number;
  /** What takes most of the time of a token: the memory or the computation of a device. */
  boundBy: string;
  /** Where the rates come from, for each device. */
  sources: Record<string, string>;
}

/** Another way to run a model, and what it would come to. */
export interface Alternative {
  /** What is done otherwise, in words. */
  change: string;
  fits: boolean;
  nGpuLayers: number;
  contextSize: number;
  /** Bytes of all tensors. */
  size: number;
  decodeTps?: number;
  /** Options that load the model so; for another quantisation, its own file. */
  options: LoadOptions;
}

/** What would be put where. As text it is a table with bars. */
export class Plan {
  private constructor();
  /** What is planned: its name, its architecture and bytes of all tensors. */
  readonly model: { name?: string; architecture: string; size: number };
  readonly fits: boolean;
  /** Why it does not fit, and what would. */
  readonly refusal?: string;
  /** Layers on GPUs; the output layer counts. */
  readonly nGpuLayers: number;
  /** Layers in all, the output layer included. */
  readonly nLayers: number;
  /** Tokens of context. */
  readonly contextSize: number;
  /** The most tokens of context with which every layer is on GPUs, if there is such a context. */
  readonly maxGpuContextSize?: number;
  /** The number format of keys and values, or of both as a list. */
  readonly kvCacheType: KvCacheType | [KvCacheType, KvCacheType];
  /** Share of each GPU, where there are several. */
  readonly tensorSplit?: number[];
  /** Devices of tensors by pattern, as they were asked for. */
  readonly tensorOverrides?: Record<string, string>;
  /** Of how many layers, from the first on, the experts stay in the machine's own memory. */
  readonly nCpuMoe: number;
  /** The GPUs that hold a part, in the order of their layers. */
  readonly devices: PlannedDevice[];
  /** The machine's own memory. */
  readonly host: PlannedDevice;
  /** Whether more weights stay in the machine's own memory than there is room for. */
  readonly pages: boolean;
  /** How fast it would be, where what the devices can do is known. */
  readonly predicted?: Prediction;
  /** Other settings and quantisations, the best first, where it does not go onto GPUs as a whole. */
  readonly alternatives: Alternative[];
  /** Options that load the model so: `Model.load(source, plan.options)`. */
  readonly options: LoadOptions;
  /** The name of the device that each layer would be on, the output layer's last. */
  readonly layerDevices: string[];
  /** Why each layer is where it is. */
  explain(): string;
  toString(): string;
}

/**
 * Plans where a model would go, and how fast it would be, without reading its weights. `source` is what
 * {@link Model} takes; the address of a GGUF file or a name of Hugging Face, of which the header alone
 * is fetched; or the shape of a model that need not exist.
 */
export function plan(source: string | URL | Shape, options?: PlanOptions): Promise<Plan>;
