'use strict';

const { fileURLToPath } = require('node:url');

const { abortable, splitSignal, throwIfAborted } = require('./abort.js');
const { calling, translated } = require('./errors.js');
const native = require('./native.js');

/** What would be put where. */
class Plan {
  #table;
  #reasons;

  constructor({ plan, layerDevices, table, reasons }) {
    Object.assign(this, plan, { layerDevices });
    this.#table = table;
    this.#reasons = reasons;
  }

  explain() {
    return this.#reasons;
  }

  toString() {
    return this.#table;
  }
}

async function plan(source, options) {
  const { signal, rest } = splitSignal(options);
  throwIfAborted(signal);
  const path =
    source instanceof URL && source.protocol === 'file:' ? fileURLToPath(source) : source;
  const isShape = typeof path === 'object' && path !== null && !(path instanceof URL);
  const text = isShape ? undefined : path instanceof URL ? path.href : path;
  const pending = calling(() => native.plan(text, isShape ? path : undefined, rest));
  try {
    return new Plan(await abortable(signal, pending, () => pending.catch(() => {})));
  } catch (error) {
    throw translated(error);
  }
}

module.exports = { Plan, plan };
