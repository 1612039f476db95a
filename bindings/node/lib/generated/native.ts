// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type { Text, Json, Options, TextOrTokens, Deliver } from '../arguments.js';
import type { Compacted } from '../compacted.js';
import type { Buffer } from '../globals.js';
import type { Message } from '../messages.js';
import type { Process } from '../processors.js';
import type { Completion, ChatCompletion } from '../results.js';
import type { GenerateOptions } from './options.js';
import type {
  Backend,
  Capabilities,
  Device,
  EmbeddingUsage,
  Placement,
  PlanFields,
  RequestInfo,
  RerankingFields,
  Stats,
  ToolRequest,
  Usage,
} from './results.js';

/** Stops all engines, and waits for active calls. */
export declare function shutDown(): void;

/** Cancels a request, also one that has not started. */
export declare class Cancel {
  constructor();
  cancel(): void;
}

/**
 * Runs the command and returns its exit status: `arguments` begin with its name, `itself` is the
 * command line that starts it again.
 */
export declare function runCommand(arguments: Array<string>, itself: Array<string>): number;

/** The vectors of some texts. */
export interface Embedded {
  /** All numbers, vector after vector. */
  values: Float32Array;
  /** The vector that each text begins with. */
  starts: Array<number>;
  /** Numbers in a vector. */
  dimensions: number;
  /** Tokens of each text that were computed. */
  tokenCounts: Array<number>;
  /** How the token vectors of a text were combined. */
  pooling: 'mean' | 'cls' | 'last' | 'none' | 'rank';
  /** Whether each vector has been scaled to length 1. */
  normalized: boolean;
  /** Tokens of the texts. */
  usage: EmbeddingUsage;
}

export declare namespace gpu {
  export function devices(): Array<Device>;
}

export declare namespace gpu {
  export function backends(): Array<Backend>;
}

export declare namespace gpu {
  export function cudaAvailable(): boolean;
}

export declare namespace gpu {
  export function metalAvailable(): boolean;
}

export declare namespace gpu {
  export function rocmAvailable(): boolean;
}

export declare namespace gpu {
  export function vulkanAvailable(): boolean;
}

export declare namespace gpu {
  export function openclAvailable(): boolean;
}

export declare namespace gpu {
  export function syclAvailable(): boolean;
}

export declare namespace gpu {
  export function cudaDeviceCount(): number;
}

export declare namespace gpu {
  export function rocmDeviceCount(): number;
}

export declare namespace gpu {
  export function cudaMemoryInfo(index: number): [number, number];
}

export declare class NativeModel {
  generate(
    prompt: TextOrTokens,
    options: Options,
    process: Process | undefined | null,
    cancel: Cancel,
  ): Promise<Completion>;
  stream(
    prompt: TextOrTokens,
    options: Options,
    process: Process | undefined | null,
    deliver: Deliver,
  ): Generation;
  chat(
    messages: Json,
    options: Options,
    process: Process | undefined | null,
    cancel: Cancel,
  ): Promise<ChatCompletion>;
  streamChat(
    messages: Json,
    options: Options,
    process: Process | undefined | null,
    deliver: Deliver,
  ): Generation;
  embed(texts: Array<TextOrTokens>, options: Options, cancel: Cancel): Promise<Embedded>;
  rerank(
    query: Text,
    documents: Array<Text>,
    options: Options,
    cancel: Cancel,
  ): Promise<RerankingFields>;
  /** The replacement of the oldest turns of a conversation; null if it fits. */
  compact(
    history: Json,
    said: Json,
    options: Options,
    summarizes: boolean,
  ): Promise<Compacted | undefined | null>;
  applyChatTemplate(messages: Json, options: Options): string;
  tokenize(text: Text, options: Options): Array<number>;
  detokenize(tokens: Int32Array, options: Options): string;
  countTokens(text: Text): number;
  setLora(lora: Json): Promise<undefined>;
  saveState(prompt: TextOrTokens, path?: Text | undefined | null): Promise<Buffer>;
  loadState(state: Text | Uint8Array): Promise<number>;
  /** Frees the model. Blocks the calling thread until the current step is computed. */
  closeNow(): void;
  /** Frees the model on another thread. */
  close(options: Options): Promise<undefined>;
  requests(): Array<RequestInfo>;
  cancelRequest(id: Text): boolean;
  stats(): Stats;
  get defaultOptions(): GenerateOptions;
  get architecture(): string;
  get capabilities(): Capabilities;
  get chatTemplate(): string | null;
  get contextSize(): number;
  get description(): string;
  get gpuLayers(): number;
  get isClosed(): boolean;
  get metadata(): Record<string, string>;
  get nEmbd(): number;
  get nLayers(): number;
  get nParams(): number;
  get nVocab(): number;
  get name(): string | null;
  get path(): string;
  get placement(): Placement;
  get size(): number;
}

