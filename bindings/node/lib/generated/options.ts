// Written by generate-types.mjs from what is declared in Rust: change that, not this.

import type { Abortable, Progress } from '../abort.js';
import type { LogitsProcessor } from '../processors.js';
import type { Tool, FunctionTool, ToolChoice } from '../tools.js';
import type {
  Lora,
  KvCacheType,
  SamplerKind,
  JsonSchema,
  ResponseFormat,
  DeviceDescription,
} from '../types.js';

/** Settings of the CUDA backend. */
export interface CudaSettings {
  /** Whether kernels are launched together, as CUDA graphs. Default: true. */
  graphs?: boolean;
  /** Whether consecutive operations are fused into one kernel. Default: true. */
  fusion?: boolean;
  /**
   * Minimum number of tokens in a step for which products with weights in system RAM are computed on the
   * GPU. Default: 32.
   */
  offloadMinBatch?: number;
  /**
   * How the results of several GPUs are added up in split mode `tensor`: `internal` (two GPUs), `nccl`
   * (if the backend was built with NCCL), or `none` for copies through the engine. Default: `nccl` on
   * Linux, `internal` elsewhere, each falling back to the next.
   */
  allreduce?: 'internal' | 'nccl' | 'none';
  /**
   * Data type in which `internal` transfers 32-bit results between GPUs: `bf16` or `f32`. Default:
   * `bf16`.
   */
  allreduceType?: 'bf16' | 'f32';
  /**
   * Precision of the activations in matrix products with quantised weights: `auto`, `q4`, `q8`. Default:
   * `auto`.
   */
  mmq?: 'auto' | 'q4' | 'q8';
  /**
   * Whether weights and caches that exceed the memory of the GPU may be moved to system RAM by the driver
   * (unified memory). Default: false.
   */
  unifiedMemory?: boolean;
  /** Whether GPUs access each other's memory directly (peer to peer). Default: false. */
  peerAccess?: boolean;
  /** Whether buffers in system RAM are pinned for faster transfers. Default: true. */
  pinnedMemory?: boolean;
}

