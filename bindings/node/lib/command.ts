#!/usr/bin/env node
// The command: starts the program that this platform's package has, and ends as it does.

import { type ChildProcess, spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { isatty } from 'node:tty';

import { locate, unavailable } from './locate.js';

/** The exit codes that the program has for these. */
const EXIT_CODES = new Map([
  ['UNSUPPORTED', 11],
  ['BACKEND', 12],
]);

/** What ends or stops a process from outside. */
const SIGNALS: NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];

function fail(error: unknown): void {
  const { code, message } = error as { code: string; message: string };
  const status = EXIT_CODES.get(code);
  if (status === undefined) throw error;
  console.error(`error: ${message}`);
  process.exitCode = status;
}

/** Where GPU backends lie that were installed as packages, after what was handed on to this process. */
function environment(backends: string[]): NodeJS.ProcessEnv {
  const handedOn = [process.env.MULLAMA_BACKEND_PACKAGES, ...backends].filter(Boolean);
  return { ...process.env, MULLAMA_BACKEND_PACKAGES: handedOn.join(delimiter) };
}

/** Passes signals on to the program, and ends with it. */
function follow(child: ChildProcess): void {
  // A terminal signals all processes in its foreground, so the program too, when a key is pressed.
  const onTerminal = [0, 1, 2].some((stream) => isatty(stream));
  const passOn = (signal: NodeJS.Signals): void => {
    if (!onTerminal || !['SIGINT', 'SIGQUIT'].includes(signal)) child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, passOn);
  child.on('exit', (code, signal) => {
    for (const signal of SIGNALS) process.removeListener(signal, passOn);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = code ?? 0;
  });
}

function main(): void {
  const found = locate();
  const program = join(found.folder, process.platform === 'win32' ? 'mullama.exe' : 'mullama');
  const child = spawn(program, process.argv.slice(2), {
    stdio: 'inherit',
    env: environment(found.backends),
  });
  child.on('error', (error) => fail(unavailable().broken(found, error)));
  follow(child);
}

try {
  main();
} catch (error) {
  fail(error);
}
