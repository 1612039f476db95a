import { calling } from './errors.js';
import type { Backend, Device } from './generated/results.js';
import { native } from './native.js';

/** What the machine has. Available is what can be used now, not what was compiled. */
export interface Gpu {
  /** The devices, with their memory as it is now; the processor comes last. */
  devices(): Device[];
  /** The backend modules, in the order in which they were tried. */
  backends(): Backend[];
  /** Whether an NVIDIA GPU can be used now. */
  cudaAvailable(): boolean;
  /** Whether Apple's Metal can be used now. */
  metalAvailable(): boolean;
  /** Whether an AMD GPU can be used now through ROCm. */
  rocmAvailable(): boolean;
  /** Whether a GPU can be used now through Vulkan. */
  vulkanAvailable(): boolean;
  /** Whether a GPU can be used now through OpenCL. */
  openclAvailable(): boolean;
  /** Whether a GPU can be used now through SYCL. */
  syclAvailable(): boolean;
  /** How many NVIDIA GPUs can be used now. */
  cudaDeviceCount(): number;
  /** How many AMD GPUs can be used now through ROCm. */
  rocmDeviceCount(): number;
  /** Bytes in use and in all on one NVIDIA GPU; zeros where there is no such GPU. */
  cudaMemoryInfo(index: number): [used: number, total: number];
}

type Call = (...args: unknown[]) => unknown;

const calls = Object.entries(native.gpu as unknown as Record<string, Call>).map(([name, call]) => [
  name,
  (...args: unknown[]) => calling(() => call(...args)),
]);

/** What the machine has. */
export const gpu: Readonly<Gpu> = Object.freeze(Object.fromEntries(calls) as Gpu);