/** Options of loading a model. */
export interface LoadOptions extends Abortable, Progress {
  /**
   * Number of layers on GPUs: -1 or `all` for all, 0 for none, N for that many, `auto` for as
   * many as fit. The output layer counts as one. A number above the model's layers, such as 99
   * or 999, means all, or as many as fit. Default: `auto`.
   */
  nGpuLayers?: number | 'auto' | 'all';
  /**
   * How a model is split across several GPUs: `none`, `layer`, `row`, `tensor`. Default:
   * `layer`.
   */
  splitMode?: 'none' | 'layer' | 'row' | 'tensor';
  /** Share of each GPU, in any unit. Default: by free memory; equal in split mode `tensor`. */
  tensorSplit?: number[];
  /**
   * Index of the GPU to fill first; in split mode `none`, the only one used.
   * Default: 0.
   */
  mainGpu?: number;
  /**
   * Names of the devices that may be used, or `none`; `auto` fills them in this order. Default:
   * all.
   */
  devices?: string | string[];
  /**
   * Maximum number of GPUs to use: those with the most free memory, or the first of `devices`.
   * Default: all.
   */
  maxGpus?: number;
  /**
   * Remote workers that may be used, as `host:port`; their devices come before those of this
   * machine. Default: none.
   */
  rpcServers?: string | string[];
  /**
   * Devices for individual tensors, by regular expression over tensor names; the first match
   * applies. `CPU` is system RAM. Default: none.
   */
  tensorOverrides?: Record<string, string>;
  /**
   * Whether all experts of a mixture-of-experts model are in system RAM.
   * Default: false.
   */
  cpuMoe?: boolean;
  /**
   * Number of layers, from the first on, whose experts are in system RAM.
   * Default: 0.
   */
  nCpuMoe?: number;
  /**
   * Projector for pictures: the path of its file, `none`, or `auto` for the one that belongs to the
   * model, in the store or next to its file (`mmproj*.gguf`). Default: `auto`.
   */
  projector?: string;
  /**
   * Whether the projector is loaded with the model, instead of with the first picture.
   * Default: false.
   */
  loadProjector?: boolean;
  /**
   * Limits of pictures: `pixels` of each, `bytes` of its file, `pictures` in a chat. Default:
   * 100 million pixels, 64 MiB, 256 pictures.
   */
  mediaLimits?: { pixels?: number; bytes?: number; pictures?: number };
  /**
   * Kernels that compute on the processor: `own` for mullama's, `engine` for llama.cpp's, `auto`
   * for `own` where the processor has AVX2, unless `MULLAMA_KERNELS` says otherwise. Default:
   * `auto`.
   */
  cpuKernels?: 'auto' | 'own' | 'engine';
  /**
   * Settings of the CUDA backend (`graphs`, `fusion`, `offloadMinBatch`, `allreduce`, ...), which apply to
   * the whole process. Default: the backend's.
   */
  cuda?: CudaSettings;
  /**
   * Whether the file is memory-mapped instead of read.
   * Default: true.
   */
  useMmap?: boolean;
  /**
   * Whether the model is locked in memory, so that it cannot be swapped out.
   * Default: false.
   */
  useMlock?: boolean;
  /**
   * Whether the weights are checked for invalid values while loading.
   * Default: false.
   */
  checkTensors?: boolean;
  /**
   * Whether only the vocabulary is loaded: such a model can only tokenise.
   * Default: false.
   */
  vocabOnly?: boolean;
  /** Values that override the file's metadata, by key. Default: none. */
  metadataOverrides?: Record<string, string | number | boolean>;
  /**
   * LoRA adapters for requests that do not specify any: paths of GGUF files, each with an
   * optional scale. Default: none.
   */
  lora?: Lora;
  /**
   * A second, smaller model with the same vocabulary that drafts tokens for this one
   * (speculative decoding): a path or a name, as for the model itself; `none` for none.
   * Default: the model's `DRAFT`, if its Modelfile has one.
   */
  draftModel?: string;
  /** Number of layers of the draft model on GPUs, like `nGpuLayers`. Default: `auto`. */
  draftGpuLayers?: number | 'auto' | 'all';
  /** Names of the devices that the draft model may use. Default: those of the model. */
  draftDevices?: string | string[];
  /** A chat template (Jinja) that replaces the model's. Default: the model's. */
  chatTemplate?: string;
  /**
   * Context size in tokens, shared by all concurrent requests; 0 is the model's training
   * context. Default: the model's training context, at most 8192.
   */
  contextSize?: number;
  /**
   * Maximum number of tokens in one step of the engine (the logical batch); every running
   * request always has at least one.
   * Default: 2048.
   */
  batchSize?: number;
  /** Maximum number of tokens in one computation (the physical batch). Default: 512. */
  ubatchSize?: number;
  /** Threads for generation. Default: one per physical core. */
  nThreads?: number;
  /** Threads for prompt processing. Default: the same as for generation. */
  nThreadsBatch?: number;
  /**
   * Maximum number of concurrent requests; further ones wait.
   * Default: 4.
   */
  nParallel?: number;
  /**
   * Maximum number of waiting requests; further ones are rejected as `Busy`. Default:
   * unlimited.
   */
  maxQueue?: number;
  /**
   * Maximum number of tokens of finished requests that stay in the KV cache, for reuse by
   * requests with the same prefix. Default: as many as fit; 0 turns prefix sharing off, also
   * between concurrent requests.
   */
  prefixCache?: number;
  /**
   * System RAM for tokens evicted from the KV cache and for checkpoints: both are copied back
   * instead of recomputed. A number of bytes, or a text with a unit, such as `2GiB`. Default:
   * a quarter of the free memory at load time, at most 8 GiB; 0 turns it off.
   */
  cacheRam?: string | number;
  /**
   * Tokens between checkpoints of state that cannot be truncated: recurrent states and
   * sliding windows. A checkpoint is also made at the end of each prompt and before its last
   * message. 0 turns checkpoints off.
   * Default: 2048.
   */
  checkpointEvery?: number;
  /**
   * Whether layers with a sliding window have cells for the whole context. If not, they need
   * much less memory, but prompts share prefixes only up to a checkpoint.
   * Default: false.
   */
  swaFull?: boolean;
  /**
   * How many times longer the time between tokens of other answers may become while a prompt
   * is processed.
   * Default: 4.0.
   */
  maxStall?: number;
  /**
   * Data type of the KV cache, one value or a pair for keys and values: `f32`, `f16`,
   * `bf16`, `q8_0`, `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`. Quantised values require
   * flash attention. Default: `f16`.
   */
  kvCacheType?: KvCacheType | [keys: KvCacheType, values: KvCacheType];
  /**
   * Whether the KV cache of a layer is on the layer's device; otherwise it is in system RAM.
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
   * Whether a full-size computation runs before the model is ready, so that a lack of memory
   * is detected while loading. Default: true if a GPU is used, unless `MULLAMA_WARMUP` is 0.
   */
  warmup?: boolean;
}

