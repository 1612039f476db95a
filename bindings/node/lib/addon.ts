// What the addon takes and gives, under its names in Rust.

import type { EmbeddingUsage, RankedDocument } from './generated/results.js';
import type { Message } from './messages.js';
import type { Prompt } from './types.js';

export type Text = string;
export type Texts = readonly string[];
export type Inputs = Prompt | readonly Prompt[];
export type Messages = readonly Message[];
export type State = Uint8Array | string;
export type Index = number;
export type Json = unknown;
export type Options = object | undefined;

/** Is called with new chunks, and with the error that ended the stream. */
export type Deliver = (chunks: unknown[], error: Error | null) => void;

/** A result of the core as a plain object. */
export type Plain<T> = T;

export interface Reranking {
  results: RankedDocument[];
  usage: EmbeddingUsage;
}
