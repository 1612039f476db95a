import type { Embedded } from './generated/native.js';
import type { EmbeddingUsage, RankedDocument } from './generated/results.js';

/** The vectors of some texts, in the order of the texts: iterating gives the vectors. */
export class Embeddings implements Iterable<Float32Array> {
  /**
   * A vector for each text. With `pooling: 'none'` the numbers of all its tokens, vector after vector.
   * All are views of `values`.
   */
  readonly vectors: Float32Array[];
  /** All numbers, vector after vector. */
  readonly values: Float32Array;
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

  /** @internal */
  constructor({ values, starts, ...facts }: Embedded) {
    const { dimensions } = facts;
    const ends = [...starts.slice(1), dimensions ? values.length / dimensions : 0];
    this.vectors = starts.map((start, text) =>
      values.subarray(start * dimensions, ends[text]! * dimensions),
    );
    this.values = values;
    this.dimensions = dimensions;
    this.tokenCounts = facts.tokenCounts;
    this.pooling = facts.pooling as Embeddings['pooling'];
    this.normalized = facts.normalized;
    this.usage = facts.usage;
  }

  /** How many texts there are. */
  get length(): number {
    return this.vectors.length;
  }

  /** The vectors as arrays of numbers, to be written as JSON. */
  toJSON(): number[][] {
    return this.vectors.map((vector) => Array.from(vector));
  }

  [Symbol.iterator](): Iterator<Float32Array> {
    return this.vectors[Symbol.iterator]();
  }
}

/** Documents by how well they answer a query, the best first: iterating gives them. */
export class Reranking implements Iterable<RankedDocument> {
  /** The documents; those with equal scores in the order in which they were given. */
  readonly results: RankedDocument[];
  /** Tokens that the query and the documents took; the query counts with each document. */
  readonly usage: EmbeddingUsage;

  /** @internal */
  constructor({ results, usage }: Pick<Reranking, 'results' | 'usage'>) {
    this.results = results;
    this.usage = usage;
  }

  /** How many there are. */
  get length(): number {
    return this.results.length;
  }

  [Symbol.iterator](): Iterator<RankedDocument> {
    return this.results[Symbol.iterator]();
  }
}