/** Options of a plan: those of loading, and a description of the hardware. */
export interface PlanOptions extends Omit<LoadOptions, 'devices' | 'onProgress'> {
  /**
   * The GPUs to plan for: names of this machine's devices, or descriptions such as `RTX
   * 4090`, `2x RTX 3060 12GB`, `M4 Max 64GB`, `24GiB`, or an object with `memory` or `name`,
   * and `backend`, `bandwidth`, `compute`, `link`, `count`. Default: those of this machine.
   */
  devices?: string | DeviceDescription | (string | DeviceDescription)[];
  /**
   * System RAM, as a size with a unit (`64GiB`) or in bytes. Default: the free memory of
   * this machine; for a described device with shared memory, the part that the device does
   * not use.
   */
  hostMemory?: string | number;
  /**
   * The bandwidth of system RAM, such as `80GB/s` or `2x DDR5-5600`. Default: measured on
   * this machine.
   */
  hostBandwidth?: string;
  /**
   * Whether other settings and quantisations are planned too if the model does not fit on
   * GPUs completely.
   * Default: true.
   */
  alternatives?: boolean;
}

/** Options of a generation. */
export interface GenerateOptions extends Abortable {
  /**
   * Maximum number of tokens to generate; 0 only processes the prompt, for later requests
   * that start with it, -1 is the default. Default: until the model stops or the context is full.
   */
  maxTokens?: number;
  /**
   * Time limit in seconds, from the call on. The generation then ends with the partial
   * answer, as if it were cancelled. Default: none.
   */
  timeout?: number;
  /**
   * Sampling temperature, which divides the logits: values below 1 sharpen the distribution,
   * values above 1 flatten it, 0 always picks the most likely token.
   * Default: 0.8.
   */
  temperature?: number;
  /**
   * Limit sampling to the K most likely tokens; 0 or -1 turns it off.
   * Default: 40.
   */
  topK?: number;
  /**
   * Limit sampling to the most likely tokens whose probabilities add up to P; 1 turns it
   * off.
   * Default: 0.95.
   */
  topP?: number;
  /**
   * Limit sampling to tokens at least P times as likely as the most likely one; 0 turns it
   * off.
   * Default: 0.05.
   */
  minP?: number;
  /**
   * Locally typical sampling with mass P (arXiv:2202.00666); 1 turns it off.
   * Default: 1.0.
   */
  typicalP?: number;
  /**
   * Limit sampling to logits within N standard deviations of the highest (arXiv:2411.07641);
   * -1 turns it off.
   * Default: -1.0.
   */
  topNSigma?: number;
  /**
   * Probability of excluding the top choices; 0 turns it off.
   * Default: 0.0.
   */
  xtcProbability?: number;
  /**
   * Probability above which a token counts as a top choice for XTC.
   * Default: 0.1.
   */
  xtcThreshold?: number;
  /**
   * Half the width of the dynamic temperature's range; 0 turns it off.
   * Default: 0.0.
   */
  dynatempRange?: number;
  /**
   * How entropy maps to the dynamic temperature.
   * Default: 1.0.
   */
  dynatempExponent?: number;
  /**
   * Strength of the DRY penalty against repeated sequences; 0 turns it off.
   * Default: 0.0.
   */
  dryMultiplier?: number;
  /**
   * Base of the DRY penalty, which grows with the length of a repetition.
   * Default: 1.75.
   */
  dryBase?: number;
  /**
   * Longest repetition, in tokens, that DRY does not penalise.
   * Default: 2.
   */
  dryAllowedLength?: number;
  /**
   * Number of previous tokens that DRY considers; 0 turns it off, -1 means the whole
   * context.
   * Default: -1.
   */
  dryPenaltyLastN?: number;
  /**
   * Texts that end a repetition for DRY.
   * Default: newline, `:`, `"` and `*`.
   */
  drySequenceBreakers?: string[];
  /**
   * Mirostat (arXiv:2007.14966), version 1 or 2, which replaces the truncating samplers; 0
   * turns it off.
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
   * Adaptive-P: the probability near which tokens are chosen over time; -1 turns it off.
   * Best with `minP` as the only truncating sampler.
   * Default: -1.0.
   */
  adaptiveP?: number;
  /**
   * How fast Adaptive-P forgets earlier tokens: it looks back on about 1 / (1 - decay) of
   * them.
   * Default: 0.9.
   */
  adaptivePDecay?: number;
  /**
   * Divides the logits of recent tokens; 1 turns it off.
   * Default: 1.0.
   */
  repeatPenalty?: number;
  /**
   * Subtracted from a recent token's logit for each occurrence; 0 turns it off.
   * Default: 0.0.
   */
  frequencyPenalty?: number;
  /**
   * Subtracted from a recent token's logit if it occurred at all; 0 turns it off.
   * Default: 0.0.
   */
  presencePenalty?: number;
  /**
   * Number of previous tokens that the three penalties consider, including the prompt's; 0
   * turns them off, -1 means the whole context.
   * Default: 64.
   */
  repeatLastN?: number;
  /**
   * The samplers that run, in this order. Samplers that are not named do not run; with
   * `temperature` 0, the most likely of the remaining tokens is chosen in any case. Not for
   * `mirostat`.
   * Default: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature.
   */
  samplers?: SamplerKind[];
  /**
   * Functions that change the logits before the samplers see them. Each is called with the
   * tokens so far, those of the prompt included, and with the logits, which it changes in
   * place. Default: none.
   */
  logitsProcessors?: LogitsProcessor | LogitsProcessor[];
  /**
   * Values added to the logits of tokens, by id; `false` instead of a number forbids the
   * token. Default: none.
   */
  logitBias?: Record<number, number | false>;
  /**
   * Random seed. The same seed, prompt and options produce the same text, except where
   * concurrent requests, cached tokens or drafting change the last bits of the results;
   * `reproducible` rules that out. -1 is the default. Default: random.
   */
  seed?: number;
  /**
   * Whether results are the same to the last bit each time, on the same machine with the
   * same model options. The request then runs alone, after the KV cache has been emptied,
   * and without drafting; other requests wait. Set `seed` too, or `temperature` to 0.
   * Default: false.
   */
  reproducible?: boolean;
  /** Stop sequences; they are not part of the result. Default: none. */
  stop?: string | string[];
  /**
   * Texts that the generated text never contains, as they are written. When one has been
   * generated, generation goes back to its first token and chooses another. Default: none.
   */
  bannedPhrases?: string[];
  /**
   * Whether to continue when the model generates its end-of-generation token.
   * Default: false.
   */
  ignoreEos?: boolean;
  /**
   * What happens when the context is full. `error`: a prompt that is too long fails, and an
   * answer ends there (finish reason `length`). `truncate`, for chats: the oldest turns are
   * left out of the prompt. `shift`, for `generate` and `stream`: the oldest tokens are
   * dropped, and the generation continues. `compact`, for conversations (`start_chat`): the
   * oldest turns are replaced by a summary.
   * Default: `error`.
   */
  overflow?: 'error' | 'truncate' | 'shift' | 'compact';
  /**
   * The text after the gap to fill in (fill in the middle); the prompt is the text before
   * it. For models that were trained for it. Default: none; the generated text continues the
   * prompt.
   */
  infillSuffix?: string;
  /** A grammar (GBNF) that the text must match. Default: none. */
  grammar?: string;
  /**
   * A Lark grammar that the text must match, in the dialect of llguidance: rules in lower
   * case, terminals in upper case, `start` as the first rule, `%json {...}` for JSON
   * schemas. Default: none.
   */
  lark?: string;
  /**
   * A regular expression that the whole text must match, in the syntax of Rust's library for
   * them (<https://docs.rs/regex>). Default: none.
   */
  regex?: string;
  /** A JSON schema that the text must match. Default: none. */
  jsonSchema?: JsonSchema;
  /**
   * LoRA adapters for this request, instead of the model's: paths of GGUF files, each with
   * an optional scale; an empty list turns adapters off. Default: the adapters that the
   * model was loaded with or that `set_lora` has set since.
   */
  lora?: Lora;
  /**
   * Maximum number of tokens to draft per step, copied from the last place where the same
   * tokens occurred (prompt lookup decoding). Each is verified against the model's own
   * choice, so the text is the same except for ties: results of larger batches differ in the
   * last bits. Useful when answers repeat the prompt.
   * Default: 0, which is off.
   */
  promptLookup?: number;
  /**
   * How tokens are drafted: `model` by the draft model, `lookup` by prompt lookup (at most
   * `promptLookup` tokens, or `draftMax`), `off` not at all, `auto` by the draft model if
   * the model was loaded with one, and by prompt lookup if `promptLookup` is set. Drafting
   * stops while it does not save time.
   * Default: `auto`.
   */
  draft?: 'auto' | 'off' | 'model' | 'lookup' | 'mtp';
  /**
   * Maximum number of tokens that the draft model drafts per step; 0 turns it off. Within
   * it, the number follows how many drafted tokens are accepted, and how long steps take.
   * Default: 8.
   */
  draftMax?: number;
  /**
   * Priority among waiting requests: higher values run first.
   * Default: 0.
   */
  priority?: number;
  /**
   * The client that the request belongs to. Waiting requests with the same priority are
   * scheduled round-robin by client, so a client with many requests cannot starve others.
   * Default: the same client for all.
   */
  client?: string;
  /**
   * The id of the request in `requests()` and for `cancel_request`, which no other active request
   * may have. Default: a number.
   */
  requestId?: string;
  /**
   * Whether a stream reports the progress of prompt processing, in chunks before the first
   * token.
   * Default: false.
   */
  promptProgress?: boolean;
  /**
   * Return log probabilities of each token and of this many of the most likely alternatives.
   * Default: off.
   */
  logprobs?: number;
}

