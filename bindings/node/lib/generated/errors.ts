// Written by generate-types.mjs from what is declared in Rust: change that, not this.

/** The kind of an error, for programs to act on. */

export type ErrorCode =
  /** A file, or a model with this name, does not exist. */
  | 'NOT_FOUND'
  /**
   * The file is not a GGUF model, is truncated or damaged, or has an architecture that the
   * engine does not support.
   */
  | 'INVALID_MODEL'
  /** An argument has the wrong type or a value outside its range. */
  | 'INVALID_ARGUMENT'
  /** The name cannot be the name of a model. */
  | 'UNKNOWN_MODEL'
  /** The machine or a device ran out of memory; the message names the device and the amount. */
  | 'OUT_OF_MEMORY'
  /** The requested placement does not fit on the devices. */
  | 'DOES_NOT_FIT'
  /** The prompt is longer than the context. */
  | 'CONTEXT_OVERFLOW'
  /** A grammar or JSON schema cannot be used. */
  | 'INVALID_GRAMMAR'
  /** A chat template is missing, invalid, or rejects the messages. */
  | 'TEMPLATE'
  /** The model or the backend cannot do this. */
  | 'UNSUPPORTED'
  /** A backend module failed. */
  | 'BACKEND'
  /** The caller cancelled. */
  | 'CANCELLED'
  /** The model has been closed. */
  | 'CLOSED'
  /** Too many requests are waiting; try again later. */
  | 'BUSY'
  /** A function that the caller passed, such as a logits processor, failed. */
  | 'CALLBACK'
  /** A download failed. */
  | 'DOWNLOAD'
  /** Reading or writing a file failed. */
  | 'IO'
  /** A defect of mullama or of the engine. */
  | 'INTERNAL';

/** The kind of an error, named as in the other languages. */
export type ErrorKind =
  | 'NotFound'
  | 'InvalidModel'
  | 'InvalidArgument'
  | 'UnknownModel'
  | 'OutOfMemory'
  | 'DoesNotFit'
  | 'ContextOverflow'
  | 'InvalidGrammar'
  | 'Template'
  | 'Unsupported'
  | 'Backend'
  | 'Cancelled'
  | 'Closed'
  | 'Busy'
  | 'Callback'
  | 'Download'
  | 'Io'
  | 'Internal';
