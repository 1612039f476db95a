/** The type of a global class, or another type where nothing declares it. */
type Global<Name extends string, Else> =
  typeof globalThis extends Record<Name, new (...values: never[]) => infer Type> ? Type : Else;

// What `@types/node` and the library of the DOM declare. The declarations of this package name these types from
// here, so that they need neither.

/** The platform's `AbortSignal`. */
export type AbortSignal = Global<
  'AbortSignal',
  {
    readonly aborted: boolean;
    readonly reason: unknown;
    addEventListener(type: 'abort', listener: () => void, options?: object): void;
    removeEventListener(type: 'abort', listener: () => void): void;
  }
>;

/** The platform's `Buffer`. */
export type Buffer = Global<'Buffer', Uint8Array>;

/** The platform's `URL`. */
export type URL = Global<'URL', { readonly href: string }>;