/** Options of a chat: those of a generation, and those specific to chats. */
export interface ChatOptions extends GenerateOptions {
  /**
   * Tools that the model may call, in OpenAI's format; in Python and Node.js also functions.
   * Default: none.
   */
  tools?: (Tool | FunctionTool)[];
  /**
   * Which tools the model calls: `auto`, `none`, `required`, or a specific one as `{"type":
   * "function", "function": {"name": ...}}`. Default: `auto`.
   */
  toolChoice?: ToolChoice;
  /**
   * Whether one answer may contain several tool calls.
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
   * Maximum number of reasoning tokens. When they are exhausted, the template's
   * end-of-reasoning tag is inserted and the answer follows. Default: none.
   */
  reasoningBudget?: number;
  /**
   * Whether special tokens written in messages, tools and arguments are parsed as special
   * tokens. Otherwise they are plain text, so the author of a message cannot end it and
   * start another.
   * Default: false.
   */
  parseSpecial?: boolean;
  /**
   * Whether the answer continues a last message of the assistant; the result then contains
   * only the continuation. Otherwise the answer is a separate message.
   * Default: false.
   */
  continueFinalMessage?: boolean;
  /** A chat template (Jinja) for this chat. Default: the model's. */
  chatTemplate?: string;
  /** Arguments for the chat template. Default: none. */
  templateKwargs?: Record<string, unknown>;
}

