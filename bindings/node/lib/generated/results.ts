// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type { KvCacheType } from '../types.js';
import type { LoadOptions } from './options.js';

/** An alternative way to run a model, and its effect. */
export interface Alternative {
  /** The changed setting: `kv_cache_type q8_0`, `Q3_K_M`. */
  change: string;
  /** Whether it fits. */
  fits: boolean;
  /** Number of layers on GPUs; the output layer counts as one. */
  nGpuLayers: number;
  /** Context size in tokens. */
  contextSize: number;
  /** Size of all tensors in bytes. */
  size: number;
  /** Tokens per second, if they can be predicted. */
  decodeTps?: number;
  /** Options that load the model as planned; another quantisation needs its own file. */
  options: LoadOptions;
}

/** A backend module that was found, and its status. */
export interface Backend {
  /** The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`. */
  name: string;
  /** The module's file. */
  path: string;
  /** Whether it is in use. */
  loaded: boolean;
  /** The reason why it is not. */
  reason?: string;
}

/** The tasks that a model supports. */
export interface Capabilities {
  /** Text can be generated. */
  generate: boolean;
  /** There is a chat template. */
  chat: boolean;
  /** The chat template supports tools. */
  tools: boolean;
  /** The chat template can switch reasoning on and off. */
  reasoning: boolean;
  /** Texts can be embedded. */
  embed: boolean;
  /** Messages can have pictures: there is a projector. */
  vision: boolean;
  /** Documents can be ranked: there is a classification head. */
  rerank: boolean;
  /** Limits of pictures, if messages can have any. */
  mediaLimits?: MediaLimits;
}

/** A device that the engine can compute on. */
export interface Device {
  /** The name in the engine and in placement options: `CPU`, `CUDA0`, `Vulkan1`. */
  name: string;
  /** The vendor's name of the device. */
  description: string;
  /** The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`. */
  backend: string;
  /** What the device is. */
  kind: 'cpu' | 'gpu' | 'igpu' | 'accelerator';
  /** Bytes of memory that are free now. */
  memoryFree: number;
  /** Total memory in bytes. */
  memoryTotal: number;
  /**
   * The active CPU kernels and their instruction set, or the reason why the engine's kernels are
   * used; absent for other devices.
   */
  kernels?: string;
}

/** The part of a model on one device, in allocated bytes. */
export interface DeviceShare {
  /** The device's name; `CPU` is system RAM. */
  name: string;
  /** Number of layers; the output layer counts as one. */
  layers: number;
  /** Bytes of weights. */
  weights: number;
  /** Bytes of KV cache. */
  kv: number;
  /** Bytes of compute buffers. */
  compute: number;
  /** Bytes of the draft model: its weights, KV cache and compute buffers. */
  draft: number;
  /**
   * Bytes of the projector: its weights and compute buffers. They are allocated when it is
   * loaded (`loadProjector`).
   */
  projector: number;
}

/** Token counts of an embedding or a reranking. */
export interface EmbeddingUsage {
  /** Computed tokens of all inputs. */
  promptTokens: number;
  /** Tokens removed because an input was too long. */
  truncatedTokens: number;
}

/** One of the most likely tokens at a position. */
export interface Logprob {
  /** The token. */
  token: number;
  /** Its text; a part of a character shows as U+FFFD. */
  text: string;
  /** Its bytes. */
  bytes: number[];
  /** Natural logarithm of its probability, before sampling options are applied. */
  logprob: number;
}

/** Limits of pictures in messages. Those that are not given are the default ones. */
export interface MediaLimits {
  /** Pixels of a picture. */
  pixels: number;
  /** Bytes of the file of a picture. */
  bytes: number;
  /** Pictures in the messages of a chat. */
  pictures: number;
}

/** The placement of a loaded model: the devices with a part of it; system RAM is last. */
export interface Placement {
  /** The part on each device. */
  devices: DeviceShare[];
}

