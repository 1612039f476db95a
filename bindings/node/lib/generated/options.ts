// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type { Abortable, Progress } from '../abort.js';
import type { Tool, FunctionTool, ToolChoice } from '../tools.js';
import type { Lora, KvCacheType, JsonSchema, ResponseFormat, DeviceDescription } from '../types.js';

/** What a model is loaded with. */
export interface LoadOptions extends Abortable, Progress {
  /**
   * Layers on GPUs: -1 (`All`) all of them, 0 none, N that many, `Auto` what fits. The output
   * layer counts as one. Default: `Auto`.
   */
  nGpuLayers?: number | 'auto';
  /**
   * How a model is divided among several GPUs: `none`, `layer`, `row`, `tensor`.
   * Default: `layer`.
   */
  splitMode?: 'none' | 'layer' | 'row' | 'tensor';
  /** Share of the model for each GPU, in any unit. Default: by free memory. */
  tensorSplit?: number[];
  /**
   * The GPU that holds everything in split mode `none`, by its index.
   * Default: 0.
   */
  mainGpu?: number;
  /**
   * Devices that may be used, by their names; `auto` fills them in this order.
   * Default: all.
   */
  devices?: string[];
  /**
   * Workers on other machines that may be used, as `host:port`; their devices come before this
   * machine's. Default: none.
   */
  rpcServers?: string[];
  /**
   * Devices for tensors, by a pattern (regular expression) over their names, the first that
   * matches; `CPU` is the machine's own memory. Default: none.
   */
  tensorOverrides?: Record<string, string>;
  /**
   * Whether the experts of a mixture stay in the machine's own memory.
   * Default: false.
   */
  cpuMoe?: boolean;
  /**
   * Of how many layers, from the first on, the experts stay in the machine's own memory.
   * Default: 0.
   */
  nCpuMoe?: number;
  /**
   * Whether the file is mapped into memory rather than read.
   * Default: true.
   */
  useMmap?: boolean;
  /**
   * Whether the model is kept from being swapped out.
   * Default: false.
   */
  useMlock?: boolean;
  /**
   * Whether the weights are checked for invalid values while loading.
   * Default: false.
   */
  checkTensors?: boolean;
  /**
   * Whether only the vocabulary is loaded: such a model tokenises and does nothing else.
   * Default: false.
   */
  vocabOnly?: boolean;
  /** Values that replace those of the file's metadata, by key. Default: none. */
  metadataOverrides?: Record<string, string | number | boolean>;
  /**
   * LoRA adapters that requests use where they name none: paths of GGUF files, alone or each with
   * a scale. Default: none.
   */
  lora?: Lora;
  /** A chat template (Jinja) in place of the model's. Default: the model's. */
  chatTemplate?: string;
  /**
   * Tokens of context, shared by all requests that run at once. Default: what the model was
   * trained with, at most 8192.
   */
  contextSize?: number;
  /**
   * Most tokens in one step of the engine (the logical batch); each request that runs has one in
   * any case.
   * Default: 2048.
   */
  batchSize?: number;
  /** Most tokens in one computation (the physical batch). Default: 512. */
  ubatchSize?: number;
  /** Threads that generate. Default: one for each physical core. */
  nThreads?: number;
  /** Threads that process prompts. Default: as many as generate. */
  nThreadsBatch?: number;
  /**
   * Most requests that run at once; the others wait.
   * Default: 4.
   */
  nParallel?: number;
  /**
   * Most tokens of finished requests that are kept in the KV cache, for requests that begin
   * alike. Default: as many as there is room for; 0 keeps none, and requests that run at once share
   * nothing either.
   */
  prefixCache?: number;
  /**
   * Megabytes (MiB) of system RAM for what leaves the KV cache, and for checkpoints: both are copied
   * back instead of computed again. Default: a quarter of what is free when the model is loaded, at
   * most 8192; 0 turns it off.
   */
  cacheRam?: number;
  /**
   * Tokens between checkpoints of memory that cannot be cut: recurrent states and sliding
   * windows. A checkpoint is also made at the end of each prompt and before its last message.
   * 0 makes none.
   * Default: 2048.
   */
  checkpointEvery?: number;
  /**
   * Whether layers with a sliding window keep cells of the whole context. Without, they take much
   * less memory, and prompts share what they begin with up to a checkpoint only.
   * Default: false.
   */
  swaFull?: boolean;
  /**
   * How many times longer a prompt that is being processed may make the time between tokens of
   * other answers.
   * Default: 4.0.
   */
  maxStall?: number;
  /**
   * Type of the KV cache, one or a pair for keys and values: `f32`, `f16`, `bf16`, `q8_0`,
   * `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values need flash attention.
   * Default: `f16`.
   */
  kvCacheType?: KvCacheType | [keys: KvCacheType, values: KvCacheType];
  /**
   * Whether the KV cache of a layer lies on the layer's device, else in the machine's own
   * memory.
   * Default: true.
   */
  offloadKqv?: boolean;
  /** Flash attention: `auto`, `on` or `off`. Default: `auto`. */
  flashAttention?: 'auto' | 'on' | 'off';
  /** Base frequency of the rotary position embedding. Default: the model's. */
  ropeFreqBase?: number;
  /** Scale of the rotary position embedding's frequency. Default: the model's. */
  ropeFreqScale?: number;
  /**
   * Whether a computation of full size is made before the model is ready, so that a lack of
   * memory shows then. Default: where a GPU is used, unless `MULLAMA_WARMUP` is 0.
   */
  warmup?: boolean;
}

