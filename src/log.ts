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
      // As words and in UTC, for who reads them without a tool.
      formatters: { level: (label) => ({ level: label }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ["payload", "token", "connectionString"],
      serializers: { err: withoutData },
      hooks: {
        streamWrite: withoutSecrets,
      },
    },
    destination,
  );
}

const stderr = () => pino.destination(2);

/** A text of any kind as it may be shown. */
export function withoutSecrets(text: string): string {
  return secrets.reduce((shown, [secret, instead]) => shown.replaceAll(secret, instead), text);
}

/**
 * Has what libraries would print on standard error, and the warnings of Node, come through the log: as
 * lines of JSON, and without data. Until the returned function is called.
 */
export function adoptStandardError(log: Logger): () => void {
  const through =
    (level: "error" | "warn") =>
    (...given: unknown[]) => {
      const err = given.find((value) => value instanceof Error);
      const words = given.filter((value) => typeof value === "string");
      log[level]({ library: true, ...(err && { err }) }, cut(words.join(" "), mostChars));
    };
  const { error, warn, trace } = console;
  Object.assign(console, {
    error: through("error"),
    warn: through("warn"),
    trace: through("warn"),
  });
  const onWarning = ({ message }: Error) => log.warn({ library: true }, cut(message, mostChars));
  const printing = process.listeners("warning");
  process.removeAllListeners("warning").on("warning", onWarning);
  return () => {
    Object.assign(console, { error, warn, trace });
    process.off("warning", onWarning);
    for (const listener of printing) process.on("warning", listener);
  };
}

/** Of a text that an error quotes, which may be all that a client sent. */
const mostChars = 2_000;

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}… (${text.length} characters)` : text;
}

/** An error without the rows and values that Postgres names: it knows no limits in what it quotes. */
function withoutData(error: Error): unknown {
  const { detail: _, internalQuery: __, ...all } = pino.stdSerializers.err(error);
  // Data exceptions quote the value itself.
  const isDataException = /^22...$/.test(String(all["code"]));
  const said = isDataException ? error.message.replace(/".*"/s, '"…"') : error.message;
  // A stack begins with the message: shortened there, it still says where.
  const brief = (text: string) => text.replace(error.message, () => cut(said, mostChars));
  const shown: Record<string, unknown> = { ...all };
  for (const [name, value] of Object.entries(all)) {
    if (typeof value === "string") shown[name] = cut(brief(value), 2 * mostChars);
  }
  if (typeof shown["where"] === "string") {
    shown["where"] = shown["where"]
      .split("\n")
      .filter((line) => /^(PL\/pgSQL|SQL) function /.test(line))
      .join("\n");
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
