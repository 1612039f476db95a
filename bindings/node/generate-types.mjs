// Generates lib/generated from declarations in Rust: the options and results of the core, the codes of errors,
// and the addon's functions and classes. With --check, fails if it is out of date.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { format, resolveConfig } from 'prettier';

import { repository, target } from './packaging/pack.mjs';

const HEAD =
  '// Written by generate-types.mjs from what is declared in Rust: change that, not this.';

/** The TypeScript types of Rust types. */
const TYPES = {
  Bandwidth: 'string',
  ByteSize: 'string | number',
  DeviceKind: "'cpu' | 'gpu' | 'igpu' | 'accelerator'",
  DeviceList: 'string | DeviceDescription | (string | DeviceDescription)[]',
  bool: 'boolean',
  f32: 'number',
  f64: 'number',
  i32: 'number',
  u32: 'number',
  u8: 'number',
  u64: 'number',
  usize: 'number',
  String: 'string',
  'std::path::PathBuf': 'string',
  TensorOverrides: 'Record<string, string>',
  Token: 'number',
  Verdict: "'chat' | 'batch' | 'too_slow'",
  'BTreeMap<String, String>': 'Record<string, string>',
  'BTreeMap<String, Value>': 'Record<string, string | number | boolean>',
  'Map<String, Value>': 'Record<string, unknown>',
  CpuKernels: "'own' | 'engine'",
  CudaSettings: 'CudaSettings',
  FlashAttention: "'auto' | 'on' | 'off'",
  GpuLayers: "number | 'auto' | 'all'",
  KvCacheTypes: 'KvCacheType | [keys: KvCacheType, values: KvCacheType]',
  Lora: 'Lora',
  LogitBias: 'Record<number, number | false>',
  PlannedModel: '{ name?: string; architecture: string; size: number }',
  RequestState: "'waiting' | 'prompt' | 'generating'",
  SplitMode: "'none' | 'layer' | 'row' | 'tensor'",
  Pooling: "'mean' | 'cls' | 'last' | 'none' | 'rank'",
  Stop: 'string | string[]',
  StopKind: "'stop_text' | 'end_token' | 'max_tokens' | 'context_size' | 'timeout' | 'cancelled'",
  Truncate: "'none' | 'end' | 'start'",
};

/** The types of values that are arbitrary JSON to the core. */
const SHAPES = {
  jsonSchema: 'JsonSchema',
  options: 'LoadOptions',
  responseFormat: 'ResponseFormat',
  toolChoice: 'ToolChoice',
  tools: '(Tool | FunctionTool)[]',
};

/** The core's structs that are returned as plain objects, by their names in TypeScript. */
const RESULTS = {
  Alternative: 'Alternative',
  Backend: 'Backend',
  Capabilities: 'Capabilities',
  Device: 'Device',
  DeviceShare: 'DeviceShare',
  EmbeddingUsage: 'EmbeddingUsage',
  Logprob: 'TopLogprob',
  MediaLimits: 'MediaLimits',
  Placement: 'Placement',
  PlanFields: 'Plan',
  PlannedDevice: 'PlannedDevice',
  Prediction: 'Prediction',
  PromptProgress: 'PromptProgress',
  RankedDocument: 'RankedDocument',
  RequestInfo: 'RequestInfo',
  RerankingFields: 'Reranking',
  Stats: 'Stats',
  StopReason: 'StopReason',
  Timings: 'Timings',
  TokenLogprob: 'TokenLogprob',
  ToolCallDelta: 'ToolCallDelta',
  ToolRequest: 'ToolRequest',
  Usage: 'Usage',
};

const specs = createRequire(import.meta.url)('./native/mullama.node')._optionSpecs();

