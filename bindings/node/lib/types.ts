/** LoRA adapters: a path, or an array of paths and of pairs of a path and a scale. */
export type Lora = string | (string | [path: string, scale: number])[];

/** The data type of a KV cache. */
export type KvCacheType =
  'f32' | 'f16' | 'bf16' | 'q8_0' | 'q5_1' | 'q5_0' | 'q4_1' | 'q4_0' | 'iq4_nl';

/** A sampler that can be put in an order. */
export type SamplerKind =
  | 'penalties'
  | 'dry'
  | 'top_n_sigma'
  | 'top_k'
  | 'typical_p'
  | 'top_p'
  | 'min_p'
  | 'xtc'
  | 'temperature';

/** A JSON schema. */
export type JsonSchema = object | boolean;

/** A schema of a library for types, as https://standardschema.dev describes it. */
export interface StandardSchema<Value = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Validated<Value> | Promise<Validated<Value>>;
    readonly jsonSchema?: {
      readonly input: (options: { target: 'draft-2020-12' }) => Record<string, unknown>;
    };
    readonly types?: { readonly input: unknown; readonly output: Value } | undefined;
  };
}

type Validated<Value> =
  | { readonly value: Value; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** The format of a chat answer. */
export type ResponseFormat =
  | StandardSchema
  | { type: 'text' }
  | { type: 'json_object' }
  | {
      type: 'json_schema';
      json_schema: { schema: object; name?: string; strict?: boolean | null };
    };

/** A prompt: text, in which special tokens are parsed, or tokens. */
export type Prompt = string | Tokens;

/** Tokens of a model's vocabulary. */
export type Tokens = readonly number[] | Int32Array | Uint32Array;

/** A description of a device, which need not exist. */
export interface DeviceDescription {
  /** The name of a card: `RTX 4090`. */
  name?: string;
  /** Its memory, as a size with a unit or in bytes. */
  memory?: string | number;
  /** The backend that uses it: `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`. */
  backend?: string;
  /** Its memory bandwidth: `936GB/s`. */
  bandwidth?: string;
  /** Its compute: `165TFLOPS`. */
  compute?: string;
  /** How it is connected: `PCIe 4.0 x16`, or a bandwidth. */
  link?: string;
  /** The number of such devices. */
  count?: number;
}

/** A model that need not exist: its architecture, and metadata such as `block_count`. */
export interface Shape {
  /** The architecture, as GGUF files name it: `llama`, `qwen3`, ... */
  architecture: string;
  /** The quantisation. Default: `Q4_K_M`. */
  quantization?: string;
  /** Whether the embedding is also the output matrix. Default: false. */
  tied?: boolean;
  /** Whether there are biases. Default: false. */
  biases?: boolean;
  /** Metadata of the architecture. */
  [key: string]: string | number | boolean | number[] | undefined;
}
