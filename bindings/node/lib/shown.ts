/** Makes `console.log` and `util.inspect` show the objects of a class as the summary that a function returns. */
export function shownBy<T extends object>(
  shown: { readonly name: string; readonly prototype: T },
  summary: (object: T) => object,
): void {
  Object.defineProperty(shown.prototype, Symbol.for('nodejs.util.inspect.custom'), {
    value(
      this: T,
      _depth: number,
      options: object,
      inspect: (value: object, options: object) => string,
    ): string {
      return `${shown.name} ${inspect(summary(this), options)}`;
    },
    configurable: true,
    writable: true,
  });
}
