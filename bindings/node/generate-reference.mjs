// Generates docs/reference/node.md from the declarations with TypeDoc; with --check, fails if it is out of date.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { Application, Converter, ReflectionFlag, ReflectionKind } from 'typedoc';

const HEAD = `# Node.js

<!-- Written by \`make reference\` from the declarations of bindings/node/lib: change those, not this. -->

The API of the package \`mullama\`. The types are those of its declarations, which TypeScript uses.
`;

const target = path.join(import.meta.dirname, '../../docs/reference/node.md');

/** Shows classes from a user's view: getters as properties, and generated members as their own. */
function simplify({ project }) {
  for (const property of project.getReflectionsByKind(ReflectionKind.Property)) {
    if (property.inheritedFrom?.name.startsWith('Readonly.')) delete property.inheritedFrom;
  }
  for (const type of project.getReflectionsByKind(ReflectionKind.ClassOrInterface)) {
    if (type.extendedTypes?.some(({ name }) => name === 'Readonly')) delete type.extendedTypes;
  }
  for (const accessor of project.getReflectionsByKind(ReflectionKind.Accessor)) {
    const { type, comment } = accessor.getSignature;
    Object.assign(accessor, { kind: ReflectionKind.Property, type, comment });
    accessor.setFlag(ReflectionFlag.Readonly);
    delete accessor.getSignature;
  }
}

/** TypeDoc's output for the declarations, as one page. */
async function generated() {
  const out = mkdtempSync(path.join(tmpdir(), 'mullama-reference-'));
  try {
    const app = await Application.bootstrapWithPlugins({ logLevel: 'Warn', out });
    app.converter.on(Converter.EVENT_RESOLVE_BEGIN, simplify);
    const project = await app.convert();
    if (!project) throw new Error('the declarations cannot be read');
    await app.generateOutputs(project);
    if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1);
    return readFileSync(path.join(out, 'README.md'), 'utf8');
  } finally {
    rmSync(out, { recursive: true });
  }
}

/** Escapes the brackets of array types after a link or code, which would otherwise be parsed as a link. */
const withArrays = (line) => line.replaceAll(/(?<=[)`\]])\[\]/g, String.raw`\[\]`);

/**
 * Replaces TypeDoc's anchors, which number equal names, by the names of the documented items: `Model`,
 * `Model.stream`.
 */
function withAnchors(lines) {
  const names = new Set();
  let owner = '';
  let isCode = false;
  const anchored = lines.map((line) => {
    if (line.startsWith('```')) isCode = !isCode;
    if (isCode) return { line, isCode };
    const type = /^### (?<name>\w+)(\(\))?$/.exec(line)?.groups;
    const method = /^#### \W*(?<name>\w+)\W*$/.exec(line)?.groups;
    const property = /<a id="property-[^"]*"><\/a> `(?<name>\w+)/.exec(line)?.groups;
    if (type) owner = type.name;
    if (!type && !method && !property) return { line, owner };
    const name = type ? owner : `${owner}.${(method ?? property).name}`;
    names.add(name);
    if (property) return { line: line.replace(/<a id="[^"]*"/, `<a id="${name}"`), owner };
    return { line: `${line} { #${name} }`, owner };
  });
  const linked = ({ line, owner, isCode }) => {
    if (isCode) return line;
    return withArrays(line).replaceAll(/\[(`?)([\w.]+)\1\]\(#[^)]*\)/g, (_, quote, name) => {
      const target = [name, `${owner}.${name}`].find((known) => names.has(known));
      if (!target) throw new Error(`where does the link to ${name} lead?`);
      return `[${quote}${name}${quote}](#${target})`;
    });
  };
  return anchored.map(linked);
}

/** The page in the Markdown of MkDocs. */
function page(text) {
  const body = text
    .replace(/^# .*\n/, '')
    .replaceAll(/^\*\*\*$\n\n/gm, '')
    // Headings that only repeat the tables below them, and cross-references.
    .replaceAll(/^#{4,6} (Constructors|Methods|Parameters|Properties|Throws)\n\n/gm, '')
    .replaceAll(
      /^#{4,6} (Extended by|Implementation of|Implements|Inherited from|Overrides)\n\n(?:.+\n)+\n?/gm,
      '',
    )
    .replaceAll(/^#{4,6} (?!Constructor$)([A-Z][a-z]+(?: [A-Z][a-z]+)?)\n\n/gm, '**$1**\n\n')
    .replaceAll('**Returns**\n\n', 'Returns ')
    .replaceAll(/^#{5} /gm, '#### ')
    // Python's Markdown does not support this escape.
    .replaceAll('\\<', '&lt;');
  return `${HEAD}${withAnchors(body.split('\n')).join('\n').trimEnd()}\n`;
}

const text = page(await generated());
if (!process.argv.includes('--check')) {
  writeFileSync(target, text);
} else if (readFileSync(target, 'utf8') !== text) {
  console.error(`${target} is out of date: run \`make reference\``);
  process.exitCode = 1;
}
