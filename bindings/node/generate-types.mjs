// Writes options.d.ts from the options that the core declares; with --check, tells whether it is
// what would be written.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const specs = createRequire(import.meta.url)('./lib/native.js')._optionSpecs();
const file = path.join(import.meta.dirname, 'options.d.ts');

/** TypeScript's types for Rust's. */
const types = {
  Bandwidth: 'string',
  ByteSize: 'string | number',
  DeviceList: 'string | DeviceDescription | (string | DeviceDescription)[]',
  bool: 'boolean',
  f32: 'number',
  i32: 'number',
  u32: 'number',
  String: 'string',
  TensorOverrides: 'Record<string, string>',
  'Vec<String>': 'string[]',
  'Vec<f32>': 'number[]',
  'BTreeMap<String, Value>': 'Record<string, string | number | boolean>',
  'Map<String, Value>': 'Record<string, unknown>',
  FlashAttention: "'auto' | 'on' | 'off'",
  GpuLayers: "number | 'auto'",
  KvCacheTypes: 'KvCacheType | [keys: KvCacheType, values: KvCacheType]',
  Lora: 'Lora',
  LogitBias: 'Record<number, number | false>',
  SplitMode: "'none' | 'layer' | 'row' | 'tensor'",
  Pooling: "'mean' | 'cls' | 'last' | 'none' | 'rank'",
  Stop: 'string | string[]',
  Truncate: "'none' | 'end' | 'start'",
};

/** The types of options that are any JSON to the core. */
const shapes = {
  jsonSchema: 'JsonSchema',
  responseFormat: 'ResponseFormat',
  toolChoice: 'ToolChoice',
  tools: '(Tool | FunctionTool)[]',
};

function typeOf({ name, type }) {
  const found = shapes[name] ?? types[type.replaceAll(/\s*([<>])\s*/g, '$1')];
  if (!found) throw new Error(`option ${name}: which TypeScript type is ${type}?`);
  return found;
}

const names = new Map();
for (const { name } of Object.values(specs).flat()) {
  names.set(
    `\`${name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}\``,
    `\`${name}\``,
  );
}

/** The documentation, with the names of options as JavaScript has them. */
function comment(doc) {
  const lines = doc
    .trim()
    .split('\n')
    .map((line) => line.trim());
  const text = lines.join('\n').replaceAll(/`\w+`/g, (quoted) => names.get(quoted) ?? quoted);
  if (!text.includes('\n')) return `  /** ${text} */`;
  return ['  /**', ...text.split('\n').map((line) => `   * ${line}`), '   */'].join('\n');
}

function declaration(doc, heading, options) {
  const members = options.map((spec) => `${comment(spec.doc)}\n  ${spec.name}?: ${typeOf(spec)};`);
  return `/** ${doc} */\nexport interface ${heading} {\n${members.join('\n')}\n}\n`;
}

const text = [
  '// Written by generate-types.mjs from the options of the core: change those, not this.\n',
  `import type {
  Abortable,
  DeviceDescription,
  FunctionTool,
  JsonSchema,
  KvCacheType,
  Lora,
  Progress,
  ResponseFormat,
  Tool,
  ToolChoice,
} from './index.js';
`,
  declaration('What a model is loaded with.', 'LoadOptions extends Abortable, Progress', [
    ...specs.model,
    ...specs.context,
  ]),
  declaration(
    'What a plan takes: as loading does, and what describes hardware.',
    "PlanOptions extends Omit<LoadOptions, 'devices' | 'onProgress'>",
    specs.plan,
  ),
  declaration('What a generation is to do.', 'GenerateOptions extends Abortable', specs.generate),
  declaration(
    'What a chat is to do: as any generation, and what only a chat has.',
    'ChatOptions extends GenerateOptions',
    specs.chat,
  ),
  declaration('What an embedding is to do.', 'EmbedOptions extends Abortable', specs.embed),
  declaration('What a reranking is to do.', 'RerankOptions extends Abortable', specs.rerank),
].join('\n');

if (!process.argv.includes('--check')) {
  writeFileSync(file, text);
} else if (readFileSync(file, 'utf8') !== text) {
  console.error('options.d.ts is not what the core declares: run `npm run types`');
  process.exitCode = 1;
}
