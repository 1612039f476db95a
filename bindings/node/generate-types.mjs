// Writes options.d.ts from the options that the core declares; with --check, tells whether it is
// what would be written.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const specs = createRequire(import.meta.url)('./lib/native.js')._optionSpecs();
const file = path.join(import.meta.dirname, 'options.d.ts');

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
  const members = options.map((spec) => `${comment(spec.doc)}\n  ${spec.name}?: ${spec.type};`);
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
