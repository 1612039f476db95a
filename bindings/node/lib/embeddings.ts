import type { Embedded } from './generated/native.js';
import type { RankedDocument, RerankingFields } from './generated/results.js';

export interface Embeddings extends Readonly<Omit<Embedded, 'starts'>> {}

/** The vectors of some texts, in the order of the texts: iterating gives the vectors. */
export class Embeddings implements Iterable<Float32Array> {
  /**
   * A vector for each text. With `pooling: 'none'` the numbers of all its tokens, vector after vector.
   * All are views of `values`.
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

export interface Reranking extends Readonly<RerankingFields> {}

/** Documents by how well they answer a query, the best first: iterating gives them. */
export class Reranking implements Iterable<RankedDocument> {
  /** @internal */
  constructor(fields: RerankingFields) {
    Object.assign(this, fields);
  }

  /** How many there are. */
  get length(): number {
    return this.results.length;
  }

  [Symbol.iterator](): Iterator<RankedDocument> {
    return this.results[Symbol.iterator]();
  }
}
