// Workers, as processes of this machine: correct ones, silent ones, and ones with false answers.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import { gpu } from 'mullama';

import { built, failure, loadDemo } from './helpers.mjs';

const command = built('mullama');
const skip = !command && 'the command is not built';

// A long timeout, because the machine may be busy. The tests set a worker's timeout even longer: a call that ends
// within this time did not wait for the worker.
const patience = 120_000;
const forEver = '3600';

/** A free port. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether a process listens on a port. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** A worker that runs until the end of the test. */
async function startWorker(t) {
  const port = await freePort();
  const flags = ['rpc-server', '--port', `${port}`, '--threads', '1', '--device', 'CPU'];
  const process = spawn(command, flags, { stdio: 'ignore' });
  t.after(() => process.kill('SIGKILL'));
  for (let attempt = 0; attempt < 500 && !(await answers(port)); attempt += 1) {
    await setTimeout(10);
  }
  return { address: `127.0.0.1:${port}`, process };
}

describe('a worker', () => {
  test('runs a model', { skip }, async (t) => {
    const { address } = await startWorker(t);
    const model = await loadDemo({ rpcServers: [address], nGpuLayers: -1, contextSize: 512 });
    assert.equal(model.gpuLayers, model.nLayers + 1);
    const remote = model.placement.devices.filter((share) => share.name.startsWith('RPC'));
    assert.deepEqual(
      remote.map((share) => share.layers),
      [9],
    );
    const question = [{ role: 'user', content: 'What is the capital of France?' }];
    const answer = await model.chat(question, { temperature: 0 });
    assert.equal(`${answer}`, 'The capital of France is Paris.');
    assert.ok(gpu.devices().some((device) => device.description.includes(address)));
    await model.close();
  });

  test('that is unreachable is an error', async () => {
    await assert.rejects(loadDemo({ rpcServers: ['127.0.0.1:9'] }), (error) => {
      failure('BACKEND', /127\.0\.0\.1:9 cannot be used/)(error);
      return /rpc-server/.test(error.hint);
    });
    const nowhere = loadDemo({ rpcServers: ['nowhere:port'] });
    await assert.rejects(nowhere, failure('INVALID_ARGUMENT', /is not an address/));
  });
});

const begin = `
  import assert from 'node:assert/strict';
  import { Model, gpu } from 'mullama';

  const [worker, id] = process.argv.slice(1);
  const silence = () => process.kill(Number(id), 'SIGSTOP');
  const model = await Model.load('demo', { rpcServers: [worker], nGpuLayers: -1, contextSize: 512 });
  const stream = model.stream('Once upon a time', { ignoreEos: true });
  const pieces = stream[Symbol.asyncIterator]();
  const first = await pieces.next();
  silence();
`;

const scripts = {
  'a call with a timeout ends, and the model closes': [
    forEver,
    `
      const late = await model.generate('Once', { timeout: 1 });
      assert.equal(late.finishReason, 'cancelled');
      const chat = await model.chat([{ role: 'user', content: 'Hello' }], { timeout: 1 });
      assert.equal(chat.finishReason, 'cancelled');
      const controller = new AbortController();
      const aborted = model.generate('Once', { ignoreEos: true, signal: controller.signal });
      setTimeout(() => controller.abort(), 100);
      await assert.rejects(aborted, { name: 'AbortError' });
      assert.equal(gpu.devices().filter((device) => device.backend === 'rpc').length, 1);
      await model.close();
    `,
  ],
  'a process ends in the middle of an answer': [
    forEver,
    `
      model.generate('Once', { ignoreEos: true }).catch(() => {});
      console.log('done');
      process.exit();
    `,
  ],
  'silence has a limit': [
    '5',
    `
      await assert.rejects(
        async () => {
          while (!(await pieces.next()).done);
        },
        (error) => error.code === 'BACKEND' && error.message.includes(worker),
      );
    `,
  ],
};

const cannotHalt = process.platform === 'win32' && 'processes cannot be halted there';

describe('silent workers time out', { skip: skip || cannotHalt }, () => {
  for (const [name, [silence, script]] of Object.entries(scripts)) {
    test(name, async (t) => {
      const worker = await startWorker(t);
      const source = `${begin}${script}\nconsole.log('done');\n`;
      const flags = [
        '--input-type=module',
        '--eval',
        source,
        worker.address,
        `${worker.process.pid}`,
      ];
      const user = spawn(process.execPath, flags, {
        cwd: import.meta.dirname,
        env: { ...process.env, MULLAMA_RPC_TIMEOUT: silence },
        timeout: patience,
        killSignal: 'SIGKILL',
      });
      let said = '';
      user.stdout.on('data', (text) => (said += text));
      user.stderr.on('data', (text) => (said += text));
      const status = await new Promise((resolve) => {
        user.once('close', (code, signal) => resolve(code ?? signal));
      });
      assert.equal(status, 0, said);
      assert.match(said, /done\n$/);
    });
  }
});

const hello = 14;
const deviceCount = 15;
const alignment = 1;
const maxSize = 2;
const memory = 11;

function numbers(...values) {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, index) => bytes.writeBigUInt64LE(value, 8 * index));
  return bytes;
}

const good = {
  [hello]: Buffer.concat([Buffer.from([7, 0, 0]), Buffer.alloc(25)]),
  [deviceCount]: Buffer.from([1, 0, 0, 0]),
  [alignment]: numbers(64n),
  [maxSize]: numbers(1n << 40n),
  [memory]: numbers(1n << 30n, 1n << 31n),
};

/** The address of a fake worker with the given answers, which runs until the end of the test. */
async function pretend(t, given) {
  const server = createServer((socket) => {
    let heard = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (data) => {
      heard = Buffer.concat([heard, data]);
      while (heard.length >= 9) {
        const length = Number(heard.readBigUInt64LE(1));
        if (heard.length < 9 + length) return;
        const answer = given[heard[0]];
        heard = heard.subarray(9 + length);
        if (!answer) return socket.destroy();
        socket.write(Buffer.concat([numbers(BigInt(answer.length)), answer]));
      }
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  return `127.0.0.1:${server.address().port}`;
}

describe('invalid worker answers are errors', () => {
  const lies = [
    [{ [deviceCount]: Buffer.from([0, 0, 0, 0x80]) }, /2147483648 devices/],
    [{ [alignment]: numbers(0n) }, /0 for the alignment/],
    [{ [memory]: numbers(2n, 1n) }, /2 of 1 bytes/],
    [{ [maxSize]: Buffer.alloc(0) }, /wrong length/],
    [{ [hello]: Buffer.alloc(3) }, /not a worker/],
  ];
  for (const [lie, problem] of lies) {
    test(`${problem}`, async (t) => {
      const rpcServers = [await pretend(t, { ...good, ...lie })];
      await assert.rejects(loadDemo({ rpcServers, nGpuLayers: -1 }), failure('BACKEND', problem));
    });
  }
});
