// Where models go, and what is said where they cannot.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import { gpu } from 'mullama';

import { built, failure, loadDemo } from './helpers.mjs';

/** A port that nobody listens on. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether somebody listens on a port. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

const command = built('mullama');

describe('a worker', () => {
  test('holds a model', { skip: !command && 'the command is not built' }, async () => {
    const port = await freePort();
    const flags = ['rpc-server', '--port', `${port}`, '--threads', '1', '--device', 'CPU'];
    const process = spawn(command, flags, { stdio: 'ignore' });
    try {
      for (let attempt = 0; attempt < 500 && !(await answers(port)); attempt += 1) {
        await setTimeout(10);
      }
      const rpcServers = [`127.0.0.1:${port}`];
      const model = await loadDemo({ rpcServers, nGpuLayers: -1, contextSize: 512 });
      assert.equal(model.gpuLayers, model.nLayers + 1);
      const remote = model.placement.devices.filter((share) => share.name.startsWith('RPC'));
      assert.deepEqual(
        remote.map((share) => share.layers),
        [9],
      );
      const question = [{ role: 'user', content: 'What is the capital of France?' }];
      const answer = await model.chat(question, { temperature: 0 });
      assert.equal(`${answer}`, 'The capital of France is Paris.');
      assert.ok(gpu.devices().some((device) => device.description.includes(rpcServers[0])));
      await model.close();
    } finally {
      process.kill();
    }
  });

  test('that is not there is an error', async () => {
    await assert.rejects(loadDemo({ rpcServers: ['127.0.0.1:9'] }), (error) => {
      failure('BACKEND', /127\.0\.0\.1:9 cannot be used/)(error);
      return /rpc-server/.test(error.hint);
    });
    const nowhere = loadDemo({ rpcServers: ['nowhere:port'] });
    await assert.rejects(nowhere, failure('INVALID_ARGUMENT', /no address/));
  });
});

describe('placement', () => {
  test('names devices that are not there', async () => {
    const known = /there is no device CUDA9; there are .*CPU/;
    await assert.rejects(loadDemo({ devices: ['CUDA9'] }), failure('INVALID_ARGUMENT', known));
    const split = failure('INVALID_ARGUMENT', /tensor.?split/i);
    await assert.rejects(loadDemo({ tensorSplit: [1, -1] }), split);
    const overrides = failure('INVALID_ARGUMENT', /tensor.?overrides/i);
    await assert.rejects(loadDemo({ tensorOverrides: { '(': 'CPU' } }), overrides);
  });

  test('refuses what does not fit the machine', () => {
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
