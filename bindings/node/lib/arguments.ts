// Validates and converts arguments for the addon. Nothing is coerced: invalid Unicode, non-finite numbers, functions,
// symbols and big integers cause errors that name their place.

import { type MullamaError, invalidArgument, invalidOption } from './errors.js';

/** Maximum nesting depth, which also detects values that contain themselves. The native side reads 127 levels. */
const MAX_DEPTH = 126;

/** More tokens than fit in any context. */
const MAX_TOKENS = 2 ** 24;

/** The same for the values of any other argument; those of nested arrays and objects count. */
const MAX_VALUES = 2 ** 20;

declare const checked: unique symbol;

/** Text that is valid Unicode. */
export type Text = string & { [checked]: 'text' };

/** A value as JSON text. */
export type Json = string & { [checked]: 'json' };

export type Options = Json;

export type TextOrTokens = Text | Int32Array;

/** Receives new chunks, and the error that ended the stream. */
export type Deliver = (chunks: unknown[], error: Error | null) => void;

/** Creates the error for a problem at a place within an argument. */
type Fail = (place: string, problem: string) => MullamaError;

export function argument(name: string): Fail {
  return (place, problem) => invalidArgument(`${name}${place}: ${problem}`);
}

export function option(name: string): Fail {
  return (place, problem) => invalidOption(name, place ? `${place}: ${problem}` : problem);
}

export function textOf(value: unknown, name = 'the text'): Text {
  return checkText(value, argument(name), '');
}

/** Tokens: an array of numbers, or a typed array. */
export function tokensOf(value: unknown): Int32Array {
  return checkTokens(value, argument('the tokens'), '');
}

/** A prompt: text or tokens. */
export function promptOf(value: unknown): TextOrTokens {
  return checkPrompt(value, argument('the prompt'), '');
}

/** Texts to embed: one or several, each as text or as tokens. */
export function promptsOf(value: unknown): TextOrTokens[] {
  const fail = argument('the texts');
  if (typeof value !== 'string' && !isList(value)) {
    throw fail('', 'expected a string or an array of strings');
  }
  if (typeof value === 'string' || isTyped(value) || typeof value[0] === 'number') {
    return [checkPrompt(value, fail, '')];
  }
  checkLength(value, MAX_VALUES, fail, '');
  return Array.from(value, (element, index) => checkPrompt(element, fail, `[${index}]`));
}

export function textsOf(value: unknown, name: string): Text[] {
  const fail = argument(name);
  if (!Array.isArray(value)) throw fail('', 'expected an array of strings');
  checkLength(value, MAX_VALUES, fail, '');
  return value.map((element, index) => checkText(element, fail, `[${index}]`));
}

/** An array that is copied or read; throws if it has too many elements. */
export function arrayOf(value: unknown[], fail: Fail): unknown[] {
  checkLength(value, MAX_VALUES, fail, '');
  return value;
}

/** The elements of an iterable, which may have no end. */
export function elementsOf<T>(value: Iterable<T>, fail: Fail): T[] {
  if (Array.isArray(value)) arrayOf(value, fail);
  const elements: T[] = [];
  for (const element of value) {
    if (elements.length === MAX_VALUES) throw fail('', tooMany(MAX_VALUES));
    elements.push(element);
  }
  return elements;
}

/** A saved state: its bytes, or the path of a file. */
export function stateOf(value: unknown): Text | Uint8Array {
  if (typeof value === 'string') return textOf(value, 'the state');
  if (isBytes(value)) return value;
  throw argument('the state')('', 'expected a Uint8Array, or the path of a file');
}

export function jsonOf(value: unknown, name: string): Json {
  return JSON.stringify(new Reader(argument(name)).read(value, '', 1) ?? null) as Json;
}

/** Stands for a function as the value of an option. The core rejects it, with a hint if another project has the option. */
const FUNCTION = { $function: true };

/** Checks that options are an object. */
export function checkOptions(given: unknown): void {
  if (typeof (given ?? {}) !== 'object' || isList(given)) {
    throw invalidArgument('the options: expected an object');
  }
}