/** The interfaces of options: their documentation, their heading, and their sets of options. */
const OPTIONS = [
  ['Settings of the CUDA backend.', 'CudaSettings', 'cuda'],
  ['Options of loading a model.', 'LoadOptions extends Abortable, Progress', 'model', 'context'],
  [
    'Options of a plan: those of loading, and a description of the hardware.',
    "PlanOptions extends Omit<LoadOptions, 'devices' | 'onProgress'>",
    'plan',
  ],
  ['Options of a generation.', 'GenerateOptions extends Abortable', 'generate'],
  [
    'Options of a chat: those of a generation, and those specific to chats.',
    'ChatOptions extends GenerateOptions',
    'chat',
  ],
  ['Options of an embedding.', 'EmbedOptions extends Abortable', 'embed'],
  ['Options of a reranking.', 'RerankOptions extends Abortable', 'rerank'],
];

const camel = (name) => name.replaceAll(/_(\w)/g, (_, letter) => letter.toUpperCase());
const snake = (name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The names of options in JavaScript, by those in Rust; both in backticks. */
const names = new Map(
  Object.values(specs)
    .flat()
    .map(({ name }) => [`\`${snake(name)}\``, `\`${name}\``]),
);

/** A documentation comment, with JavaScript's names of options. */
function comment(doc) {
  const text = doc.trim().replaceAll(/`\w+`/g, (quoted) => names.get(quoted) ?? quoted);
  const lines = text.split('\n').map((line) => ` * ${line.trim()}`);
  return lines.length === 1 ? `/** ${text} */\n` : `/**\n${lines.join('\n')}\n */\n`;
}

function declaration(doc, heading, members) {
  const lines = members.map(({ doc, name, type }) => `${comment(doc)}${name}: ${type};\n`);
  return `${comment(doc)}export interface ${heading} {\n${lines.join('')}}\n\n`;
}

/** The name in TypeScript of a result of the core. */
const resultOf = (struct) => Object.keys(RESULTS).find((name) => RESULTS[name] === struct);

function typeOf(name, type) {
  const inner = /^Vec<(.*)>$/.exec(type)?.[1];
  const found = (type.includes('Value') && SHAPES[name]) || TYPES[type] || resultOf(type);
  if (!found && !inner) throw new Error(`${name}: which TypeScript type is ${type}?`);
  return found || `${typeOf(name, inner)}[]`;
}

function options() {
  const declare = ([doc, heading, ...sets]) => {
    const members = sets
      .flatMap((set) => specs[set])
      .map(({ doc, name, type }) => ({ doc, name: `${name}?`, type }));
    return declaration(doc, heading, members);
  };
  return OPTIONS.map(declare).join('');
}

/** The Rust code of the crates that declare results and errors, as formatted by rustfmt. */
function rust() {
  const folders = ['mullama-base', 'mullama-core'].map((name) =>
    path.join(repository, 'crates', name, 'src'),
  );
  const files = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true })
      .filter((file) => file.endsWith('.rs'))
      .map((file) => path.join(folder, file)),
  );
  return files.map((file) => readFileSync(file, 'utf8')).join('\n');
}

const source = rust();

/** The only match of an expression in the Rust code. Throws if there is none, or more than one. */
function only(expression, what) {
  const [found, another] = source.matchAll(expression);
  if (!found || another) throw new Error(`${what}: ${another ? 'several' : 'none'} in Rust`);
  return found;
}

const uncommented = (doc) => doc.replaceAll(/^ *\/\/\/ ?/gm, '');

