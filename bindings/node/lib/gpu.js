'use strict';

const { calling, invalidArgument } = require('./errors.js');
const native = require('./native.js');

/** What the machine has, as functions of no or one argument. */
const gpu = {};
for (const [name, call] of Object.entries(native.gpu)) {
  gpu[name] = () => calling(call);
}

gpu.cudaMemoryInfo = (index) => {
  if (!Number.isInteger(index) || index < 0) {
    throw invalidArgument('the index of the GPU: expected a whole number from 0');
  }
  return calling(() => native.gpu.cudaMemoryInfo(index));
};

module.exports = Object.freeze(gpu);