/** Loads a model. Blocks the calling thread. */
export declare function loadNow(
  source: Text,
  options: Options,
  progress: (arg: number) => boolean,
): NativeModel;

/** Loads a model on another thread. */
export declare function load(
  source: Text,
  options: Options,
  progress: (arg: number) => boolean,
): Promise<NativeModel>;

/** Validates the options of a chat before its first request. */
export declare function checkChatOptions(options: Options): void;

/** Adds the folders of packages with GPU backends. */
export declare function addBackendDirs(dirs: Array<Text>): void;

/** The folder of the engine that this process uses, if it is not the addon's own. */
export declare function engineElsewhere(own: Text): string | null;

/** A plan, with the results of its methods. */
export interface Planned {
  plan: PlanFields;
  layerDevices: Array<string>;
  table: string;
  reasons: string;
}

/** Plans on another thread. The source is a string, or the fields of a shape. */
export declare function plan(source: Json, options: Options): Promise<Planned>;

/** The progress of a pull. */
export interface PullProgress {
  /** The current phase; `waiting` is for another pull of the same file. */
  phase: 'resolving' | 'waiting' | 'downloading' | 'verifying' | 'done';
  /** Bytes downloaded so far, including earlier runs. */
  completed: number;
  /** Total bytes of all files; 0 while unknown. */
  total: number;
  /** The completed fraction, from 0 to 1. */
  fraction: number;
  /** Current bytes per second; 0 while unknown. */
  speed: number;
  /** Remaining seconds at this speed. */
  eta?: number;
}

/** A model of the local store. */
export interface StoredModel {
  /** The name, by which the model is loaded. */
  name: string;
  /** The id shown in lists: 12 digits. */
  id: string;
  /** Bytes of all its files. */
  size: number;
  /** The file of the weights; the first of a split model. */
  path: string;
}

/** Pulls on another thread. If it is cancelled, the next pull resumes the download. */
export declare function pull(
  name: Text,
  options: Options,
  progress: (arg: PullProgress) => boolean,
  cancel: Cancel,
): Promise<StoredModel>;

/** The options of each set, with their names, types in TypeScript and documentation. */
export declare function _optionSpecs(): unknown;

/** A generation. It is cancelled when it is garbage-collected. */
export declare class Generation {
  /** Starts it at the first call. An unread stream is not computed, and uses no sequence. */
  begin(): void;
  /** Stops it. The text generated so far is still delivered. */
  cancel(): void;
  /** Stops it. Nothing more is delivered. */
  close(): void;
}

/** One turn of a conversation. */
export declare class Turn {
  constructor(
    history: Json,
    said: Json,
    tools: Json,
    callable: Array<Text>,
    maxRounds?: number | undefined | null,
  );
  /** The turn that replaces messages by a summary. */
  static summary(summary: Text): Array<Message>;
  /** How many messages a summary replaced. */
  noteDropped(messages: number): void;
  /** The messages to send to the model. */
  messages(): Array<Message>;
  /** The messages that the turn adds to the conversation. */
  newMessages(): Array<Message>;
  get isOver(): boolean;
  /** Token counts of all requests so far. */
  get usage(): Usage;
  /** Records an answer, as `{ message, finishReason, usage }`, and returns its tool calls. */
  recordAnswer(answer: Json): Array<ToolRequest>;
  /** Records the results of the calls, as `{ text, failed }`. */
  recordToolResults(outputs: Json): void;
}
