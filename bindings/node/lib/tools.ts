import { arrayOf, option } from './arguments.js';
import { type MullamaError, invalidOption } from './errors.js';
import type { AbortSignal } from './globals.js';

/** A tool that the model may call, in OpenAI's format. */
export interface Tool {
  type: 'function';
  function: {
    name: string;
    description?: string;
    /** A JSON schema of the arguments. */
    parameters?: object;
    strict?: boolean | null;
  };
  /** The function: see {@link FunctionTool.execute}. */
  // A method, so that functions may name the arguments that the schema guarantees.
  execute?(arguments_: ToolArguments, context: ToolContext): unknown;
}

/** The second argument of a tool's function. */
export interface ToolContext {
  /** The id of the call. */
  id: string;
  /** Aborted when the result is no longer needed. */
  signal: AbortSignal;
}

/** The arguments of a call, as the tool's schema describes them. */
export type ToolArguments = Record<string, unknown>;

/**
 * A tool's function. Its result is passed to the model: text unchanged, any other value as JSON.
 */
export type ToolFunction = (arguments_: ToolArguments, context: ToolContext) => unknown;

/** A tool that the model may call, with its function. */
export interface FunctionTool {
  name: string;
  /** The description for the model. */
  description?: string;
  /** A JSON schema of the arguments. */
  parameters?: object;
  /**
   * The function, which a {@link Chat} runs when the model calls the tool. It may return a promise;
   * error messages of exceptions are passed to the model. Without a function, the caller runs the
   * calls.
   *
   * It may name the arguments that its schema describes: `({ city }: { city: string }) => ...`.
   */
  execute?(arguments_: ToolArguments, context: ToolContext): unknown;
}

/** Which tools are called. */
export type ToolChoice =
  'auto' | 'none' | 'required' | { type: 'function'; function: { name: string } };

/** A tool with its definition in OpenAI's format. */
export interface ReadTool {
  name: string | undefined;
  definition: unknown;
  execute: ToolFunction | undefined;
}

/** The result of a call, for the model. */
export interface ToolOutput {
  text: string;
  failed?: boolean;
}

/** The tools among the options of a chat. */
export function readTools(tools: unknown): ReadTool[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw invalidOption('tools', 'expected an array');
  return arrayOf(tools, option('tools')).map(readTool);
}

/** The options with the definitions of tools only, for the native side. */
export function withDefinitions<Options extends { tools?: unknown }>(
  options: Options | undefined,
): Options | undefined {
  if (!Array.isArray(options?.tools)) return options;
  return { ...options, tools: readTools(options.tools).map(({ definition }) => definition) };
}

function readTool(tool: unknown, index: number): ReadTool {
  const invalid = (problem: string): MullamaError =>
    invalidOption('tools', `[${index}]: ${problem}`);
  if (typeof tool === 'function') {
    // The parameters of a function cannot be inspected.
    throw invalid('a function is given as { name, description, parameters, execute }');
  }
  if (typeof tool !== 'object' || tool === null) {
    return { name: undefined, definition: tool, execute: undefined };
  }
  const { execute, ...rest } = tool as Partial<Tool & FunctionTool>;
  if (typeof (execute ?? readTool) !== 'function') throw invalid('execute: expected a function');
  if ('type' in rest || 'function' in rest) {
    return { name: rest.function?.name, definition: rest, execute };
  }
  const { name, description, parameters, ...others } = rest;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw invalid(`there is no field \`${unknown}\``);
  return {
    name,
    definition: { type: 'function', function: { name, description, parameters } },
    execute,
  };
}

/** Calls a tool. */
export async function callTool(
  execute: ToolFunction,
  request: { id: string; arguments: ToolArguments },
  signal: AbortSignal,
): Promise<ToolOutput> {
  try {
    const result = await execute(request.arguments, { id: request.id, signal });
    return { text: typeof result === 'string' ? result : JSON.stringify(result ?? null) };
  } catch (error) {
    return { text: String(error), failed: true };
  }
}
