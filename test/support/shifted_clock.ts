const RealDate = Date;

/** Sets this process's clock ahead, as Date tells it to everybody; zero sets it right again. */
export function setClockAhead(ms: number): void {
  globalThis.Date =
    ms === 0
      ? RealDate
      : (class extends RealDate {
          constructor(...given: unknown[]) {
            super(...((given.length > 0 ? given : [RealDate.now() + ms]) as [number]));
          }
          static override now(): number {
            return RealDate.now() + ms;
          }
        } as unknown as DateConstructor);
}
