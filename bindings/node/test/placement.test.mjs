// The placement of models, and the errors if they do not fit.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';

import { failure, loadDemo } from './helpers.mjs';

describe('placement', () => {
  test('names unknown devices', async () => {
    const known = /there is no device CUDA9; the devices are .*CPU/;
    await assert.rejects(loadDemo({ devices: ['CUDA9'] }), failure('INVALID_ARGUMENT', known));
    const split = failure('INVALID_ARGUMENT', /tensor.?split/i);
    await assert.rejects(loadDemo({ tensorSplit: [1, -1] }), split);
    const overrides = failure('INVALID_ARGUMENT', /tensor.?overrides/i);
    await assert.rejects(loadDemo({ tensorOverrides: { '(': 'CPU' } }), overrides);
  });

  test('rejects models that do not fit', () => {
    const script = `
      const { Model } = require('mullama');
      try {
        new Model('demo', { contextSize: 100_000 });
      } catch (error) {
        const contextSize = Number(error.context.maxContextSize ?? error.context.max_context_size);
        console.log(error.code, new Model('demo', { contextSize }).contextSize === contextSize);
      }
      console.log(new Model('demo').contextSize < 2048);
    `;
    const { stdout, stderr } = spawnSync(process.execPath, ['--eval', script], {
      cwd: import.meta.dirname,
      env: { ...process.env, MULLAMA_HOST_MEMORY: '10MiB' },
      encoding: 'utf8',
    });
    assert.equal(stdout, 'DOES_NOT_FIT true\ntrue\n', stderr);
  });
});
