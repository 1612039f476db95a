import { spawn } from 'node:child_process';

/** Runs a program until it exits and returns its status and output. */
export function finish(program, args, options) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, options);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data) => {
        output += data;
      });
    }
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ status: code ?? signal, output }));
  });
}