function results() {
  const declare = ([name, struct]) => {
    const head = `((?:^/// .*\\n)+)(?:^#\\[.*\\n)*^pub struct ${struct} \\{\\n([^}]*)^\\}`;
    const [, doc, body] = only(new RegExp(head, 'gm'), struct);
    const field = /((?: {4}\/\/\/.*\n)+)(?: {4}#.*\n)* {4}pub (\w+): (?:Option<(.*)>|(.*)),\n/y;
    const members = [];
    while (field.lastIndex < body.length) {
      const [, doc, name, optional, type] = field.exec(body) ?? [];
      if (!name) throw new Error(`${struct}: what is the field after ${members.at(-1)?.name}?`);
      members.push({
        doc: uncommented(doc),
        name: camel(name) + (optional ? '?' : ''),
        type: typeOf(camel(name), optional ?? type),
      });
    }
    return declaration(uncommented(doc), name, members);
  };
  return Object.entries(RESULTS).map(declare).join('');
}

function errors() {
  const [, table] = only(/^error_kinds! \{\n([^}]*)^\}/gm, 'error_kinds!');
  const kinds = [...table.matchAll(/((?: {4}\/\/\/.*\n)+) {4}(\w+) = "(\w+)", .*;\n/g)];
  const codes = kinds.map(([, doc, , code]) => `${comment(uncommented(doc))}| '${code}'\n`);
  const names = kinds.map(([, , name]) => `| '${name}'\n`);
  return `${comment('The kind of an error, for programs to act on.')}
    export type ErrorCode = ${codes.join('')};

    ${comment('The kind of an error, named as in the other languages.')}export type ErrorKind = ${names.join('')};`;
}

/** The declarations that `#[napi]` wrote while the addon was compiled: one JSON object per line. */
function native() {
  const lines = readFileSync(path.join(target, 'addon-types/mullama-node'), 'utf8')
    .trim()
    .split('\n');
  const items = lines.map((line) => JSON.parse(line));
  const body = (type) => {
    const impls = items.filter(({ kind, name }) => kind === 'impl' && name === type);
    return impls.map(({ def }) => def).join('\n');
  };
  const declare = {
    fn: ({ js_doc: doc, js_mod: module, def }) => {
      const declared = `${doc}export declare ${def};`;
      return module ? `export declare namespace ${module} { ${doc}export ${def}; }` : declared;
    },
    impl: () => '',
    interface: ({ js_doc: doc, name, def }) => `${doc}export interface ${name} {\n${def}\n}`,
    struct: ({ js_doc: doc, name }) => `${doc}export declare class ${name} {\n${body(name)}\n}`,
  };
  const text = items.map((item) => declare[item.kind](item)).join('\n\n');
  // `Plain` marks structs of the core.
  return text.replaceAll(/\bPlain<(Array<\w+>|\w+)>/g, (_, type) => {
    return type.replaceAll(/\w+/g, (name) => resultOf(name) ?? name);
  });
}

/** The files of a folder of lib, each with its exported types. */
function places(folder) {
  const lib = path.join(import.meta.dirname, 'lib', folder);
  const files = readdirSync(lib).filter((file) => file.endsWith('.ts'));
  return files.map((file) => {
    const text = readFileSync(path.join(lib, file), 'utf8');
    const types = text.matchAll(/^export (?:class|interface|type) (\w+)/gm);
    return { file: file.replace('.ts', '.js'), types: Array.from(types, ([, name]) => name) };
  });
}

/** The imports of a generated file. */
function imports(text, own) {
  const code = text.replaceAll(/\/\*\*.*?\*\/|'[^']*'/gs, '');
  const uses = (name) => new RegExp(`(?<!class |interface )\\b${name}\\b`).test(code);
  const lines = (start, folder) =>
    places(folder)
      .filter(({ file }) => file !== own)
      .map(({ file, types }) => ({ file, used: types.filter(uses) }))
      .filter(({ used }) => used.length)
      .map(({ file, used }) => `import type { ${used.join(', ')} } from '${start}${file}';`);
  return [...lines('../', '.'), ...lines('./', 'generated')].join('\n');
}

for (const [name, text] of Object.entries({
  options: options(),
  results: results(),
  errors: errors(),
  native: native(),
})) {
  const file = path.join(import.meta.dirname, `lib/generated/${name}.ts`);
  const whole = [HEAD, imports(text, `${name}.js`), text].join('\n\n');
  const written = await format(whole, { ...(await resolveConfig(file)), parser: 'typescript' });
  if (!process.argv.includes('--check')) {
    writeFileSync(file, written);
  } else if (readFileSync(file, 'utf8') !== written) {
    console.error(`lib/generated/${name}.ts is not what Rust declares: run \`npm run types\``);
    process.exitCode = 1;
  }
}
