// What happens when the context is full.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { collect, failure, loadDemo } from './helpers.mjs';

const system = { role: 'system', content: 'You are a helpful assistant.' };
const last = 'What is the capital of France?';
const paris = 'The capital of France is Paris.';
const greedy = { temperature: 0, maxTokens: 20 };

function conversation(turns) {
  const messages = [system];
  for (let turn = 0; turn < turns; turn++) {
    const content = `This is number ${turn}. What is the capital of Italy?`;
    messages.push({ role: 'user', content });
    messages.push({ role: 'assistant', content: 'The capital of Italy is Rome.' });
  }
  return messages;
}

let model;
before(async () => {
  model = await loadDemo({ contextSize: 256 });
});
after(() => model?.close());

test('the oldest turns are left out', async () => {
  const messages = [...conversation(20), { role: 'user', content: last }];
  await assert.rejects(model.chat(messages), (error) => {
    assert.match(error.hint, /`truncate`/);
    return failure('CONTEXT_OVERFLOW')(error);
  });
  const options = { ...greedy, overflow: 'truncate' };
  const answer = await model.chat(messages, options);
  assert.equal(answer.text, paris);
  const { droppedMessages, droppedTokens } = answer.usage;
  assert.ok(droppedMessages > 0 && droppedMessages % 2 === 0);
  assert.ok(droppedTokens > 0);
  const left = [system, ...messages.slice(1 + droppedMessages)];
  assert.equal(model.applyChatTemplate(messages, options), model.applyChatTemplate(left));
  const chat = model.startChat({ ...options, messages: messages.slice(0, -1) });
  assert.equal((await chat.send(last)).usage.droppedMessages, droppedMessages);
  assert.equal(chat.messages.length, messages.length + 1);
  for (const overflow of ['shift', 'compact']) {
    await assert.rejects(model.chat(messages, { overflow }), failure('INVALID_ARGUMENT'));
  }
});

test('a summary replaces the oldest turns', async () => {
  const messages = conversation(20);
  const options = { ...greedy, overflow: 'compact', messages };
  const seen = [];
  const compact = async (old) => {
    seen.push(old);
    return `${old.length} messages`;
  };
  const chat = model.startChat({ ...options, compact });
  const answer = await chat.send(last);
  assert.equal(answer.text, paris);
  const [old] = seen;
  assert.equal(answer.usage.droppedMessages, old.length);
  assert.deepEqual(old, messages.slice(1, 1 + old.length));
  assert.deepEqual(chat.messages[0], system);
  assert.equal(chat.messages[2].content, `${old.length} messages`);
  assert.deepEqual(chat.messages.slice(3, -2), messages.slice(1 + old.length));

  // A stream, and the model's own summary.
  const own = model.startChat(options);
  const stream = own.stream(last);
  const text = (await collect(stream)).map((chunk) => chunk.text).join('');
  assert.equal(stream.completion.text, text);
  assert.ok(stream.completion.usage.droppedMessages > 0);
  assert.ok(own.messages.length < 41);
  assert.match(own.messages[1].content, /^Summarize/);

  // Nothing changes if the function fails, or the turn is aborted.
  const failing = model.startChat({
    ...options,
    compact() {
      throw new RangeError('no');
    },
  });
  await assert.rejects(failing.send(last), RangeError);
  assert.deepEqual(failing.messages, messages);
  const endless = model.startChat({ ...options, compact: () => new Promise(() => {}) });
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  await assert.rejects(endless.send(last, { signal: stop.signal }), { name: 'AbortError' });
  assert.deepEqual(endless.messages, messages);
  assert.throws(() => model.startChat({ compact: 'yes' }), failure('INVALID_ARGUMENT'));
});

test('a text continues beyond the context', async () => {
  const options = { temperature: 0, ignoreEos: true, maxTokens: 600 };
  const answer = await model.generate('Once upon a time', { ...options, overflow: 'shift' });
  assert.equal(answer.tokens.length, 600);
  assert.ok(answer.usage.droppedTokens > 256);
  const stopped = await model.generate('Once upon a time', options);
  assert.equal(stopped.stopReason.kind, 'context_size');
  assert.deepEqual(answer.tokens.slice(0, stopped.tokens.length), stopped.tokens);
});
