'use strict';

/** The vectors of some texts, in the order of the texts: all are views of one buffer. */
class Embeddings {
  constructor({ values, facts }) {
    const { dimensions, starts, tokenCounts, pooling, normalized, usage } = facts;
    const ends = [...starts.slice(1), dimensions ? values.length / dimensions : 0];
    this.vectors = starts.map((start, text) =>
      values.subarray(start * dimensions, ends[text] * dimensions),
    );
    this.values = values;
    this.dimensions = dimensions;
    this.tokenCounts = tokenCounts;
    this.pooling = pooling;
    this.normalized = normalized;
    this.usage = usage;
  }

  get length() {
    return this.vectors.length;
  }

  /** Plain arrays of numbers: what is to be written as JSON. */
  toJSON() {
    return this.vectors.map((vector) => Array.from(vector));
  }

  [Symbol.iterator]() {
    return this.vectors[Symbol.iterator]();
  }
}

/** Documents by how well they answer a query, the best first. */
class Reranking {
  constructor({ facts: { results, usage } }) {
    this.results = results;
    this.usage = usage;
  }

  get length() {
    return this.results.length;
  }

  [Symbol.iterator]() {
    return this.results[Symbol.iterator]();
  }
}

module.exports = { Embeddings, Reranking };
