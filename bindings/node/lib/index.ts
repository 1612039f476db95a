/// <reference lib="esnext.disposable" preserve="true" />

export { Chat, type ChatInput, type SendOptions, type StartChatOptions } from './chat.js';
export { MullamaError } from './errors.js';
export { type Gpu, gpu } from './gpu.js';
export { Model, type PullOptions } from './model.js';
export { Plan, plan } from './plan.js';

export type { Abortable, Progress } from './abort.js';
export type { Embeddings, Reranking } from './embeddings.js';
export type { ErrorCode, ErrorKind } from './generated/errors.js';
export type { PullProgress, StoredModel } from './generated/native.js';
export type {
  ChatOptions,
  CudaSettings,
  EmbedOptions,
  GenerateOptions,
  LoadOptions,
  PlanOptions,
  RerankOptions,
} from './generated/options.js';
export type {
  Alternative,
  Backend,
  Capabilities,
  Device,
  DeviceShare,
  EmbeddingUsage,
  Logprob,
  MediaLimits,
  Placement,
  PlannedDevice,
  Prediction,
  PromptProgress,
  RankedDocument,
  RequestInfo,
  Stats,
  StopReason,
  Timings,
  TokenLogprob,
  ToolCallDelta,
  Usage,
} from './generated/results.js';
export type {
  AcceptedRole,
  AssistantMessage,
  ContentPart,
  FileAddress,
  ImagePart,
  Message,
  Picture,
  PictureBlob,
  Role,
  ToolCall,
} from './messages.js';
export type { LogitsProcessor } from './processors.js';
export type { ChatChunk, ChatCompletion, Chunk, Completion, FinishReason } from './results.js';
export type { Stream } from './stream.js';
export type {
  FunctionTool,
  Tool,
  ToolArguments,
  ToolChoice,
  ToolContext,
  ToolFunction,
} from './tools.js';
export type {
  DeviceDescription,
  JsonSchema,
  KvCacheType,
  Lora,
  Prompt,
  ResponseFormat,
  SamplerKind,
  Shape,
  StandardSchema,
  Tokens,
} from './types.js';
