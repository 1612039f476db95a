'use strict';

/** What Node.js knows of this process: takes a while, so for errors and packaging only. */
function report() {
  const { report } = process;
  // It would look up the names of this machine's addresses.
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  try {
    return report.getReport();
  } finally {
    report.excludeNetwork = excludeNetwork;
  }
}

/** What this machine may be called in the names of packages: on Linux either of two C libraries. */
function platforms() {
  const { arch, platform } = process;
  const variants = { linux: ['-gnu', '-musl'], win32: ['-msvc'] }[platform] ?? [''];
  return variants.map((variant) => `${platform}-${arch}${variant}`);
}

/** What this machine is called in the names of packages: `linux-x64-gnu`. */
function thisPlatform() {
  const names = platforms();
  if (names.length === 1) return names[0];
  const libc = report().header.glibcVersionRuntime ? 'gnu' : 'musl';
  return names.find((name) => name.endsWith(libc));
}

module.exports = { platforms, report, thisPlatform };
