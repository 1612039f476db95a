// The vectors in `tests/vectors`, which every language executes.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Model, MullamaError, plan } from 'mullama';
import { loadDemo, repository } from './helpers.mjs';

const folder = path.join(repository, 'tests/vectors');
let demo;

/** The name of an option in JavaScript. */
function camel(name) {
  return name.replaceAll(/_[a-z]/g, (match) => match[1].toUpperCase());
}

function camelKeys(options) {
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value]));
}

function nonEmpty(list) {
  assert.ok(Array.isArray(list) && list.length > 0, 'a list of vectors');
  return list;
}

/** Checks that a call fails with the error of its case. */
async function refused(it, call) {
  let error;
  try {
    await call();
  } catch (thrown) {
    error = thrown;
  }
  const shown = JSON.stringify(it);
  assert.ok(error instanceof MullamaError, `${shown}: ${error?.stack ?? 'no error'}`);
  assert.equal(error.kind, it.kind, `${shown}: ${error.stack}`);
  if (it.hint) assert.ok(error.hint?.includes(camel(it.hint)), `${shown}: ${error.hint}`);
}

/** Answers all cases concurrently. */
function answers(cases, ask) {
  return Promise.all(nonEmpty(cases).map(async (it) => ({ it, answer: await ask(it) })));
}

