'use strict';

const { invalidOption } = require('./errors.js');

/** The tools among the options of a chat, each with its definition in OpenAI's shape. */
function readTools(tools) {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools)) throw invalidOption('tools', 'expected an array');
  return tools.map((tool, index) => readTool(tool, (problem) => `[${index}]: ${problem}`));
}

/** The options with tools as the native side takes them. */
function withDefinitions(options) {
  if (!Array.isArray(options?.tools)) return options;
  return { ...options, tools: readTools(options.tools).map(({ definition }) => definition) };
}

function readTool(tool, place) {
  if (typeof tool === 'function') {
    // What a function takes is not to be seen from outside.
    const problem = 'a function comes as { name, description, parameters, execute }';
    throw invalidOption('tools', place(problem));
  }
  if (typeof tool !== 'object' || tool === null) return { definition: tool };
  const { execute, ...rest } = tool;
  if (typeof (execute ?? readTool) !== 'function') {
    throw invalidOption('tools', place('execute: expected a function'));
  }
  if ('type' in tool || 'function' in tool) {
    return { name: rest.function?.name, definition: rest, execute };
  }
  const { name, description, parameters, ...others } = rest;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw invalidOption('tools', place(`there is no field \`${unknown}\``));
  }
  return {
    name,
    definition: { type: 'function', function: { name, description, parameters } },
    execute,
  };
}

/** What calling a tool gave, for the model. */
async function callTool(tool, request, signal) {
  try {
    const result = await tool.execute(request.arguments, { id: request.id, signal });
    return { text: typeof result === 'string' ? result : JSON.stringify(result ?? null) };
  } catch (error) {
    return { text: error instanceof Error ? String(error) : `${error}`, failed: true };
  }
}

module.exports = { callTool, readTools, withDefinitions };