/** A planned placement. `Display` formats it as a table with bars. */
export interface PlanFields {
  /** The planned model. */
  model: { name?: string; architecture: string; size: number };
  /** Whether it fits. */
  fits: boolean;
  /** The reason why it does not, and settings that would. */
  refusal?: string;
  /** Number of layers on GPUs; the output layer counts as one. */
  nGpuLayers: number;
  /** Total number of layers, including the output layer. */
  nLayers: number;
  /** Context size in tokens. */
  contextSize: number;
  /**
   * The largest context size, in tokens, with which all layers are on GPUs, up to the larger of
   * the training context and the requested one. None if there is no such size, or if no
   * alternatives were requested.
   */
  maxGpuContextSize?: number;
  /** The data types of keys and values. */
  kvCacheType: KvCacheType | [keys: KvCacheType, values: KvCacheType];
  /** Share of each GPU, if there are several. */
  tensorSplit?: number[];
  /** Devices of tensors by pattern, as requested. */
  tensorOverrides?: Record<string, string>;
  /** Number of layers, from the first on, whose experts are in system RAM. */
  nCpuMoe: number;
  /** The GPUs with a part of the model, in the order of their layers. */
  devices: PlannedDevice[];
  /** System RAM. */
  host: PlannedDevice;
  /**
   * Whether the weights in system RAM exceed the available memory, so that they are read from
   * the file again and again.
   */
  pages: boolean;
  /** The predicted speed, if the performance of the devices is known. */
  predicted?: Prediction;
  /**
   * What the predicted speed is suitable for: `chat` from 8 tokens per second on, `batch` from 2
   * on, else `too_slow`. None if the model does not fit or no speed is predicted.
   */
  verdict?: 'chat' | 'batch' | 'too_slow';
  /**
   * Advice on this placement, one sentence each: which GPUs are not used, whether partial
   * offloading is worthwhile, whether a smaller quantisation is the better choice, and how much
   * system RAM is needed in addition to the GPUs.
   */
  advice: string[];
  /**
   * Other settings and quantisations of the model, best first, if it does not fit on GPUs
   * completely.
   */
  alternatives: Alternative[];
  /**
   * Options that load the model as planned. Described devices are not included: the model is
   * loaded on the devices of the machine, in their order.
   */
  options: LoadOptions;
}

/** The planned part of a model on one device, in bytes. */
export interface PlannedDevice {
  /** The device's name. */
  name: string;
  /** What it is. */
  description: string;
  /** Number of layers; the output layer counts as one. */
  layers: number;
  /** Bytes of weights. */
  weights: number;
  /** Bytes of KV cache. */
  kv: number;
  /** Bytes of compute buffers. */
  compute: number;
  /** Bytes of the draft model: its weights, KV cache and compute buffers. */
  draft: number;
  /** Bytes of the projector: its weights and compute buffers. */
  projector: number;
  /** Bytes that are free before loading. */
  free: number;
  /** Bytes that automatic placement leaves free. */
  margin: number;
}

/** The predicted speed of a plan. */
export interface Prediction {
  /** Tokens per second for a single request, with an empty context. */
  decodeTps: number;
  /** The same with a full context. */
  decodeTpsFull: number;
  /** Prompt tokens per second. */
  prefillTps: number;
  /** Seconds to load the model from a disk. */
  loadSeconds: number;
  /** The bottleneck of generation: the memory bandwidth or the compute of a device. */
  boundBy: string;
  /** The source of the rates, for each device. */
  sources: Record<string, string>;
}

/** The progress of prompt processing. */
export interface PromptProgress {
  /** Tokens processed so far, including those from the cache. */
  computed: number;
  /** Tokens of the prompt. */
  total: number;
  /** Tokens that were reused from the cache. */
  cached: number;
}

/** A document with its score. */
export interface RankedDocument {
  /** Index of the document, counted from 0. */
  index: number;
  /**
   * How well the document answers the query: higher is better. The range of scores depends on
   * the model.
   */
  score: number;
}

/** An active request. */
export interface RequestInfo {
  /** Its id, which no other active request of the model has: `requestId`, or else a number. */
  id: string;
  /** Its state. */
  state: 'waiting' | 'prompt' | 'generating';
  /** Its client (`client`). */
  client?: string;
  /** Its priority. */
  priority: number;
  /** Number of prompt tokens. */
  promptTokens: number;
  /** Prompt tokens processed so far, including those from the cache. */
  computedTokens: number;
  /** Tokens generated so far. */
  completionTokens: number;
  /** Milliseconds since the call. */
  elapsedMs: number;
}

