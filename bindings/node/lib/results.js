'use strict';

/** A finished answer; as a string, its text. */
class Completion {
  constructor({ text, tokens, finishReason, usage, timings, logprobs }) {
    this.text = text;
    this.tokens = tokens;
    this.finishReason = finishReason;
    this.usage = usage;
    this.timings = timings;
    if (logprobs) this.logprobs = logprobs;
  }

  toString() {
    return this.text;
  }
}

/** A finished answer of a chat, with the message to add to the next turn. */
class ChatCompletion extends Completion {
  constructor(fields) {
    super(fields);
    this.message = fields.message;
  }
}

/** A piece of an answer; as a string, its text. The last has the whole answer. */
class Chunk {
  constructor(fields) {
    // One that has nothing but text comes as that.
    const { text, logprobs, completion } = typeof fields === 'string' ? { text: fields } : fields;
    this.text = text;
    if (logprobs) this.logprobs = logprobs;
    if (completion) this.completion = new Completion(completion);
  }

  toString() {
    return this.text;
  }
}

/** What is new in an answer of a chat; as a string, its text. The last has the whole answer. */
class ChatChunk {
  constructor(fields) {
    const { text, reasoning, toolCalls, completion } =
      typeof fields === 'string' ? { text: fields } : fields;
    this.text = text;
    this.reasoning = reasoning ?? '';
    this.toolCalls = toolCalls ?? [];
    if (completion) this.completion = new ChatCompletion(completion);
  }

  toString() {
    return this.text;
  }
}

module.exports = { ChatChunk, ChatCompletion, Chunk, Completion };
