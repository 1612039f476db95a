// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type { KvCacheType } from '../types.js';
import type { LoadOptions } from './options.js';

/** Another way to run a model, and what it would come to. */
export interface Alternative {
  /** What is done otherwise, in words: `kv_cache_type q8_0`, `Q3_K_M`. */
  change: string;
  /** Whether it fits. */
  fits: boolean;
  /** Layers on GPUs; the output layer counts. */
  nGpuLayers: number;
  /** Tokens of context. */
  contextSize: number;
  /** Bytes of all tensors. */
  size: number;
  /** Tokens a second, where they can be predicted. */
  decodeTps?: number;
  /** Options that load the model so; for another quantisation, its own file. */
  options: LoadOptions;
}

/** A backend module that was found, and what became of it. */
export interface Backend {
  /** The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`. */
  name: string;
  /** The module's file. */
  path: string;
  /** Whether it is in use. */
  loaded: boolean;
  /** Why it is not. */
  reason?: string;
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

/** A device that the engine can compute on. */
export interface Device {
  /** The engine's name: `CPU`, `CUDA0`, `Vulkan1`. Placement options name devices by it. */
  name: string;
  /** The maker's name of the device. */
  description: string;
  /** The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`. */
  backend: string;
  /** What the device is. */
  kind: 'cpu' | 'gpu' | 'igpu' | 'accelerator';
  /** Bytes of memory that are free now. */
  memoryFree: number;
  /** Bytes of memory in all. */
  memoryTotal: number;
  /**
   * Whose kernels compute on the processor, and with which instructions, or why the engine's own do; nothing for
   * other devices.
   */
  kernels?: string;
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

/** Tokens that an embedding or a reranking took. */
export interface EmbeddingUsage {
  /** Tokens that were computed, of all inputs. */
  promptTokens: number;
  /** Tokens that were cut off because an input was too long. */
  truncatedTokens: number;
}

/** One of the likeliest tokens at a place. */
export interface Logprob {
  /** The token. */
  token: number;
  /** Its text; a part of a character shows as U+FFFD. */
  text: string;
  /** Natural logarithm of its probability, before any sampling option. */
  logprob: number;
}

/** Where a loaded model is: the devices that hold a part of it, the machine's own memory last. */
export interface Placement {
  /** What each device holds. */
  devices: DeviceShare[];
}

/** What would be put where. `Display` gives it as a table with bars. */
export interface PlanFields {
  /** What is planned. */
  model: { name?: string; architecture: string; size: number };
  /** Whether it fits. */
  fits: boolean;
  /** Why it does not, and what would. */
  refusal?: string;
  /** Layers on GPUs; the output layer counts. */
  nGpuLayers: number;
  /** Layers in all, the output layer included. */
  nLayers: number;
  /** Tokens of context. */
  contextSize: number;
  /**
   * The most tokens of context, of those that the model was trained with, with which every layer is on
   * GPUs. None where there is no such context, and where no alternatives are asked for.
   */
  maxGpuContextSize?: number;
  /** The number formats of keys and values. */
  kvCacheType: KvCacheType | [keys: KvCacheType, values: KvCacheType];
  /** Share of each GPU, where there are several. */
  tensorSplit?: number[];
  /** Devices of tensors by pattern, as they were asked for. */
  tensorOverrides?: Record<string, string>;
  /** Of how many layers, from the first on, the experts stay in the machine's own memory. */
  nCpuMoe: number;
  /** The GPUs that hold a part, in the order of their layers. */
  devices: PlannedDevice[];
  /** The machine's own memory. */
  host: PlannedDevice;
  /**
   * Whether more weights stay in the machine's own memory than there is room for, so that they are
   * read from the file again and again.
   */
  pages: boolean;
  /** How fast it would be, where what the devices can do is known. */
  predicted?: Prediction;
  /**
   * Other settings and other quantisations of the model, the best first, where it does not go onto
   * GPUs as a whole.
   */
  alternatives: Alternative[];
  /**
   * Options that load the model so. Described devices are not among them: the model is loaded on
   * those that are there, in their order.
   */
  options: LoadOptions;
}

/** What a device would hold, in bytes. */
export interface PlannedDevice {
  /** The device's name. */
  name: string;
  /** What it is. */
  description: string;
  /** Layers; the output layer counts as one. */
  layers: number;
  /** Bytes of weights. */
  weights: number;
  /** Bytes of KV cache. */
  kv: number;
  /** Bytes of buffers to compute in. */
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

/** Documents by how well they answer a query, the best first. */
export interface RerankingFields {
  /** The documents; those with equal scores in the order in which they were given. */
  results: RankedDocument[];
  /** Tokens that the query and the documents took; the query counts with each document. */
  usage: EmbeddingUsage;
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
  /** Tokens of the prompt per second of its computation. */
  promptTps: number;
  /** Tokens after the first per second. */
  decodeTps: number;
}

/** A token that was generated, with its log probability. */
export interface TokenLogprob {
  /** The token. */
  token: number;
  /** Its text; a part of a character shows as U+FFFD. */
  text: string;
  /** Natural logarithm of its probability, before any sampling option. */
  logprob: number;
  /** The likeliest tokens at its place, likeliest first. */
  top: Logprob[];
}

/** What is new in one tool call. The first delta of a call has its id and name. */
export interface ToolCallDelta {
  /** Which of the answer's calls. */
  index: number;
  /** Names the call, for the result to refer to. */
  id?: string;
  /** The tool's name. */
  name?: string;
  /** New text of the arguments. */
  arguments: string;
}

/** A call that the caller of a [`Turn`](crate::Turn) is to make. */
export interface ToolRequest {
  /** Names the call. */
  id: string;
  /** The tool's name; it is among those that can be called. */
  name: string;
  /** What to call it with: follows the tool's schema. */
  arguments: Record<string, unknown>;
}

/** Tokens that a request took. */
export interface Usage {
  /** Tokens of the prompt. */
  promptTokens: number;
  /** Tokens of the prompt that had been computed before. */
  cachedTokens: number;
  /** Tokens that were generated; a closing end-of-generation token counts. */
  completionTokens: number;
}