/** Options of an embedding. */
export interface EmbedOptions extends Abortable {
  /**
   * How the token vectors of a text are combined: `mean` (their average), `cls` (the first),
   * `last` (the last), `none` (no pooling: all of them, as a matrix), or `rank` (the scores
   * of a classification head). Default: the model's, else `mean`.
   */
  pooling?: 'mean' | 'cls' | 'last' | 'none' | 'rank';
  /** Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`. */
  normalize?: boolean;
  /**
   * Number of dimensions to retain, from the first on, for models that were trained for it
   * (Matryoshka); vectors are normalised afterwards. Default: all.
   */
  dimensions?: number;
  /**
   * How to handle a text with more tokens than the model accepts: `none` (reject it), `end`
   * or `start` (cut off that part; `usage` reports how much). Default: `none`.
   */
  truncate?: 'none' | 'end' | 'start';
  /**
   * Whether to add the special tokens that the model expects around a text.
   * Default: true.
   */
  addSpecial?: boolean;
  /**
   * Whether special tokens written in a text are parsed as special tokens.
   * Default: false.
   */
  parseSpecial?: boolean;
  /** Time limit of the call, in seconds. Default: none. */
  timeout?: number;
}

/** Options of a reranking. */
export interface RerankOptions extends Abortable {
  /** Number of best documents to return. Default: all. */
  topN?: number;
  /**
   * How to handle a document that has, together with the query, more tokens than the model
   * accepts: `none` (reject it), `end` or `start` (cut off that part of the document;
   * `usage` reports how much). Default: `none`.
   */
  truncate?: 'none' | 'end' | 'start';
  /** Time limit of the call, in seconds. Default: none. */
  timeout?: number;
}