const checks = {
  async demo_tokenize(cases) {
    for (const { text, parse_special: parseSpecial, tokens } of nonEmpty(cases)) {
      const found = demo.tokenize(text, { addSpecial: false, parseSpecial });
      assert.deepEqual(found, tokens, text);
      assert.equal(demo.detokenize(tokens), text);
    }
  },

  async overflow(cases) {
    for (const { context_size, messages, options, ...expected } of nonEmpty(cases)) {
      const model = await loadDemo({ contextSize: context_size });
      const given = { overflow: 'truncate', temperature: 0, ...camelKeys(options) };
      const { usage } = await model.chat(messages, given);
      await model.close();
      assert.equal(usage.droppedMessages, expected.dropped_messages);
      assert.equal(usage.droppedTokens, expected.dropped_tokens);
    }
  },

  async demo_chat(cases) {
    for (const { messages, tools, add_generation_prompt, prompt } of nonEmpty(cases)) {
      const options = { tools, addGenerationPrompt: add_generation_prompt };
      assert.equal(demo.applyChatTemplate(messages, options), prompt);
    }
  },

  async demo_greedy({ capitals, chat, completions, tools, tool_calls: toolCalls }) {
    const greedy = { temperature: 0, maxTokens: 200 };
    const asked = (it, options) =>
      demo.chat([{ role: 'user', content: it.question }], { ...greedy, ...options });

    for (const { it, answer } of await answers(capitals, (it) => asked(it))) {
      assert.equal(answer.text, it.text);
      assert.ok(answer.text.includes(it.capital));
    }

    const told = await answers(chat, (it) =>
      demo.chat(it.messages, { ...greedy, tools: it.tools }),
    );
    for (const { it, answer } of told) {
      const call = /^\s*<tool_call>(?<json>.*)<\/tool_call>\s*$/s.exec(it.text);
      if (call) {
        const [{ function: called }] = answer.message.tool_calls;
        const found = { name: called.name, arguments: JSON.parse(called.arguments) };
        assert.deepEqual(found, JSON.parse(call.groups.json));
        assert.equal(answer.finishReason, 'tool_calls');
      } else {
        assert.equal(answer.text, it.text, JSON.stringify(it.messages));
      }
    }

    const continued = await answers(completions, (it) =>
      demo.generate(it.prompt, { temperature: 0, maxTokens: it.max_tokens }),
    );
    for (const { it, answer } of continued) assert.equal(answer.text, it.text, it.prompt);

    for (const { it, answer } of await answers(toolCalls, (it) => asked(it, { tools }))) {
      const [{ function: called }] = answer.message.tool_calls;
      assert.equal(called.name, it.call.name);
      assert.deepEqual(JSON.parse(called.arguments), it.call.arguments);
    }
  },

  async demo_embeddings({ tolerance, cases }) {
    const texts = nonEmpty(cases).map((it) => it.text);
    for (const pooling of ['mean', 'cls', 'last']) {
      const embeddings = await demo.embed(texts, { pooling });
      for (const [index, it] of cases.entries()) {
        const vector = embeddings.vectors[index];
        assert.equal(vector.length, it[pooling].length);
        assert.equal(embeddings.tokenCounts[index], it.tokens);
        const apart = it[pooling].map((number, at) => Math.abs(number - vector[at]));
        assert.ok(Math.max(...apart) < tolerance, `${pooling} of ${it.text}`);
      }
    }
  },

  async demo_seeded(cases) {
    for (const { prompt, options, tokens, text } of nonEmpty(cases)) {
      const completion = await demo.generate(prompt, camelKeys(options));
      assert.deepEqual(completion.tokens, tokens);
      assert.equal(completion.text, text);
    }
  },

  async defaults(options) {
    assert.deepEqual(demo.defaultOptions, camelKeys(options));
  },

  async plan({ shapes, plans, errors }) {
    const planned = (it) => plan(shapes[it.shape] ?? it.fields ?? it.source, camelKeys(it.options));
    for (const it of nonEmpty(plans)) {
      const made = await planned(it);
      const expected = camelKeys(it.plan);
      if (it.layers) {
        const layers = Object.fromEntries(made.devices.map((gpu) => [gpu.name, gpu.layers]));
        assert.deepEqual(layers, it.layers, JSON.stringify(it));
      }
      for (const [field, value] of Object.entries(expected)) {
        assert.deepEqual(made[field], value, `${JSON.stringify(it)}: ${field}`);
      }
      assert.ok(String(made).includes(made.host.name));
      assert.equal(made.options.contextSize, made.contextSize);
    }
    for (const it of nonEmpty(errors)) await refused(it, () => planned(it));
  },

  async errors({ kinds, load, generate, chat, embed, rerank }) {
    for (const it of nonEmpty(load)) {
      await refused(it, () => Model.load(it.source, camelKeys(it.options)));
      await refused(it, () => new Model(it.source, camelKeys(it.options)));
    }
    for (const it of nonEmpty(generate)) {
      await refused(it, () => demo.generate(it.prompt, camelKeys(it.options)));
      await refused(it, () => demo.stream(it.prompt, camelKeys(it.options)).next());
    }
    for (const it of nonEmpty(chat)) {
      await refused(it, () => demo.chat(it.messages, camelKeys(it.options)));
      await refused(it, () => demo.streamChat(it.messages, camelKeys(it.options)).next());
    }
    for (const it of nonEmpty(embed)) {
      await refused(it, () => demo.embed(it.texts, camelKeys(it.options)));
    }
    for (const it of nonEmpty(rerank)) {
      await refused(it, () => demo.rerank(it.query, it.documents, camelKeys(it.options)));
    }
    const declarations = path.join(repository, 'bindings/node/lib/generated/errors.ts');
    const declared = readFileSync(declarations, 'utf8');
    for (const code of Object.values(kinds)) assert.ok(declared.includes(`| '${code}'`), code);
  },
};

describe('vectors', () => {
  before(async () => {
    demo = await loadDemo({ nParallel: 1 });
  });
  after(() => demo.close());

  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  const known = Object.keys(checks).map((name) => `${name}.json`);
  for (const file of new Set([...known, ...files])) {
    const skip = files.includes(file) ? false : `${file} has not been written`;
    test(file, { skip }, async () => {
      const check = checks[path.basename(file, '.json')];
      assert.ok(check, `${file} is not executed`);
      await check(JSON.parse(readFileSync(path.join(folder, file), 'utf8')));
    });
  }
});
