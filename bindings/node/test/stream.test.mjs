// Streams, and ending them: by leaving the loop, by `cancel`, by a signal.

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';

import { collect, endless, failure, loadDemo } from './helpers.mjs';

const france = [{ role: 'user', content: 'What is the capital of France?' }];
let model;
before(async () => {
  model = await loadDemo();
});
after(() => model.close());

describe('a stream', () => {
  test('returns the same text as generate', async () => {
    const options = { temperature: 0, maxTokens: 40 };
    const whole = await model.generate('Once upon a time', options);
    const stream = model.stream('Once upon a time', options);
    assert.equal(stream.completion, undefined);
    const chunks = await collect(stream);
    assert.equal(chunks.map(String).join(''), whole.text);
    assert.deepEqual(stream.completion.tokens, whole.tokens);
    assert.equal(chunks.at(-1).completion, stream.completion);
    assert.ok(chunks.slice(0, -1).every((chunk) => chunk.completion === undefined));
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
  });

  test('arrives in several chunks', async () => {
    const chunks = await collect(model.stream('Once upon a time', { ...endless, maxTokens: 500 }));
    // Pieces that are generated within two milliseconds are delivered together.
    assert.ok(chunks.length >= 3);
  });

  test('has log probabilities on request', async () => {
    const options = { temperature: 0, maxTokens: 5, logprobs: 2 };
    const chunks = await collect(model.stream('Once upon a time', options));
    const logprobs = chunks.flatMap((chunk) => chunk.logprobs ?? []);
    assert.deepEqual(
      logprobs.map((it) => it.token),
      chunks.at(-1).completion.tokens,
    );
  });

  test('of a chat has deltas', async () => {
    const stream = model.streamChat(france, { temperature: 0 });
    const chunks = await collect(stream);
    assert.equal(chunks.map((chunk) => chunk.text).join(''), stream.completion.message.content);
    assert.ok(chunks.every((chunk) => chunk.reasoning === '' && chunk.toolCalls.length === 0));
    assert.match(`${stream.completion}`, /Paris/);
  });

  test('of a chat has deltas of tool calls', async () => {
    const tools = [
      {
        type: 'function',
        function: {
          name: 'get_weather',
          description: 'Get the weather in a city',
          parameters: {
            type: 'object',
            properties: { city: { type: 'string', description: 'Name of the city' } },
            required: ['city'],
          },
        },
      },
    ];
    const messages = [{ role: 'user', content: 'What is the weather in Paris?' }];
    const stream = model.streamChat(messages, { temperature: 0, tools });
    const deltas = (await collect(stream)).flatMap((chunk) => chunk.toolCalls);
    const [call] = stream.completion.message.tool_calls;
    assert.equal(deltas[0].index, 0);
    assert.equal(deltas[0].id, call.id);
    assert.equal(deltas[0].name, 'get_weather');
    assert.equal(deltas.map((delta) => delta.arguments).join(''), call.function.arguments);
  });

  test('serves overlapping calls of next in order', async () => {
    const options = { temperature: 0, maxTokens: 20 };
    const expected = (await collect(model.stream('Once upon a time', options))).map(String);
    const stream = model.stream('Once upon a time', options);
    const results = await Promise.all(Array.from({ length: 40 }, () => stream.next()));
    const values = results.filter((it) => !it.done).map((it) => String(it.value));
    assert.equal(values.join(''), expected.join(''));
    assert.ok(results.at(-1).done);
  });

  test('can be a Readable', async () => {
    const options = { temperature: 0, maxTokens: 10 };
    const text = [];
    const stream = model.stream('Once upon a time', options);
    for await (const chunk of Readable.from(stream)) text.push(chunk.text);
    assert.equal(text.join(''), stream.completion.text);
  });

  test('runs concurrently with others', async () => {
    const options = { temperature: 0, maxTokens: 30 };
    const prompts = [
      'Once upon a time',
      'The capital of',
      'A B C D',
      '1, 2, 3,',
      'Hello',
      'Berlin',
    ];
    const alone = [];
    for (const prompt of prompts) alone.push((await model.generate(prompt, options)).text);
    const together = await Promise.all(
      prompts.map(async (prompt) => (await collect(model.stream(prompt, options))).join('')),
    );
    assert.deepEqual(together, alone);
  });

  test('that is unread uses no resources', async () => {
    const other = await loadDemo({ nParallel: 1 });
    const streams = [1, 2, 3].map(() => other.stream('Once upon a time', endless));
    const chat = other.startChat(endless).stream('Hello!');
    await other.generate('x', { maxTokens: 1 });
    assert.equal(other.stats().running + other.stats().waiting, 0);
    // The messages are those at the time of the call.
    const messages = [...france];
    const asked = other.streamChat(messages, { temperature: 0 });
    messages.pop();
    assert.match((await collect(asked)).join(''), /Paris/);
    streams[0].cancel();
    assert.equal((await collect(streams[0])).at(-1).completion.finishReason, 'cancelled');
    await streams[1].return();
    assert.deepEqual(await streams[1].next(), { value: undefined, done: true });
    await chat.return();
    await other.close();
    await assert.rejects(streams[2].next(), failure('CLOSED'));
  });

  test('reports its error once, to its reader', async () => {
    const stream = model.stream('x', { topP: 2 });
    await assert.rejects(stream.next(), failure('INVALID_ARGUMENT', /topP/));
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
    // An unread stream causes no unhandled rejection.
    model.stream('x', { topP: 2 });
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
});

describe('leaving a stream', () => {
  /** Waits until the model is idle: all its sequences are free again. */
  async function idle() {
    const { timings } = await model.generate('x', { maxTokens: 1 });
    assert.ok(timings.queueMs < 2000);
  }

  test('by break ends the generation', async () => {
    let read = 0;
    const stream = model.stream('Once upon a time', endless);
    for await (const _ of stream) if (++read === 3) break;
    assert.equal(stream.completion, undefined);
    assert.deepEqual(await stream.next(), { value: undefined, done: true });
    await idle();
  });

  test('by an exception ends the generation', async () => {
    const stream = model.stream('Once upon a time', endless);
    await assert.rejects(async () => {
      for await (const _ of stream) throw new Error('mine');
    }, /mine/);
    assert.equal((await stream.next()).done, true);
    await idle();
  });

  test('by disposal ends the generation', async () => {
    const stream = model.stream('Once upon a time', endless);
    await stream[Symbol.asyncDispose]();
    assert.equal((await stream.next()).done, true);
  });

  test('while a call of next waits ends that call', async () => {
    const stream = model.stream('Once upon a time', endless);
    const waiting = stream.next();
    await stream.return();
    assert.equal((await waiting).done, true);
  });

  test('cancel returns the text so far', async () => {
    const stream = model.stream('Once upon a time', endless);
    const read = [];
    for await (const chunk of stream) {
      read.push(chunk.text);
      if (read.length === 3) stream.cancel();
    }
    assert.equal(stream.completion.finishReason, 'cancelled');
    assert.equal(read.join(''), stream.completion.text);
    assert.ok(stream.completion.tokens.length < endless.maxTokens);
  });

  test('cancel works before the start', async () => {
    const stream = model.stream('Once upon a time', endless);
    stream.cancel();
    await collect(stream);
    assert.equal(stream.completion.finishReason, 'cancelled');
  });
});

describe('leaving a loop over a stream that is still referenced', () => {
  const chat = () => model.startChat(endless);
  const starts = {
    stream: () => model.stream('Once upon a time', endless),
    streamChat: () => model.streamChat(france, endless),
    'chat.stream': () => chat().stream('Once upon a time'),
  };
  const ways = {
    break: async (stream) => {
      for await (const _ of stream) break;
    },
    throw: async (stream) => {
      for await (const _ of stream) throw new Error('mine');
    },
    return: async (stream) => {
      for await (const chunk of stream) return chunk;
      return undefined;
    },
    'break in a generator': async (stream) => {
      const texts = (async function* () {
        for await (const chunk of stream) yield chunk.text;
      })();
      for await (const _ of texts) break;
    },
  };
  for (const [name, start] of Object.entries(starts)) {
    for (const [way, leave] of Object.entries(ways)) {
      test(`of ${name}, by ${way}, ends the generation`, async () => {
        const before = model.stats().completionTokens;
        const stream = start();
        const [left] = await Promise.allSettled([leave(stream)]);
        assert.equal(left.status, way === 'throw' ? 'rejected' : 'fulfilled');
        const end = Date.now() + 5000;
        while (model.stats().running > 0 && Date.now() < end) {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        assert.equal(model.stats().running, 0);
        // It was stopped before its end.
        assert.ok(model.stats().completionTokens - before < endless.maxTokens);
        assert.deepEqual(await stream.next(), { value: undefined, done: true });
      });
    }
  }
});

describe('a signal', () => {
  const isAbort = (error) => error.name === 'AbortError';

  test('aborts a generation at once', async () => {
    const controller = new AbortController();
    const running = model.generate('Once upon a time', { ...endless, signal: controller.signal });
    setTimeout(() => controller.abort(), 10);
    await assert.rejects(running, isAbort);
    await assert.rejects(running, (error) => error === controller.signal.reason);
  });

  test('aborts a chat', async () => {
    const controller = new AbortController();
    const running = model.chat(france, { ...endless, signal: controller.signal });
    controller.abort(new RangeError('mine'));
    await assert.rejects(running, RangeError);
  });

  test('whose reason is no error gives a MullamaError', async () => {
    const signal = AbortSignal.abort('because');
    await assert.rejects(model.generate('x', { signal }), (error) => {
      assert.ok(failure('CANCELLED')(error));
      assert.equal(error.name, 'AbortError');
      assert.equal(error.cause, 'because');
      return true;
    });
  });

  test('that has been aborted before rejects at once', async () => {
    const signal = AbortSignal.abort();
    await assert.rejects(model.generate('x', { signal }), isAbort);
    await assert.rejects(model.chat(france, { signal }), isAbort);
    await assert.rejects(model.stream('x', { signal }).next(), isAbort);
    await assert.rejects(model.streamChat(france, { signal }).next(), isAbort);
    await assert.rejects(loadDemo({ signal }), isAbort);
    await assert.rejects(async () => new model.constructor('demo', { signal }), isAbort);
  });

  test('aborts a stream, also one that waits', async () => {
    const controller = new AbortController();
    const stream = model.stream('Once upon a time', { ...endless, signal: controller.signal });
    await assert.rejects(async () => {
      let read = 0;
      for await (const _ of stream) if (++read === 3) controller.abort();
    }, isAbort);
    assert.equal((await stream.next()).done, true);

    const other = new AbortController();
    const waiting = model.stream('Once upon a time', { ...endless, signal: other.signal }).next();
    other.abort();
    await assert.rejects(waiting, isAbort);
  });

  test('that times out throws a TimeoutError', async () => {
    const signal = AbortSignal.timeout(10);
    const reading = collect(model.stream('Once upon a time', { ...endless, signal }));
    await assert.rejects(reading, (error) => error.name === 'TimeoutError');
  });

  test('aborts loading', async () => {
    const controller = new AbortController();
    const loading = loadDemo({
      signal: controller.signal,
      onProgress: (progress) => {
        if (progress > 0.3) controller.abort();
      },
    });
    await assert.rejects(loading, isAbort);
  });

  test('has no listeners left afterwards', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    for (const [name, change] of [
      ['addEventListener', 1],
      ['removeEventListener', -1],
    ]) {
      const original = signal[name];
      signal[name] = (...args) => {
        listeners += change;
        original.apply(signal, args);
      };
    }
    await model.generate('x', { maxTokens: 1, signal });
    await collect(model.stream('x', { maxTokens: 1, signal }));
    for await (const _ of model.stream('x', { ...endless, signal })) break;
    await (await loadDemo({ signal })).close();
    assert.equal(listeners, 0);
  });

  test('that is not an AbortSignal is rejected', async () => {
    for (const signal of [1, 'x', {}, new AbortController()]) {
      await assert.rejects(model.generate('x', { signal }), failure('INVALID_ARGUMENT', /signal/));
    }
  });
});
