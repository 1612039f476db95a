// Written by generate-types.mjs from what is declared in Rust: change that, not this.

/** What went wrong, as far as a program can act on it. */

export type ErrorCode =
  /** A file, or a model of this name, is not there. */
  | 'NOT_FOUND'
  /**
   * The file is no GGUF model, is cut short or damaged, or holds an architecture that the engine
   * does not know.
   */
  | 'INVALID_MODEL'
  /** An argument has the wrong type or a value outside its range. */
  | 'INVALID_ARGUMENT'
  /** The name cannot be the name of a model. */
  | 'UNKNOWN_MODEL'
  /** The machine or a device ran out of memory; the message says of how much of what. */
  | 'OUT_OF_MEMORY'
  /** The placement that was asked for does not fit the devices. */
  | 'DOES_NOT_FIT'
  /** The prompt is longer than the context. */
  | 'CONTEXT_OVERFLOW'
  /** A grammar or JSON schema cannot be used. */
  | 'INVALID_GRAMMAR'
  /** A chat template is missing, damaged, or does not accept the messages. */
  | 'TEMPLATE'
  /** The model or the backend cannot do this. */
  | 'UNSUPPORTED'
  /** A backend module failed. */
  | 'BACKEND'
  /** The caller cancelled. */
  | 'CANCELLED'
  /** The model has been closed. */
  | 'CLOSED'
  /** A download failed. */
  | 'DOWNLOAD'
  /** Reading or writing a file failed. */
  | 'IO'
  /** A defect of mullama or of the engine. */
  | 'INTERNAL'
  | (string & {});
