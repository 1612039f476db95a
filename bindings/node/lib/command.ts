#!/usr/bin/env node
// The command: runs the implementation in this platform's package, in this process.

/** The command's exit codes for errors of loading the package. */
const EXIT_CODES = new Map([
  ['UNSUPPORTED', 11],
  ['BACKEND', 12],
]);

try {
  const { native } = require('./native.js') as typeof import('./native.js');
  const args = ['mullama', ...process.argv.slice(2)];
  process.exitCode = native.runCommand(args, [process.execPath, __filename]);
} catch (error) {
  const { code, message } = error as { code: string; message: string };
  const status = EXIT_CODES.get(code);
  if (status === undefined) throw error;
  console.error(`error: ${message}`);
  process.exitCode = status;
}
