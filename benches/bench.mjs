// Measures mullama from Node.js against the floor: see `README.md`.
//
// Samples are written to standard output, one JSON object per line, and a summary to standard error.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const SETTINGS = JSON.parse(readFileSync(new URL('settings.json', import.meta.url)));
// The sizes of the logical and the physical batch: mullama's defaults, which it does not expose.
const BATCH = [2048, 512];
const STARTS = 5;

const { values: options, positionals: models } = parseArgs({
  options: {
    mullama: { type: 'string' }, // the package's folder
    floor: { type: 'string' }, // the library mullama_floor
    threads: { type: 'string' },
    rounds: { type: 'string' }, // instead of those of settings.json
  },
  allowPositionals: true,
});
const folder = resolve(options.mullama);
const nThreads = Number(options.threads);

// Loaded first: the floor uses the engine's libraries that mullama has loaded.
const { Model, gpu } = createRequire(import.meta.url)(folder);
gpu.devices();
const addon = { exports: {} };
process.dlopen(addon, resolve(options.floor));
const { Floor, settle, others, undisturbed } = addon.exports;

// Fails if the floor has loaded a second engine, whose speed it would measure.
function checkEngine() {
  if (!existsSync('/proc/self/maps')) return;
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const mapped = [...new Set(lines.map((line) => line.slice(line.indexOf('/'))))];
  for (const name of ['libllama.so', 'libggml.so', 'libggml-base.so']) {
    const copies = mapped.filter((path) => basename(path).startsWith(name));
    if (copies.length !== 1) {
      throw new Error(`there should be one ${name} in this process: ${copies}`);
    }
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// Measures from the first chunk to the end of the stream.
async function streamed(model, prompt, count) {
  const generation = { temperature: 0, ignoreEos: true, maxTokens: count };
  let start;
  let last;
  for await (const chunk of model.stream(prompt, generation)) {
    start ??= performance.now();
    last = chunk;
  }
  return { seconds: (performance.now() - start) / 1e3, tokens: last.completion.tokens };
}

async function generated(model, prompt) {
  const start = performance.now();
  const { tokens } = await model.generate(prompt, {
    temperature: 0,
    ignoreEos: true,
    maxTokens: 1,
  });
  return { seconds: (performance.now() - start) / 1e3, tokens };
}

// Measures both sides in each round, in alternating order. They must generate the same tokens. A round
// that other programs disturb is repeated, as long as there are fewer repetitions than rounds. The first
// round is a warm-up.
async function alternate(rounds, draw, floor, mullama) {
  const times = { floor: [], mullama: [], disturbed: 0 };
  const sides = Object.entries({ floor, mullama });
  let repeats = rounds;
  let warm = false;
  while (times.floor.length < rounds) {
    const prompt = draw();
    const order = times.floor.length % 2 === 0 ? sides : [...sides].reverse();
    const [start, before] = [performance.now(), others()];
    const round = {};
    for (const [name, side] of order) {
      settle();
      round[name] = await side(prompt);
    }
    const calm = undisturbed(others() - before, (performance.now() - start) / 1e3);
    if (round.floor.tokens.join() !== round.mullama.tokens.join()) {
      throw new Error('floor and mullama did not generate the same');
    }
    if (!warm) {
      warm = true;
    } else if (!calm && repeats > 0) {
      repeats -= 1;
    } else {
      times.disturbed += calm ? 0 : 1;
      for (const [name] of sides) times[name].push(round[name].seconds);
    }
  }
  return times;
}

function report(what, model, tokens, times) {
  console.log(JSON.stringify({ what, language: 'Node.js', model, tokens, ...times }));
  const { floor, mullama, disturbed } = times;
  const [raw, own] = [floor, mullama].map((times) => (tokens / median(times)).toFixed(1));
  const ratio = median(floor.map((seconds, round) => seconds / mullama[round])).toFixed(3);
  console.error(
    `Node.js ${model} ${what}: floor ${raw} t/s, mullama ${own} t/s (${ratio}), ${disturbed} disturbed`,
  );
}

async function measure(name, path) {
  const sizes = SETTINGS.models[name];
  const rounds = Number(options.rounds ?? sizes.rounds);
  const model = await Model.load(path, { nThreads, prefixCache: 0 });
  const floor = new Floor(model.path, model.contextSize, ...BATCH, nThreads);

  // The constants of a small generator that needs no 64-bit integers (glibc's TYPE_0).
  let state = 1;
  const draw = (length) =>
    Array.from({ length }, () => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >> 8) % model.nVocab;
    });
  // Returns a prompt after which the first token has text: both sides start measuring there.
  const streamingPrompt = async () => {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const prompt = draw(SETTINGS.prompt);
      const { tokens } = floor.prefill(Int32Array.from(prompt));
      const text = await model.detokenize([...tokens], { skipSpecial: true });
      if (text !== '' && !text.includes('\ufffd')) return prompt;
    }
    throw new Error('the model begins no text');
  };

  const fixed = await streamingPrompt();
  const decoded = await alternate(
    rounds,
    () => fixed,
    (prompt) => floor.decode(Int32Array.from(prompt), sizes.decode),
    (prompt) => streamed(model, prompt, sizes.decode),
  );
  report('decode', name, sizes.decode - 1, decoded);
  const prefilled = await alternate(
    rounds,
    () => draw(sizes.prefill),
    (prompt) => floor.prefill(Int32Array.from(prompt)),
    (prompt) => generated(model, prompt),
  );
  report('prefill', name, sizes.prefill, prefilled);
  floor.close();
  await model.close();
}

// The time of `require`, and from the start of a process to the first token, each in a new process. The clock
// is the system's, which parent and child share.
const now = () => Number(process.hrtime.bigint()) / 1e9;
const required = JSON.stringify(folder);
const REQUIRE = `
const start = performance.now();
require(${required});
console.log((performance.now() - start) / 1e3);
`;
const FIRST_TOKEN = `
const { Model } = require(${required});
(async () => {
  const model = await Model.load('demo');
  for await (const chunk of model.stream('The capital of France is', { temperature: 0 })) {
    console.log(Number(process.hrtime.bigint()) / 1e9);
    break;
  }
})();
`;

function run(code) {
  // As a program usually starts: without the variable that `run.sh` sets for computations.
  const env = { ...process.env, GLIBC_TUNABLES: undefined };
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', code], {
    encoding: 'utf8',
    env,
  });
  if (status !== 0) throw new Error(`a process failed: ${stderr}`);
  return Number(stdout);
}

function firstToken() {
  const start = now();
  return run(FIRST_TOKEN) - start;
}

function starts() {
  for (const [what, once] of [
    ['import', () => run(REQUIRE)],
    ['first token', firstToken],
  ]) {
    once();
    const times = Array.from({ length: STARTS }, once);
    const sample = { what, language: 'Node.js', model: 'demo', tokens: 0 };
    console.log(JSON.stringify({ ...sample, floor: [], mullama: times, disturbed: 0 }));
    const [least, middle] = [Math.min(...times), median(times)].map((time) =>
      (time * 1e3).toFixed(1),
    );
    console.error(`Node.js ${what}: ${middle} ms, at least ${least}`);
  }
}

checkEngine();
for (const model of models) {
  const at = model.indexOf('=');
  await measure(model.slice(0, at), model.slice(at + 1));
}
starts();