/** What a plan takes: as loading does, and what describes hardware. */
export interface PlanOptions extends Omit<LoadOptions, 'devices' | 'onProgress'> {
  /**
   * The GPUs to plan for: names of this machine's devices; or descriptions, such as `RTX 4090`,
   * `2x RTX 3060 12GB`, `M4 Max 64GB`, `24GiB`, or an object with `memory` or `name`, and
   * `backend`, `bandwidth`, `compute`, `link`, `count`. Default: those of this machine.
   */
  devices?: string | DeviceDescription | (string | DeviceDescription)[];
  /**
   * The machine's own memory, as a size with its unit (`64GiB`) or in bytes. Default: what is free
   * here; of a described device that shares it, what the device leaves.
   */
  hostMemory?: string | number;
  /**
   * The bandwidth of the machine's own memory, such as `80GB/s` or `2x DDR5-5600`.
   * Default: measured here.
   */
  hostBandwidth?: string;
  /**
   * Whether other settings and quantisations are planned too where the model does not fit GPUs as
   * a whole.
   * Default: true.
   */
  alternatives?: boolean;
}

/** What a generation is to do. */
export interface GenerateOptions extends Abortable {
  /** Most tokens to generate. Default: to the end that the model chooses, or of the context. */
  maxTokens?: number;
  /**
   * Seconds from the call on after which the generation ends with what there is, as if it were
   * cancelled. Default: none.
   */
  timeout?: number;
  /**
   * Divides the logits before the draw: below 1 sharpens, above 1 flattens, 0 always takes the
   * likeliest token.
   * Default: 0.8.
   */
  temperature?: number;
  /**
   * Keep the K likeliest tokens; 0 keeps all.
   * Default: 40.
   */
  topK?: number;
  /**
   * Keep the likeliest tokens that together have probability P; 1 keeps all.
   * Default: 0.95.
   */
  topP?: number;
  /**
   * Keep tokens at least P times as likely as the likeliest; 0 keeps all.
   * Default: 0.05.
   */
  minP?: number;
  /**
   * Locally typical sampling with mass P (arXiv:2202.00666); 1 is off.
   * Default: 1.0.
   */
  typicalP?: number;
  /**
   * Keep logits within N standard deviations of the highest (arXiv:2411.07641); -1 is off.
   * Default: -1.0.
   */
  topNSigma?: number;
  /**
   * Chance to exclude the top choices; 0 is off.
   * Default: 0.0.
   */
  xtcProbability?: number;
  /**
   * Probability above which a token counts as a top choice for XTC.
   * Default: 0.1.
   */
  xtcThreshold?: number;
  /**
   * Half the width of the range of the dynamic temperature; 0 is off.
   * Default: 0.0.
   */
  dynatempRange?: number;
  /**
   * How entropy maps to the dynamic temperature.
   * Default: 1.0.
   */
  dynatempExponent?: number;
  /**
   * Strength of the DRY penalty against repeated sequences; 0 is off.
   * Default: 0.0.
   */
  dryMultiplier?: number;
  /**
   * Base of the DRY penalty, which grows with the length of a repetition.
   * Default: 1.75.
   */
  dryBase?: number;
  /**
   * Longest repetition, in tokens, that DRY lets pass.
   * Default: 2.
   */
  dryAllowedLength?: number;
  /**
   * Tokens that DRY looks back; 0 is off, -1 the whole context.
   * Default: -1.
   */
  dryPenaltyLastN?: number;
  /**
   * Texts that end a repetition for DRY.
   * Default: newline, `:`, `"` and `*`.
   */
  drySequenceBreakers?: string[];
  /**
   * Mirostat (arXiv:2007.14966), version 1 or 2, in place of the truncating samplers; 0 is off.
   * Default: 0.
   */
  mirostat?: number;
  /**
   * Mirostat's target surprise, in bits.
   * Default: 5.0.
   */
  mirostatTau?: number;
  /**
   * Mirostat's learning rate.
   * Default: 0.1.
   */
  mirostatEta?: number;
  /**
   * Divides the logits of recent tokens; 1 is off.
   * Default: 1.0.
   */
  repeatPenalty?: number;
  /**
   * Taken from a recent token's logit for each time it occurred; 0 is off.
   * Default: 0.0.
   */
  frequencyPenalty?: number;
  /**
   * Taken from a recent token's logit if it occurred at all; 0 is off.
   * Default: 0.0.
   */
  presencePenalty?: number;
  /**
   * Tokens that the three penalties look back, the prompt's included; 0 is off, -1 the whole
   * context.
   * Default: 64.
   */
  repeatLastN?: number;
  /**
   * Added to the logits of tokens, by id; `false` in place of a number forbids the token.
   * Default: none.
   */
  logitBias?: Record<number, number | false>;
  /**
   * Seed of the draw: the same seed gives the same text, as long as no other request runs beside it
   * (what is computed together differs in the last bits). Such a prompt is always computed anew.
   * Default: a random one.
   */
  seed?: number;
  /** Texts that end the generation; they are not part of the result. Default: none. */
  stop?: string | string[];
  /**
   * Whether to go on when the model says that it is done.
   * Default: false.
   */
  ignoreEos?: boolean;
  /** A grammar (GBNF) that the text must follow. Default: none. */
  grammar?: string;
  /** A JSON schema that the text must follow. Default: none. */
  jsonSchema?: JsonSchema;
  /**
   * LoRA adapters for this request in place of the model's: paths of GGUF files, alone or each with
   * a scale; an empty list is the model without any. Default: what the model was loaded with, or
   * `set_lora` set since.
   */
  lora?: Lora;
  /**
   * Most tokens to guess ahead in a step, from what followed in the text where it went the same way
   * before (prompt lookup decoding). Each is held against the model's own choice, so that the text
   * stays what it would be, but for ties: what is computed together differs in the last bits.
   * Pays where answers repeat what the prompt says.
   * Default: 0, which is off.
   */
  promptLookup?: number;
  /**
   * Report log probabilities: of each token and of this many likeliest alternatives.
   * Default: off.
   */
  logprobs?: number;
}

