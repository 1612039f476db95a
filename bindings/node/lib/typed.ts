// Answers as values of types: schemas of Zod, Valibot, ArkType and others that follow Standard Schema.

import { MullamaError, invalidOption } from './errors.js';
import type { StopReason } from './generated/results.js';
import type { StandardSchema } from './types.js';

/** Converts the text of an answer to a value. */
export type Read = (text: string, stopReason: StopReason) => unknown;

/** Converts a Standard Schema in a chat's options to a JSON schema, and returns how to read the answer. */
export function withSchema<Given extends object | undefined>(
  options: Given,
): { options: Given; read?: Read } {
  const format = (options as { responseFormat?: unknown } | undefined)?.responseFormat;
  if (!isStandardSchema(format)) return { options };
  const schema = jsonSchemaOf(format);
  const responseFormat = { type: 'json_schema', json_schema: { name: 'answer', schema } };
  return { options: { ...options, responseFormat }, read: reader(format) };
}

function isStandardSchema(value: unknown): value is StandardSchema {
  // Some schemas are functions.
  return (
    (typeof value === 'object' || typeof value === 'function') &&
    value !== null &&
    typeof (value as Partial<StandardSchema>)['~standard']?.validate === 'function'
  );
}

/** The JSON schema of the schema's input: from the standard's method, else from the library's. */
function jsonSchemaOf(schema: StandardSchema): Record<string, unknown> {
  const own = schema as { toJSONSchema?: (options: { io: 'input' }) => Record<string, unknown> };
  const standard = schema['~standard'].jsonSchema;
  if (standard) return standard.input({ target: 'draft-2020-12' });
  if (typeof own.toJSONSchema === 'function') return own.toJSONSchema({ io: 'input' });
  throw invalidOption(
    'responseFormat',
    `${schema['~standard'].vendor} provides no JSON schema for it; give one as jsonSchema`,
  );
}

function reader(schema: StandardSchema): Read {
  return (text, stopReason) => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw problem(
        'INVALID_ARGUMENT',
        `the answer was ended (${stopReason.kind}) before it was complete`,
        cause,
      );
    }
    const result = schema['~standard'].validate(value);
    if (result instanceof Promise) {
      throw problem(
        'UNSUPPORTED',
        'the schema validates asynchronously: validate the text yourself',
      );
    }
    if (!result.issues) return result.value;
    const issues = result.issues.map(({ message }) => message).join('; ');
    throw problem('INVALID_GRAMMAR', `the answer does not match the schema: ${issues}`);
  };
}

const KINDS = {
  INVALID_ARGUMENT: 'InvalidArgument',
  INVALID_GRAMMAR: 'InvalidGrammar',
  UNSUPPORTED: 'Unsupported',
} as const;

function problem(code: keyof typeof KINDS, message: string, cause?: unknown): MullamaError {
  return MullamaError.of({ kind: KINDS[code], code, message, cause });
}
