import { fileURLToPath } from 'node:url';

import { abortable, splitSignal, throwIfAborted } from './abort.js';
import { jsonOf, optionsOf } from './arguments.js';
import { awaiting } from './errors.js';
import type { Planned } from './generated/native.js';
import type { PlanOptions } from './generated/options.js';
import type { PlanFields } from './generated/results.js';
import type { URL } from './globals.js';
import { native } from './native.js';
import type { Shape } from './types.js';

export interface Plan extends Readonly<PlanFields> {}

/** A planned placement. As text it is a table with bars. */
export class Plan {
  /** The name of each layer's device, the output layer's last. */
  readonly layerDevices: string[];
  #table: string;
  #reasons: string;

  private constructor({ plan, layerDevices, table, reasons }: Planned) {
    Object.assign(this, plan);
    this.layerDevices = layerDevices;
    this.#table = table;
    this.#reasons = reasons;
  }

  /** @internal */
  static of(planned: Planned): Plan {
    return new Plan(planned);
  }

  /** Explains the placement of each layer. */
  explain(): string {
    return this.#reasons;
  }

  toString(): string {
    return this.#table;
  }
}

/**
 * Plans where a model would be placed and how fast it would run, without reading its weights.
 * `source` is anything that {@link Model} accepts; the URL of a GGUF file or a Hugging Face name,
 * of which only the header is downloaded; or the shape of a model that need not exist.
 */
export async function plan(source: string | URL | Shape, options?: PlanOptions): Promise<Plan> {
  const { signal, rest } = splitSignal(options);
  throwIfAborted(signal);
  const subject = jsonOf(source instanceof globalThis.URL ? textOf(source) : source, 'the source');
  return Plan.of(await awaiting(() => abortable(signal, native.plan(subject, optionsOf(rest)))));
}

/** A URL for the native side: the path of a file, or the URL as text. */
function textOf(url: URL): string {
  return url.protocol === 'file:' ? fileURLToPath(url) : url.href;
}
