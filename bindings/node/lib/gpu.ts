import { calling, invalidArgument } from './errors.js';
import type { Backend, Device } from './generated/results.js';
import { native } from './native.js';

/**
 * The devices of this machine. *Available* means that a device can be used now, not just that a
 * backend was built.
 */
export interface Gpu {
  /** The devices with their current memory; the CPU is last. */
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
  /** The number of NVIDIA GPUs that can be used now. */
  cudaDeviceCount(): number;
  /** The number of AMD GPUs that can be used now through ROCm. */
  rocmDeviceCount(): number;
  /** Used and total memory of an NVIDIA GPU, in bytes; zeros if there is no such GPU. */
  cudaMemoryInfo(index: number): [used: number, total: number];
}

const calls = Object.entries<() => unknown>({ ...native.gpu, cudaMemoryInfo: () => undefined });

/** The devices of this machine. */
export const gpu: Readonly<Gpu> = Object.freeze({
  ...(Object.fromEntries(
    calls.map(([name, call]) => [name, () => calling(call)]),
  ) as unknown as Gpu),
  cudaMemoryInfo(index: number): [used: number, total: number] {
    if (!Number.isInteger(index) || index < 0) {
      throw invalidArgument('the index of the GPU: expected a whole number from 0');
    }
    return calling(() => native.gpu.cudaMemoryInfo(index));
  },
});
