import { type ParseArgsOptionsConfig, parseArgs } from "node:util";

type Values<O extends ParseArgsOptionsConfig> = ReturnType<
  typeof parseArgs<{ options: O }>
>["values"];

/** The options of this command line; for --help prints the usage instead, and ends the process. */
export function readArguments<const O extends ParseArgsOptionsConfig>(
  usage: string,
  options: O,
): Values<O> {
  const { values } = parseArgs({ options: { ...options, help: { type: "boolean" } } });
  if ((values as { help?: boolean }).help) printUsage(usage);
  return values as Values<O>;
}

export function printUsage(usage: string): never {
  process.stdout.write(usage);
  process.exit(0);
}
