import { GraphQLError } from "postgraphile/graphql";

type Check = { pattern: RegExp; expected: string; valid?: (value: string) => boolean };

const isDate = (value: string) =>
  value >= "0001" &&
  new Date(`${value.slice(0, 10)}T00:00:00Z`).toJSON()?.slice(0, 10) === value.slice(0, 10);

/** What Postgres would refuse later, with an error that does not name the argument. */
const checks: Record<string, Check> = {
  UUID: {
    pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
    expected: "a UUID",
  },
  Date: { pattern: /^\d{4}-\d\d-\d\d$/, expected: "a date such as 2026-11-24", valid: isDate },
  Datetime: {
    pattern:
      /^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)$/i,
    expected: "an instant such as 2026-11-24T20:00:00-03:00",
    valid: isDate,
  },
  Time: {
    pattern: /^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?$/,
    expected: "a local time such as 20:00",
  },
  Cursor: {
    pattern: /^[A-Za-z0-9+/=]+$/,
    expected: "a cursor that this API gave",
    valid: isCursor,
  },
};

/** Of two names of 255 characters and two skus of 100, each character escaped as six, in base64: 6,000. */
export const maxCursorLength = 8_000;

function isCursor(value: string): boolean {
  if (value.length > maxCursorLength) return false;
  try {
    return Array.isArray(JSON.parse(Buffer.from(value, "base64").toString("utf8")));
  } catch {
    return false;
  }
}

/** 20:00:00.000000 is 20:00:00. */
const wholeSeconds = (value: unknown) => String(value).replace(/\.0+$/, "");

/** Checks scalars where they come in, so that a client hears which argument is wrong. */
export const ScalarsPlugin: GraphileConfig.Plugin = {
  name: "ScalarsPlugin",
  version: "1.0.0",
  schema: {
    hooks: {
      GraphQLScalarType(config) {
        if (config.name === "JSON") {
          // A number that overflows is Infinity here, which JSON has no word for.
          const finite = (value: unknown) =>
            typeof value === "number" && !Number.isFinite(value) ? null : value;
          return { ...config, serialize: (value) => finite(config.serialize?.(value) ?? value) };
        }
        const check = checks[config.name];
        if (!check) return config;
        const parse = (value: unknown): string => {
          if (
            typeof value === "string" &&
            check.pattern.test(value) &&
            (check.valid?.(value) ?? true)
          ) {
            return value;
          }
          throw new GraphQLError(`expected ${check.expected}`);
        };
        return {
          ...config,
          ...(config.name === "Time" && { serialize: wholeSeconds }),
          description: `As text: ${check.expected}.`,
          parseValue: parse,
          parseLiteral: (node) => parse("value" in node ? node.value : undefined),
        };
      },
    },
  },
};