/** Documents sorted by how well they answer a query, best first. */
export interface RerankingFields {
  /** The documents; those with equal scores are in their original order. */
  results: RankedDocument[];
  /** Tokens of the query and the documents; the query is counted once per document. */
  usage: EmbeddingUsage;
}

/** Statistics since a model was loaded, and its current load. */
export interface Stats {
  /** Requests that are running. */
  running: number;
  /** Requests that are waiting. */
  waiting: number;
  /** Requests that have ended for any reason. */
  finished: number;
  /** Steps of the engine. */
  steps: number;
  /** Prompt tokens that were computed. */
  promptTokens: number;
  /** Prompt tokens that were reused from the cache. */
  cachedTokens: number;
  /** Tokens that were generated. */
  completionTokens: number;
  /** Drafted tokens: by a draft model or by prompt lookup. */
  draftedTokens: number;
  /** Drafted tokens that were accepted. */
  acceptedTokens: number;
  /** Cells of the KV cache in use. */
  kvUsed: number;
  /** Cells of the KV cache that only cache finished requests; updated when no request is running. */
  kvKept: number;
  /** Cached tokens that were evicted to make room. */
  evictedTokens: number;
  /** Evicted tokens that were copied back to the KV cache (`cacheRam`). */
  restoredTokens: number;
  /** How often a request released its cells and was recomputed later. */
  preemptions: number;
  /** Embedded texts and scored documents. */
  embeddedInputs: number;
  /** Tokens of these texts and documents. */
  embeddedTokens: number;
  /** Batches of texts and documents. */
  embeddingSteps: number;
}

/** The exact reason why a generation ended. */
export interface StopReason {
  /** The kind of reason. */
  kind: 'stop_text' | 'end_token' | 'max_tokens' | 'context_size' | 'timeout' | 'cancelled';
  /** The stop sequence that was found, or the text of the end token. */
  text?: string;
  /** The end token. */
  token?: number;
}

/** Times of a request, in milliseconds, and rates, in tokens per second. */
export interface Timings {
  /** From the call to the start of prompt processing. */
  queueMs: number;
  /** Prompt processing. */
  promptMs: number;
  /** From the call to the first token. */
  firstTokenMs: number;
  /** From the call to the end. */
  totalMs: number;
  /** Prompt tokens per second of prompt processing. */
  promptTps: number;
  /** Generated tokens per second, after the first one. */
  decodeTps: number;
}

/** A token that was generated, with its log probability. */
export interface TokenLogprob {
  /** The token. */
  token: number;
  /** Its text; a part of a character shows as U+FFFD. */
  text: string;
  /** Its bytes. */
  bytes: number[];
  /** Natural logarithm of its probability, before sampling options are applied. */
  logprob: number;
  /** The most likely tokens at this position, most likely first. */
  top: Logprob[];
}

/** A new part of one tool call. The first part of a call has its id and name. */
export interface ToolCallDelta {
  /** Index of the call within the answer. */
  index: number;
  /** The id of the call, which its result refers to. */
  id?: string;
  /** The tool's name. */
  name?: string;
  /** New text of the arguments. */
  arguments: string;
}

/** A call that the caller of a [`Turn`](crate::Turn) must make. */
export interface ToolRequest {
  /** The id of the call. */
  id: string;
  /** The tool's name; one of the callable tools. */
  name: string;
  /** The arguments, which follow the tool's schema. */
  arguments: Record<string, unknown>;
}

/** Token counts of a request. */
export interface Usage {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Prompt tokens that were reused from the cache. */
  cachedTokens: number;
  /** Prompt tokens that belong to pictures. */
  imageTokens: number;
  /** Generated tokens, including a final end-of-generation token. */
  completionTokens: number;
  /** Generated tokens that were reasoning, without its tags; only for chats. */
  reasoningTokens: number;
  /** Drafted tokens: by a draft model or by prompt lookup. */
  draftedTokens: number;
  /** Drafted tokens that were accepted. */
  acceptedTokens: number;
  /** The oldest messages of a chat, which `overflow` left out of the prompt or replaced by a summary. */
  droppedMessages: number;
  /** Tokens that `overflow` left out of the prompt, or dropped from the context. */
  droppedTokens: number;
}
