// Pictures in messages: bytes and `file:` URLs are converted to `data:` URLs.

import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { type Json, argument, arrayOf, jsonOf } from './arguments.js';
import { MullamaError, invalidArgument } from './errors.js';
import type { FileAddress, ImagePart, Message, Picture, PictureBlob } from './messages.js';

/** Messages as JSON text, with pictures as `data:` URLs. */
export function messagesOf(messages: unknown): Json {
  const list = Array.isArray(messages)
    ? arrayOf(messages, argument('messages')).map(withAddresses)
    : messages;
  return jsonOf(list, 'messages');
}

function withAddresses(message: unknown, index: number): unknown {
  const content = (message as Message | null | undefined)?.content;
  if (!Array.isArray(content)) return message;
  const place = (part: number) => `messages[${index}].content[${part}]`;
  const parts = partsOf(message).map((part, number) => partOf(part, place(number)));
  return { ...(message as Message), content: parts };
}

/**
 * Messages with the bytes of each `Blob`, which are only read asynchronously; without any, the same messages at once.
 */
export function readBlobs<Messages>(messages: Messages): Messages | Promise<Messages> {
  const list: unknown[] = Array.isArray(messages)
    ? arrayOf(messages, argument('messages'))
    : [messages];
  if (!list.some((message) => partsOf(message).some(blobIn))) return messages;
  const read = Promise.all(list.map(withBytes));
  return read.then((copies) => (Array.isArray(messages) ? copies : copies[0]) as Messages);
}

async function withBytes(message: unknown): Promise<unknown> {
  const read = async (part: unknown): Promise<unknown> => {
    const blob = blobIn(part);
    if (!blob) return part;
    const bytes = await blob.arrayBuffer();
    return part === blob ? bytes : { ...(part as ImagePart), image_url: bytes };
  };
  const parts = partsOf(message);
  if (!parts.some(blobIn)) return message;
  return { ...(message as Message), content: await Promise.all(parts.map(read)) };
}

function partsOf(message: unknown): unknown[] {
  const content = (message as Message | null | undefined)?.content;
  return Array.isArray(content) ? arrayOf(content, argument('messages')) : [];
}

/** The `Blob` of a part, if its picture is one. */
function blobIn(part: unknown): PictureBlob | undefined {
  const image: unknown = (part as Partial<ImagePart> | null | undefined)?.image_url;
  const url: unknown = (image as { url?: unknown } | null | undefined)?.url;
  return [part, image, url].find(isBlob);
}

function isBlob(value: unknown): value is PictureBlob {
  return ['[object Blob]', '[object File]'].includes(Object.prototype.toString.call(value));
}

function partOf(part: unknown, place: string): unknown {
  if (isPicture(part, place))
    return { type: 'image_url', image_url: { url: addressOf(part, place) } };
  if (typeof part !== 'object' || part === null || !('image_url' in part)) return part;
  const image: unknown = part.image_url;
  if (isPicture(image, place)) return { ...part, image_url: { url: addressOf(image, place) } };
  const url: unknown = (image as { url?: unknown } | null | undefined)?.url;
  return isPicture(url, place)
    ? { ...part, image_url: { ...(image as object), url: addressOf(url, place) } }
    : part;
}

/** Whether the value is a picture. Throws for a `Blob` where nothing is read asynchronously. */
function isPicture(value: unknown, place: string): value is Exclude<Picture, PictureBlob> {
  if (value instanceof URL) return true;
  if (isBlob(value)) {
    throw invalidArgument(`${place}: a Blob is not read here: give \`await blob.arrayBuffer()\``);
  }
  const tag = Object.prototype.toString.call(value);
  return tag === '[object Uint8Array]' || tag === '[object ArrayBuffer]';
}

function addressOf(picture: Exclude<Picture, PictureBlob>, place: string): string {
  const bytes = 'href' in picture ? read(picture, place) : picture;
  const view = ArrayBuffer.isView(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : Buffer.from(bytes);
  return `data:;base64,${view.toString('base64')}`;
}

function read(address: FileAddress, place: string): Uint8Array {
  if (address.protocol === 'data:') {
    throw invalidArgument(`${place}: an address with data is given as a string, not as a URL`);
  }
  if (address.protocol !== 'file:') {
    throw invalidArgument(
      `${place}: nothing is fetched from ${address.protocol}//: give the bytes`,
    );
  }
  try {
    return readFileSync(fileURLToPath(address.href));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const isMissing = code === 'ENOENT';
    throw MullamaError.of({
      kind: isMissing ? 'NotFound' : 'Io',
      code: isMissing ? 'NOT_FOUND' : 'IO',
      message: `${place}: cannot read ${address.href}: ${message}`,
      cause: error,
    });
  }
}
