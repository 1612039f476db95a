// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type {
  Deliver,
  Index,
  Inputs,
  Json,
  Messages,
  Options,
  Plain,
  Reranking,
  State,
  Text,
  Texts,
} from '../addon.js';
import type { Message } from '../messages.js';
import type { ChatCompletion, Completion } from '../results.js';
import type { Lora, Prompt, Tokens } from '../types.js';
import type { GenerateOptions } from './options.js';
import type {
  Backend,
  Capabilities,
  Device,
  EmbeddingUsage,
  Placement,
  PlanFields,
  Stats,
  ToolRequest,
  Usage,
} from './results.js';

/** Stops all engines, and waits for the calls that are under way. */
export declare function shutDown(): void;

/** Cancels a request, also one that has not started. */
export declare class Cancel {
  constructor();
  cancel(): void;
}

export interface Embedded {
  /** All numbers, vector after vector. */
  values: Float32Array;
  /** The vector that each text begins with. */
  starts: Array<number>;
  dimensions: number;
  tokenCounts: Array<number>;
  pooling: string;
  normalized: boolean;
  usage: Plain<EmbeddingUsage>;
}

export declare namespace gpu {
  export function devices(): Plain<Array<Device>>;
}

export declare namespace gpu {
  export function backends(): Plain<Array<Backend>>;
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
  export function cudaMemoryInfo(index: Index): [number, number];
}

export declare class NativeModel {
  generate(prompt: Prompt, options: Options, cancel: Cancel): Promise<Plain<Completion>>;
  stream(prompt: Prompt, options: Options, deliver: Deliver): Generation;
  chat(messages: Messages, options: Options, cancel: Cancel): Promise<Plain<ChatCompletion>>;
  streamChat(messages: Messages, options: Options, deliver: Deliver): Generation;
  embed(texts: Inputs, options: Options, cancel: Cancel): Promise<Embedded>;
  rerank(
    query: Text,
    documents: Texts,
    options: Options,
    cancel: Cancel,
  ): Promise<Plain<Reranking>>;
  applyChatTemplate(messages: Messages, options: Options): string;
  tokenize(text: Text, options: Options): Array<number>;
  detokenize(tokens: Tokens, options: Options): string;
  countTokens(text: Text): number;
  setLora(lora: Lora): Promise<undefined>;
  saveState(prompt: Prompt, path?: Text | undefined | null): Promise<Buffer>;
  loadState(state: State): Promise<number>;
  /** Frees the model while the caller waits for the step that is being computed. */
  closeNow(): void;
  /** Frees the model on another thread. */
  close(options: Options): Promise<undefined>;
  stats(): Plain<Stats>;
  get defaultOptions(): Plain<GenerateOptions>;
  get architecture(): string;
  get capabilities(): Plain<Capabilities>;
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
  get placement(): Plain<Placement>;
  get size(): number;
}

/** Loads a model while the caller waits. */
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

/** Says what is wrong with the options of a chat before anything is asked. */
export declare function checkChatOptions(options: Options): void;

/** Adds the folders of packages with GPU backends. */
export declare function addBackendDirs(dirs: Array<Text>): void;

/** The folder of the engine that this process uses, where that is not the one of this addon. */
export declare function engineElsewhere(own: Text): string | null;

/** A plan, with what its methods give. */
export interface Planned {
  plan: Plain<PlanFields>;
  layerDevices: Array<string>;
  table: string;
  reasons: string;
}

/** Plans on another thread. `source` is text, or `shape` the fields of a shape. */
export declare function plan(
  source: Text | undefined | null,
  shape: Options,
  options: Options,
): Promise<Planned>;

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

/** Pulls on another thread. What has come when it is cancelled stays for the next. */
export declare function pull(
  name: Text,
  options: Options,
  progress: (arg: PullProgress) => boolean,
  cancel: Cancel,
): Promise<StoredModel>;

/** The options of each set, with their names, types in Rust and documentation. */
export declare function _optionSpecs(): any;

/** A generation under way. It is cancelled when it is collected as garbage. */
export declare class Generation {
  /** Stops it; what there is of the answer still comes. */
  cancel(): void;
  /** Stops it, and nothing comes any more. */
  close(): void;
}

/** One turn of a conversation. */
export declare class Turn {
  constructor(
    history: Messages,
    said: Messages,
    tools: Json,
    callable: Array<Text>,
    maxRounds?: number | undefined | null,
  );
  /** What to ask the model about. */
  messages(): Plain<Array<Message>>;
  /** What the turn adds to the conversation. */
  newMessages(): Plain<Array<Message>>;
  get isOver(): boolean;
  /** Tokens of all requests so far. */
  get usage(): Plain<Usage>;
  /** Takes an answer; gives the calls that it asks for. */
  recordAnswer(message: Messages, finishReason: Text, usage: Json): Plain<Array<ToolRequest>>;
  /** Takes what the calls gave, as `{ text, failed }`. */
  recordToolResults(outputs: Json): void;
}
