/** The author of a message; `function` is an older name of `tool`. */
export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function';

/** An address: the part of Node.js's `URL` that is used. */
export interface FileAddress {
  readonly href: string;
  readonly protocol: string;
}

/** A `Blob` or `File`, as the platform has it. */
export interface PictureBlob {
  readonly size: number;
  readonly type: string;
  arrayBuffer(): Promise<ArrayBuffer>;
}

/**
 * A picture: the bytes of its file, or a `file:` URL of it. Only calls that return a promise take a
 * `Blob`, which is read asynchronously; for others, pass `await blob.arrayBuffer()`.
 */
export type Picture = Uint8Array | ArrayBuffer | FileAddress | PictureBlob;

/** A picture as part of a message: a `data:` URL (`data:image/png;base64,...`), or its bytes or file. */
export interface ImagePart {
  type: 'image_url' | 'input_image';
  image_url: string | Picture | { url: string | Picture; detail?: string };
}

/** A part of a message with several parts; a picture is equivalent to a part that contains it. */
export type ContentPart =
  | string
  | Picture
  | ImagePart
  | { type: 'text' | 'input_text' | 'output_text'; text: string }
  | { type: 'refusal'; refusal: string };

/** A call of a tool by the model. */
export interface ToolCall {
  /** The id of the call, which its result refers to. */
  id: string;
  type: 'function';
  function: {
    name: string;
    /** A JSON object, serialised. */
    arguments: string;
  };
}

/**
 * What calls accept as the role of a message. TypeScript infers `string` for a role in a variable
 * without a type (`const message = { role: 'user', ... }`): calls accept it and check it when they
 * run. A literal that is not a role is an error.
 */
export type AcceptedRole<Given extends string> = string extends Given
  ? Given
  : Given extends Role
    ? Given
    : Role;

/** A chat message, in OpenAI's format. */
export interface Message<Given extends string = Role> {
  role: AcceptedRole<Given>;
  /** The text; absent if an assistant only calls tools. */
  content?: string | ContentPart[] | null;
  /** The assistant's reasoning before the answer. */
  reasoning?: string | null;
  /** Tools that the assistant calls. */
  tool_calls?: ToolCall[] | null;
  /** For a tool's result: the id of the call. */
  tool_call_id?: string | null;
  /** For a tool's result: the tool's name. For other messages: the author's name. */
  name?: string | null;
  /** The older form of one call. */
  function_call?: ToolCall['function'] | null;
  /** The assistant's refusal, which is used if there is no content. */
  refusal?: string | null;
}

/** The message of an answer, ready to be appended to the messages of the next turn. */
export interface AssistantMessage {
  role: 'assistant';
  content: string | null;
  /** The model's reasoning before the answer. */
  reasoning?: string;
  tool_calls?: ToolCall[];
}
