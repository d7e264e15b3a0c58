import { Logger as GraphileLogger } from "graphile-worker";
import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger };

/** What no line may show, wherever it comes from: in this order, as a URL may look like an e-mail. */
const secrets: [RegExp, string][] = [
  [/(\w+:\/\/)[^\s"'@/]*@/g, "$1[login]@"],
  [/\beyJ[\w-]+\.[\w-]*(\.[\w-]*)?/g, "[token]"],
  // Also one that was cut short.
  [/[^\s"'\\<>(),:;=/[\]]+@[\w-]+(\.[\w-]+)*/g, "[e-mail]"],
];

/**
 * JSON lines on standard error, so that standard output stays free for what a person reads. No line
 * has a token, a login of a URL or an e-mail address.
 */
export function createLog(level: string, destination: DestinationStream = stderr()): Logger {
  return pino(
    {
      level,
      base: null,
      redact: ["payload", "token", "connectionString"],
      serializers: { err: withoutData },
      hooks: {
        streamWrite: (line) =>
          secrets.reduce((text, [secret, shown]) => text.replaceAll(secret, shown), line),
      },
    },
    destination,
  );
}

const stderr = () => pino.destination(2);

/** An error without the rows and values that Postgres names: it knows no limits in what it quotes. */
function withoutData(error: Error): unknown {
  const { detail: _, internalQuery: __, ...shown } = pino.stdSerializers.err(error);
  if (typeof shown["where"] === "string") {
    shown["where"] = shown["where"]
      .split("\n")
      .filter((line) => /^(PL\/pgSQL|SQL) function /.test(line))
      .join("\n");
  }
  // Data exceptions quote the value itself.
  if (typeof shown["code"] === "string" && /^22...$/.test(shown["code"])) {
    const message = error.message.replace(/".*"/s, '"…"');
    return { ...shown, message, stack: error.stack?.replace(error.message, () => message) };
  }
  return shown;
}

const levels = { error: "error", warning: "warn", info: "info", debug: "debug" } as const;

/** Graphile Worker's logger on top of ours; its chatter about every job is debug here. */
export function graphileLogger(log: Logger): GraphileLogger {
  return new GraphileLogger((scope) => (level, message, meta) => {
    // A job's failure is logged where the task ran, with its task and attempt.
    const quiet = level === "info" || meta?.["failure"] ? "debug" : levels[level];
    const error = meta?.["error"];
    log[quiet]({ ...scope, ...(error instanceof Error ? { err: error } : {}) }, message);
  });
}
