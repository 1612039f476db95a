/** The parts of `process.report` that are used here. */
interface Report {
  header: { glibcVersionRuntime?: string };
  sharedObjects: string[];
}

/** What Node.js knows of this process: takes a while, so for errors and packaging only. */
export function report(): Report {
  // It would look up the names of this machine's addresses.
  const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean };
  const { excludeNetwork } = report;
  report.excludeNetwork = true;
  try {
    return report.getReport() as unknown as Report;
  } finally {
    report.excludeNetwork = excludeNetwork as boolean;
  }
}

/** What this machine may be called in the names of packages: on Linux either of two C libraries. */
export function platforms(): string[] {
  const { arch, platform } = process;
  const variants: Partial<Record<NodeJS.Platform, string[]>> = {
    linux: ['-gnu', '-musl'],
    win32: ['-msvc'],
  };
  return (variants[platform] ?? ['']).map((variant) => `${platform}-${arch}${variant}`);
}

/** What this machine is called in the names of packages: `linux-x64-gnu`. */
export function thisPlatform(): string {
  const names = platforms();
  if (names.length === 1) return names[0]!;
  const libc = report().header.glibcVersionRuntime ? 'gnu' : 'musl';
  return names.find((name) => name.endsWith(libc))!;
}
