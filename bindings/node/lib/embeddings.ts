import type { Embedded } from './generated/native.js';
import type { RankedDocument, RerankingFields } from './generated/results.js';
import { shownBy } from './shown.js';

export interface Embeddings extends Readonly<Omit<Embedded, 'starts'>> {}

/** The vectors of some texts, in the order of the texts: iterating gives the vectors. */
export class Embeddings implements Iterable<Float32Array> {
  /**
   * One vector per text; with `pooling: 'none'`, the vectors of all its tokens, one after the
   * other. All are views of `values`.
   */
  readonly vectors: Float32Array[];

  /** @internal */
  constructor({ starts, ...embedded }: Embedded) {
    const { dimensions, values } = embedded;
    const ends = [...starts.slice(1), dimensions ? values.length / dimensions : 0];
    this.vectors = starts.map((start, text) =>
      values.subarray(start * dimensions, ends[text]! * dimensions),
    );
    Object.assign(this, embedded);
  }

  /** The number of texts. */
  get length(): number {
    return this.vectors.length;
  }

  /** The vectors as arrays of numbers, which can be serialised as JSON. */
  toJSON(): number[][] {
    return this.vectors.map((vector) => Array.from(vector));
  }

  [Symbol.iterator](): Iterator<Float32Array> {
    return this.vectors[Symbol.iterator]();
  }

  static {
    // Omits the numbers.
    shownBy(Embeddings, ({ length, dimensions, pooling, normalized, usage }) => ({
      length,
      dimensions,
      pooling,
      normalized,
      usage,
    }));
  }
}

export interface Reranking extends Readonly<RerankingFields> {}

/** Documents sorted by how well they answer a query, best first; it can be iterated. */
export class Reranking implements Iterable<RankedDocument> {
  /** @internal */
  constructor(fields: RerankingFields) {
    Object.assign(this, fields);
  }

  /** The number of documents. */
  get length(): number {
    return this.results.length;
  }

  [Symbol.iterator](): Iterator<RankedDocument> {
    return this.results[Symbol.iterator]();
  }
}
