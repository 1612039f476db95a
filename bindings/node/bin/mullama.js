#!/usr/bin/env node
'use strict';

// The command: starts the program that this platform's package has, and ends as it does.

const { spawn } = require('node:child_process');
const path = require('node:path');
const tty = require('node:tty');

const { locate } = require('../lib/packages.js');
const { broken } = require('../lib/unavailable.js');

/** The exit codes that the program has for these. */
const EXIT_CODES = { UNSUPPORTED: 11, BACKEND: 12 };

/** What ends or stops a process from outside. */
const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];

function fail(error) {
  if (!(error.code in EXIT_CODES)) throw error;
  console.error(`error: ${error.message}`);
  process.exitCode = EXIT_CODES[error.code];
}

/** Where GPU backends lie that were installed as packages, after what was handed on to this process. */
function environment(backends) {
  const handedOn = [process.env.MULLAMA_BACKEND_PACKAGES, ...backends].filter(Boolean);
  return { ...process.env, MULLAMA_BACKEND_PACKAGES: handedOn.join(path.delimiter) };
}

/** Passes signals on to the program, and ends with it. */
function follow(child) {
  // A terminal signals all processes in its foreground, so the program too, when a key is pressed.
  const onTerminal = [0, 1, 2].some((stream) => tty.isatty(stream));
  const passOn = (signal) => {
    if (!onTerminal || !['SIGINT', 'SIGQUIT'].includes(signal)) child.kill(signal);
  };
  for (const signal of SIGNALS) process.on(signal, passOn);
  child.on('exit', (code, signal) => {
    for (const signal of SIGNALS) process.removeListener(signal, passOn);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = code;
  });
}

function main() {
  const found = locate();
  const program = path.join(found.folder, process.platform === 'win32' ? 'mullama.exe' : 'mullama');
  const child = spawn(program, process.argv.slice(2), {
    stdio: 'inherit',
    env: environment(found.backends),
  });
  child.on('error', (error) => fail(broken(found, error)));
  follow(child);
}

try {
  main();
} catch (error) {
  fail(error);
}
