import type { Message } from './messages.js';

/** The replacement of the oldest turns of a conversation. */
export interface Compacted {
  /** The indices of messages that stay. */
  kept: number[];
  /** The index of the first message after those that are replaced. */
  start: number;
  /** A turn with a summary. */
  turn: Message[];
}