/** What a chat is to do: as any generation, and what only a chat has. */
export interface ChatOptions extends GenerateOptions {
  /**
   * Tools that the model may call, in OpenAI's shape; functions too, in Python and Node.js.
   * Default: none.
   */
  tools?: (Tool | FunctionTool)[];
  /**
   * Whether tools are called: `auto`, `none`, `required`, or one by name as
   * `{"type": "function", "function": {"name": ...}}`. Default: `auto`.
   */
  toolChoice?: ToolChoice;
  /**
   * Whether several tools may be called in one answer.
   * Default: false.
   */
  parallelToolCalls?: boolean;
  /**
   * `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "json_schema":
   * {"schema": ...}}`. Default: text.
   */
  responseFormat?: ResponseFormat;
  /**
   * Whether a model that can reason does so before it answers.
   * Default: true.
   */
  reasoning?: boolean;
  /**
   * Most tokens of reasoning: when they are spent, it is ended with the tag of the model's own
   * template, and the answer follows. Default: none.
   */
  reasoningBudget?: number;
  /**
   * Whether special tokens that are written out in messages, tools and arguments count as such. Else
   * they are text, so that nobody who writes a message can end it and begin another.
   * Default: false.
   */
  parseSpecial?: boolean;
  /** Arguments for the chat template. Default: none. */
  templateKwargs?: Record<string, unknown>;
}

/** What an embedding is to do. */
export interface EmbedOptions extends Abortable {
  /**
   * How the vectors of a text's tokens become one: `mean` (their average), `cls` (the first),
   * `last` (the last), `none` (all are given, as a matrix), or `rank` (the scores of a
   * classification head). Default: the model's, else `mean`.
   */
  pooling?: 'mean' | 'cls' | 'last' | 'none' | 'rank';
  /** Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`. */
  normalize?: boolean;
  /**
   * How many numbers of each vector are kept, from the first on, for models that were trained
   * for it (Matryoshka); it is scaled afterwards. Default: all.
   */
  dimensions?: number;
  /**
   * What becomes of a text with more tokens than the model takes: `none` (it is refused), `end`
   * or `start` (that part of it is cut off, and `usage` says how much). Default: `none`.
   */
  truncate?: 'none' | 'end' | 'start';
  /**
   * Whether the tokens are added that the model expects around a text.
   * Default: true.
   */
  addSpecial?: boolean;
  /**
   * Whether special tokens that are written out in a text count as such.
   * Default: false.
   */
  parseSpecial?: boolean;
  /** Seconds after which the call gives up. Default: none. */
  timeout?: number;
}

/** What a reranking is to do. */
export interface RerankOptions extends Abortable {
  /** How many of the best documents are given. Default: all. */
  topN?: number;
  /**
   * What becomes of a document that has, with the query, more tokens than the model takes: `none`
   * (it is refused), `end` or `start` (that part of the document is cut off, and `usage` says how
   * much). Default: `none`.
   */
  truncate?: 'none' | 'end' | 'start';
  /** Seconds after which the call gives up. Default: none. */
  timeout?: number;
}
