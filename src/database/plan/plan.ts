import type { Client } from "pg";
import { describeAddress } from "../hosts.ts";
import { posTables } from "../pos.ts";
import type { Logins } from "../rights.ts";
import { oursSection } from "./ours.ts";
import { posSection, rightsSection, rowSecuritySection } from "./rights.ts";
import { clockSection, rowsSection } from "./rows.ts";
import type { Finding, Section } from "./section.ts";
import { openSection, serverSection, settingsSection } from "./server.ts";
import { workSection } from "./work.ts";

export type Plan = {
  database: string;
  at: string;
  readBy: string;
  attachesAs: string;
  /** Whether attaching would work now. */
  ready: boolean;
  sections: Section[];
};

/**
 * What attaching would do to this database and what has to be done before. Changes nothing: it reads in a
 * read-only transaction, as whatever role, and says what that role could not look at.
 */
export async function readPlan(client: Client, logins: Logins): Promise<Plan> {
  await client.query("begin isolation level repeatable read read only");
  try {
    const sections: Section[] = [await serverSection(client, logins.migration)];
    const pos = await posSection(client);
    sections.push(pos);
    if (await hasPosTables(client)) {
      const all = [logins.migration, logins.worker, logins.server].filter(
        (name) => name !== undefined,
      );
      sections.push(
        await rightsSection(client, logins),
        await rowSecuritySection(client, logins),
        await oursSection(client),
        await workSection(client),
        await openSection(client),
        await settingsSection(client, all),
        await clockSection(client),
        await rowsSection(client),
      );
    }
    return {
      database: client.database ?? "",
      at: describeAddress(client),
      readBy: client.user ?? "",
      attachesAs: logins.migration,
      ready: !sections.some(({ findings }) => findings.some(({ kind }) => kind === "must")),
      sections,
    };
  } finally {
    await client.query("rollback");
  }
}

/** Without most of them it is another database, of which there is nothing to say. */
async function hasPosTables(client: Client): Promise<boolean> {
  const { rowCount } = await client.query(
    "select from pg_catalog.pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname = any ($1)",
    [posTables],
  );
  return (rowCount ?? 0) >= posTables.length - 1;
}

const marks: Record<Finding["kind"], string> = { fact: " ", note: "*", must: "!", blind: "?" };

/** For people: sections of short findings, each with its mark. */
export function planText(plan: Plan): string {
  const { database, at, attachesAs, readBy, ready, sections } = plan;
  const musts = sections
    .flatMap(({ findings }) => findings)
    .filter(({ kind }) => kind === "must").length;
  const lines = [
    `Plan: attach Nexus POS Insights to database "${database}" at ${at}, as the login ${attachesAs}.`,
    `Read as ${readBy} in a read-only transaction; nothing was changed.`,
    "! to be done first   * worth knowing   ? could not be looked at",
  ];
  for (const { title, findings } of sections) {
    lines.push("", title.toUpperCase());
    for (const { kind, text, sql } of findings) {
      lines.push(...wrapped(text, `  ${marks[kind]} `));
      if (sql) lines.push("", ...sql.split("\n").map((line) => `      ${line}`), "");
    }
    if (lines.at(-1) === "") lines.pop();
  }
  lines.push(
    "",
    ready
      ? "RESULT: attaching would work. Run npm run attach, or just npm start."
      : `RESULT: not yet. ${musts === 1 ? "One thing has" : `${musts} things have`} to be done first, marked with !.`,
  );
  return lines.join("\n");
}

const width = 110;

function wrapped(text: string, start: string): string[] {
  const lines: string[] = [];
  let line = start;
  for (const word of text.split(" ")) {
    if (line.length + word.length > width && line.trim() !== start.trim()) {
      lines.push(line.trimEnd());
      line = " ".repeat(start.length);
    }
    line += `${word} `;
  }
  return [...lines, line.trimEnd()];
}
