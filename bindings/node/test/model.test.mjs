// Loading, properties of a model, tokens, generations and chats.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';

import { gpu, Model, MullamaError } from 'mullama';
import { endless, failure, loadDemo } from './helpers.mjs';

const france = [{ role: 'user', content: 'What is the capital of France?' }];
const weather = {
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
};
const greedy = { temperature: 0 };

describe('loading', () => {
  test('require and import give the same', () => {
    const required = createRequire(import.meta.url)('mullama');
    assert.equal(required.Model, Model);
    assert.equal(required.MullamaError, MullamaError);
    assert.equal(required.gpu, gpu);
  });

  test('the constructor blocks, and calls onProgress meanwhile', () => {
    const heard = [];
    const model = new Model('demo', { onProgress: (progress) => heard.push(progress) });
    assert.ok(heard.length > 1);
    assert.ok(heard.every((progress) => progress >= 0 && progress <= 1));
    assert.equal(heard.at(-1), 1);
    model[Symbol.dispose]();
    assert.ok(model.isClosed);
  });

  test('a model is inspected and serialized by its main properties', async () => {
    const model = await loadDemo();
    const shown = { name: 'Mullama Demo', description: 'llama 1.9M F16' };
    assert.equal(String(model), 'Model(Mullama Demo, llama 1.9M F16)');
    const rest = { contextSize: model.contextSize, gpuLayers: 0, isClosed: false };
    assert.deepEqual(JSON.parse(JSON.stringify(model)), { ...shown, ...rest });
    assert.match(inspect({ model }), /model: Model \{\s+name: 'Mullama Demo',/);
    await model.close();
    assert.match(inspect(model), /isClosed: true/);
  });

  test('load does not block', async () => {
    const heard = [];
    let turns = 0;
    const turn = setInterval(() => turns++, 0);
    const model = await Model.load('demo', { onProgress: (progress) => heard.push(progress) });
    clearInterval(turn);
    assert.ok(turns > 0);
    assert.deepEqual(heard, heard.toSorted());
    assert.equal(heard.at(-1), 1);
    await model.close();
  });

  test('returning false cancels', async () => {
    let calls = 0;
    const onProgress = () => ++calls < 2;
    await assert.rejects(Model.load('demo', { onProgress }), failure('CANCELLED'));
    assert.equal(calls, 2);
    calls = 0;
    assert.throws(() => new Model('demo', { onProgress }), failure('CANCELLED'));
    assert.equal(calls, 2);
  });

  test('loading throws exceptions of onProgress', async () => {
    const mine = new TypeError('mine');
    const onProgress = () => {
      throw mine;
    };
    const same = (error) => error === mine;
    await assert.rejects(Model.load('demo', { onProgress }), same);
    assert.throws(() => new Model('demo', { onProgress }), same);
  });

  test('a model can be loaded from onProgress', () => {
    let inner;
    const onProgress = () => {
      inner ??= new Model('demo');
    };
    const outer = new Model('demo', { onProgress });
    assert.equal(inner.nVocab, outer.nVocab);
  });

  test('a file: URL is a path', async () => {
    const demo = await loadDemo();
    const model = await loadDemo.call(null);
    const byUrl = await Model.load(pathToFileURL(demo.path), { vocabOnly: true });
    assert.equal(byUrl.path, demo.path);
    await Promise.all([demo, model, byUrl].map((loaded) => loaded.close()));
  });

  test('subclasses load instances of themselves', async () => {
    class Mine extends Model {}
    const model = await Mine.load('demo', { vocabOnly: true });
    assert.ok(model instanceof Mine);
    await model.close();
  });
});

describe('a model', () => {
  let model;
  before(async () => {
    model = await loadDemo();
  });
  after(() => model.close());

  test('has the properties of its file', () => {
    assert.equal(model.architecture, 'llama');
    assert.equal(model.name, 'Mullama Demo');
    assert.equal(model.nLayers, 8);
    assert.ok(model.gpuLayers >= 0 && model.gpuLayers <= 9);
    const layers = model.placement.devices.map((device) => device.layers);
    assert.equal(
      layers.reduce((sum, count) => sum + count),
      model.nLayers + 1,
    );
    assert.equal(model.nVocab, 1024);
    assert.equal(model.nEmbd, 128);
    assert.equal(model.contextSize, 2048);
    assert.ok(Number.isSafeInteger(model.nParams) && model.nParams > 1e6);
    assert.ok(Number.isSafeInteger(model.size) && model.size > 1e6);
    assert.match(model.description, /llama/);
    assert.equal(model.metadata['general.architecture'], 'llama');
    assert.match(model.chatTemplate, /im_start/);
    assert.deepEqual(model.capabilities, {
      chat: true,
      embed: true,
      generate: true,
      reasoning: false,
      rerank: false,
      tools: true,
      vision: false,
    });
    assert.match(model.path, /\.gguf$/);
    assert.equal(model.defaultOptions.topK, 40);
    assert.equal(model.isClosed, false);
  });

  test('tokenizes and detokenizes', () => {
    const text = 'The capital of France is Paris. 🙂';
    const tokens = model.tokenize(text);
    assert.ok(tokens.every(Number.isInteger));
    assert.equal(model.detokenize(tokens), text);
    assert.equal(model.detokenize(Int32Array.from(tokens)), text);
    assert.equal(model.countTokens(text), tokens.length);
    const special = model.tokenize('<|im_start|>', { parseSpecial: true });
    assert.equal(special.length, 1);
    assert.equal(model.detokenize(special), '<|im_start|>');
    assert.equal(model.detokenize(special, { skipSpecial: true }), '');
    assert.deepEqual(model.tokenize(''), []);
  });

  test('generates', async () => {
    const completion = await model.generate('The capital of Japan is', greedy);
    assert.match(completion.text, /Tokyo/);
    assert.equal(`${completion}`, completion.text);
    assert.equal(completion.finishReason, 'stop');
    assert.equal(completion.usage.completionTokens, completion.tokens.length);
    assert.ok(completion.usage.promptTokens > 0);
    assert.ok(completion.usage.cachedTokens >= 0);
    for (const name of [
      'queueMs',
      'promptMs',
      'firstTokenMs',
      'totalMs',
      'promptTps',
      'decodeTps',
    ]) {
      assert.equal(typeof completion.timings[name], 'number', name);
    }
    assert.equal(completion.logprobs, undefined);
  });

  test('takes tokens as a prompt', async () => {
    const text = 'The capital of Japan is';
    const tokens = model.tokenize(text);
    const expected = await model.generate(text, greedy);
    for (const prompt of [tokens, Int32Array.from(tokens), Uint32Array.from(tokens)]) {
      assert.equal((await model.generate(prompt, greedy)).text, expected.text);
    }
  });

  test('undefined and null leave options at their defaults', async () => {
    const options = { ...greedy, maxTokens: undefined, seed: null, stop: undefined, signal: null };
    const completion = await model.generate('The capital of Japan is', options);
    assert.match(completion.text, /Tokyo/);
    await model.generate('x', { maxTokens: 1 });
    assert.equal((await model.generate('x', { maxTokens: 1, signal: undefined })).tokens.length, 1);
  });

  test('reproducible results are bitwise equal', async () => {
    const options = { maxTokens: 12, temperature: 1.5, seed: 7, logprobs: 0, reproducible: true };
    const bits = ({ logprobs }) => logprobs.map((it) => it.logprob);
    const first = await model.generate('Once upon a time', options);
    await model.generate('Once upon a hill', { maxTokens: 3 });
    const again = await model.generate('Once upon a time', options);
    assert.equal(again.usage.cachedTokens, 0);
    assert.deepEqual(bits(again), bits(first));
    const { usage } = await model.generate('Once upon a time', { ...options, reproducible: false });
    assert.equal(usage.cachedTokens, usage.promptTokens - 1);
  });

  test('reports log probabilities', async () => {
    const { logprobs, tokens } = await model.generate('The capital of Japan is', {
      ...greedy,
      maxTokens: 2,
      logprobs: 3,
    });
    assert.deepEqual(
      logprobs.map((it) => it.token),
      tokens,
    );
    assert.equal(logprobs[0].top.length, 3);
    assert.ok(logprobs[0].logprob <= 0);
  });

  test('follows a schema', async () => {
    const jsonSchema = { type: 'object', properties: { capital: { enum: ['Paris', 'Rome'] } } };
    const { text } = await model.generate('Capital: ', {
      ...greedy,
      jsonSchema: { ...jsonSchema, required: ['capital'], additionalProperties: false },
      maxTokens: 60,
    });
    assert.ok(['Paris', 'Rome'].includes(JSON.parse(text).capital));
  });

  test('chats, and accepts its answer as history', async () => {
    const first = await model.chat(france, greedy);
    assert.match(first.text, /Paris/);
    assert.equal(first.message.role, 'assistant');
    assert.equal(first.message.content, first.text);
    const messages = [...france, first.message, { role: 'user', content: 'And of Italy?' }];
    const second = await model.chat(messages, greedy);
    assert.match(second.text, /Rome/);
  });

  test('calls tools, and takes their results', async () => {
    const messages = [{ role: 'user', content: 'What is the weather in Paris?' }];
    const options = { ...greedy, tools: [weather] };
    const first = await model.chat(messages, options);
    assert.equal(first.finishReason, 'tool_calls');
    const [call] = first.message.tool_calls;
    assert.equal(call.type, 'function');
    assert.equal(call.function.name, 'get_weather');
    assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
    messages.push(first.message, {
      role: 'tool',
      tool_call_id: call.id,
      content: '18 degrees and sunny',
    });
    const second = await model.chat(messages, options);
    assert.equal(second.finishReason, 'stop');
    assert.match(second.text, /18 degrees/);
  });

  test('renders its template', () => {
    const prompt = model.applyChatTemplate(france);
    assert.ok(prompt.endsWith('<|im_start|>assistant\n'));
    const rest = model.applyChatTemplate(france, { addGenerationPrompt: false });
    assert.ok(!rest.includes('assistant'));
  });

  test('gives the same answers to concurrent requests', async () => {
    const prompts = ['France', 'Japan', 'Italy', 'Spain', 'Peru', 'Kenya', 'Norway', 'Egypt'].map(
      (country) => [{ role: 'user', content: `What is the capital of ${country}?` }],
    );
    const alone = [];
    for (const prompt of prompts) alone.push((await model.chat(prompt, greedy)).text);
    const together = await Promise.all(prompts.map((prompt) => model.chat(prompt, greedy)));
    assert.deepEqual(together.map(String), alone);
  });

  test('never blocks the event loop', async () => {
    const gaps = [];
    let last = performance.now();
    const turn = setInterval(() => {
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }, 1);
    const { timings } = await model.generate('Once upon a time', endless);
    clearInterval(turn);
    assert.ok(timings.totalMs > 100, 'long enough to tell');
    assert.ok(gaps.length > 20, `${gaps.length} turns in ${timings.totalMs} ms`);
    // A busy machine causes gaps, too.
    assert.ok(Math.max(...gaps) < timings.totalMs / 2, `a gap of ${Math.max(...gaps)} ms`);
  });
});

describe('closing', () => {
  test('rejects all calls afterwards', async () => {
    const model = await loadDemo();
    const closing = model.close();
    assert.ok(model.isClosed);
    const closed = failure('CLOSED');
    assert.throws(() => model.tokenize('x'), closed);
    await assert.rejects(model.generate('x'), closed);
    await assert.rejects(model.chat(france), closed);
    await assert.rejects(async () => model.stream('x').next(), closed);
    await closing;
    await model.close();
    assert.equal(model.name, 'Mullama Demo');
  });

  test('cancels running requests', async () => {
    const model = await loadDemo();
    const running = model.generate('Once upon a time', endless).then(
      (completion) => completion.finishReason,
      (error) => error.code,
    );
    const stream = model.stream('Once upon a time', endless);
    await stream.next();
    await model.close();
    // The request may have been sent but not started.
    assert.ok(['cancelled', 'CLOSED'].includes(await running));
    for await (const _ of stream);
    assert.equal(stream.completion.finishReason, 'cancelled');
  });

  test('happens on disposal', async () => {
    const model = await loadDemo();
    await model[Symbol.asyncDispose]();
    assert.ok(model.isClosed);
    const other = await loadDemo();
    other[Symbol.dispose]();
    assert.ok(other.isClosed);
  });
});

describe('gpu', () => {
  test('lists devices and backends', () => {
    const devices = gpu.devices();
    assert.equal(devices.at(-1).kind, 'cpu');
    for (const device of devices) {
      assert.equal(typeof device.name, 'string');
      assert.ok(Number.isSafeInteger(device.memoryFree));
      assert.ok(device.memoryTotal >= device.memoryFree);
      if (device.kind !== 'cpu') assert.equal(device.kernels, undefined);
    }
    assert.match(devices.at(-1).kernels, /^(mullama's, with|the engine's:) /);
    const cpu = gpu.backends().find((backend) => backend.name === 'cpu');
    assert.ok(cpu.loaded);
    assert.match(cpu.path, /ggml-cpu/);
  });

  test('reports available backends', () => {
    const available = (backend) => gpu.devices().some((device) => device.backend === backend);
    for (const backend of ['cuda', 'metal', 'rocm', 'vulkan', 'opencl', 'sycl']) {
      assert.equal(gpu[`${backend}Available`](), available(backend), backend);
    }
    assert.equal(gpu.cudaDeviceCount() > 0, gpu.cudaAvailable());
    assert.equal(gpu.rocmDeviceCount() > 0, gpu.rocmAvailable());
    assert.deepEqual(gpu.cudaMemoryInfo(99), [0, 0]);
    assert.throws(() => gpu.cudaMemoryInfo('first'), failure('INVALID_ARGUMENT'));
  });
});

test('repeated prompts use the prefix cache', async () => {
  const model = await loadDemo();
  const prompt = 'The capital of France is';
  const first = await model.generate(prompt, { temperature: 0 });
  const again = await model.generate(prompt, { temperature: 0 });
  assert.equal(first.usage.cachedTokens, 0);
  assert.equal(again.usage.cachedTokens, again.usage.promptTokens - 1);
  assert.equal(first.text, again.text);
  const stats = model.stats();
  assert.deepEqual([stats.finished, stats.running, stats.waiting], [2, 0, 0]);
  assert.equal(stats.cachedTokens, again.usage.cachedTokens);
  await model.close();
  assert.throws(() => model.stats(), failure('CLOSED'));
});