/** Options by name, without those that are `undefined`. */
export function optionsOf(given: unknown): Json {
  checkOptions(given);
  const fields = Object.entries(given ?? {}).map(([name, value]) => {
    const read = () => new Reader(option(name)).read(value, '', 1);
    return [textOf(name, 'the name of a field'), typeof value === 'function' ? FUNCTION : read()];
  });
  return JSON.stringify(Object.fromEntries(fields)) as Json;
}

/** Whether a value is a typed array, of any realm. The other view of a buffer, `DataView`, has no length. */
function isTyped(value: unknown): value is Int32Array | Uint8Array {
  return ArrayBuffer.isView(value) && 'length' in value;
}

function isBytes(value: unknown): value is Uint8Array {
  return isTyped(value) && value[Symbol.toStringTag] === 'Uint8Array';
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || isTyped(value);
}

function tooMany(most: number): string {
  return `has more than ${most} elements`;
}

/** Sparse arrays and proxies can have any length, and copying one would take that many steps. */
function checkLength(list: ArrayLike<unknown>, most: number, fail: Fail, place: string): void {
  if (list.length > most) throw fail(place, tooMany(most));
}

function checkText(value: unknown, fail: Fail, place: string): Text {
  if (typeof value !== 'string') throw fail(place, 'expected a string');
  // The default conversion would silently replace lone surrogates with U+FFFD.
  const half = value.search(/\p{Surrogate}/u);
  if (half >= 0) {
    throw fail(place, `is not valid Unicode: half of a character stands alone at index ${half}`);
  }
  return value as Text;
}

function checkTokens(value: unknown, fail: Fail, place: string): Int32Array {
  if (!isList(value)) throw fail(place, 'expected an array of tokens');
  if (isBytes(value)) {
    throw fail(place, 'expected text or tokens, not bytes: pictures are for messages');
  }
  checkLength(value, MAX_TOKENS, fail, place);
  return Int32Array.from(value, (token, index) => {
    if (typeof token === 'number' && token === (token | 0)) return token;
    throw fail(`${place}[${index}]`, 'expected a token, which is a whole number from 0');
  });
}

function checkPrompt(value: unknown, fail: Fail, place: string): TextOrTokens {
  if (typeof value === 'string') return checkText(value, fail, place);
  if (isList(value)) return checkTokens(value, fail, place);
  throw fail(place, 'expected a string or an array of tokens');
}

/** Copies values that JSON can represent, and counts them. */
class Reader {
  #fail: Fail;
  #count = 0;

  constructor(fail: Fail) {
    this.#fail = fail;
  }

  /** A copy of a value; `undefined` only for `undefined`. */
  read(value: unknown, place: string, depth: number): unknown {
    if (++this.#count > MAX_VALUES) throw this.#fail('', tooMany(MAX_VALUES));
    switch (typeof value) {
      case 'undefined':
      case 'boolean':
        return value;
      case 'number':
        if (Number.isFinite(value)) return value;
        throw this.#fail(place, `${value} is not a finite number`);
      case 'string':
        return checkText(value, this.#fail, place);
      case 'bigint':
        throw this.#fail(place, 'expected a number, not a BigInt');
      case 'object':
        return value && this.#readObject(value, place, depth);
      default:
        throw this.#fail(place, `a ${typeof value} has no meaning here`);
    }
  }

  #readObject(value: object, place: string, depth: number): unknown {
    if (depth > MAX_DEPTH) throw this.#fail('', 'nested too deep, or contains itself');
    if (isList(value)) {
      checkLength(value, MAX_VALUES, this.#fail, place);
      return Array.from(value, (element, index) => {
        return this.read(element, `${place}[${index}]`, depth + 1) ?? null;
      });
    }
    const fields = Object.entries(value).map(([key, field]: [string, unknown]) => {
      return [textOf(key, 'the name of a field'), this.read(field, `${place}.${key}`, depth + 1)];
    });
    if (fields.every(([, field]) => field === undefined) && !isPlain(value)) {
      throw this.#fail(place, 'expected a plain object (no Map, Set, Date, Promise, ...)');
    }
    return Object.fromEntries(fields);
  }
}

/** Whether an object is a plain one: its prototype, of any realm, has no prototype. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
