/** The type of a global class, or another type if it is not declared. */
type Global<Name extends string, Else> =
  typeof globalThis extends Record<Name, new (...values: never[]) => infer Type> ? Type : Else;

// Types that `@types/node` and the DOM library declare. The declarations of this package use them from here, so that
// they require neither.

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
