// Pictures in messages: bytes and `file:` URLs are converted to `data:` URLs.

import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { type Json, argument, arrayOf, jsonOf } from './arguments.js';
import { MullamaError, invalidArgument } from './errors.js';
import type { FileAddress, Message, Picture } from './messages.js';

/** Messages as JSON text, with pictures as `data:` URLs. */
export function messagesOf(messages: unknown): Json {
  const list = Array.isArray(messages)
    ? arrayOf(messages, argument('messages')).map(withAddresses)
    : messages;
  return jsonOf(list, 'messages');
}

function withAddresses(message: unknown): unknown {
  const content = (message as Message | null | undefined)?.content;
  if (!Array.isArray(content)) return message;
  return { ...(message as Message), content: arrayOf(content, argument('messages')).map(partOf) };
}

function partOf(part: unknown): unknown {
  if (isPicture(part)) return { type: 'image_url', image_url: { url: addressOf(part) } };
  if (typeof part !== 'object' || part === null || !('image_url' in part)) return part;
  const image: unknown = part.image_url;
  if (isPicture(image)) return { ...part, image_url: { url: addressOf(image) } };
  const url: unknown = (image as { url?: unknown } | null | undefined)?.url;
  return isPicture(url)
    ? { ...part, image_url: { ...(image as object), url: addressOf(url) } }
    : part;
}

function isPicture(value: unknown): value is Picture {
  if (value instanceof URL) return true;
  const tag = Object.prototype.toString.call(value);
  return tag === '[object Uint8Array]' || tag === '[object ArrayBuffer]';
}

function addressOf(picture: Picture): string {
  const bytes = 'href' in picture ? read(picture) : picture;
  const view = ArrayBuffer.isView(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : Buffer.from(bytes);
  return `data:;base64,${view.toString('base64')}`;
}

function read(address: FileAddress): Uint8Array {
  if (address.protocol === 'data:') {
    throw invalidArgument('an address with data is given as a string, not as a URL');
  }
  if (address.protocol !== 'file:') {
    throw invalidArgument(`nothing is fetched from ${address.protocol}//: give the bytes`);
  }
  try {
    return readFileSync(fileURLToPath(address.href));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isMissing = code === 'ENOENT';
    throw MullamaError.of({
      kind: isMissing ? 'NotFound' : 'Io',
      code: isMissing ? 'NOT_FOUND' : 'IO',
      message: `cannot read ${address.href}: ${message}`,
      cause: error,
    });
  }
}
