/** Who says a message; `function` is an older name of `tool`. */
export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function';

/** A part of a message that has several. */
export type ContentPart =
  | { type: 'text' | 'input_text' | 'output_text'; text: string }
  | { type: 'refusal'; refusal: string };

/** A call of a tool by the model. */
export interface ToolCall {
  /** Names the call, for the result to refer to. */
  id: string;
  type: 'function';
  function: {
    name: string;
    /** A JSON object, as text. */
    arguments: string;
  };
}

/** One message of a chat, in OpenAI's shape. */
export interface Message {
  role: Role;
  /** What is said; absent where an assistant only calls tools. */
  content?: string | ContentPart[] | null;
  /** What the assistant thought before it answered. */
  reasoning?: string | null;
  /** Tools that the assistant calls. */
  tool_calls?: ToolCall[] | null;
  /** Of a tool's result: the id of the call. */
  tool_call_id?: string | null;
  /** Of a tool's result: the tool's name. Of others: the speaker's. */
  name?: string | null;
  /** The older form of one call. */
  function_call?: ToolCall['function'] | null;
  /** What the assistant declined to do; it stands for a content that is not there. */
  refusal?: string | null;
}

/** The message of an answer: ready to be added to the messages of the next turn. */
export interface AssistantMessage {
  role: 'assistant';
  content: string | null;
  /** What the model thought before it answered. */
  reasoning?: string;
  tool_calls?: ToolCall[];
}
