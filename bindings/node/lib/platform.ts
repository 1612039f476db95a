/** The parts of `process.report` that are used here. */
interface Report {
  header: { glibcVersionRuntime?: string };
  sharedObjects: string[];
}

/** Node.js's diagnostic report. Slow, so only for errors and packaging. */
export function report(): Report {
  // Otherwise it would look up the host names of this machine's addresses.
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  try {
    return report.getReport() as unknown as Report;
  } finally {
    report.excludeNetwork = excludeNetwork as boolean;
  }
}

/**
 * The possible names of this machine's platform in package names: on Linux, one for each of two C
 * libraries.
 */
export function platforms(): string[] {
  const { arch, platform } = process;
  const variants: Partial<Record<NodeJS.Platform, string[]>> = {
    linux: ['-gnu', '-musl'],
    win32: ['-msvc'],
  };
  return (variants[platform] ?? ['']).map((variant) => `${platform}-${arch}${variant}`);
}

/** The name of this machine's platform in package names: `linux-x64-gnu`. */
export function thisPlatform(): string {
  const names = platforms();
  if (names.length === 1) return names[0]!;
  const libc = report().header.glibcVersionRuntime ? 'gnu' : 'musl';
  return names.find((name) => name.endsWith(libc))!;
}
