import type { Client } from "pg";
import { describeAddress } from "../hosts.ts";
import { posTables } from "../pos.ts";
import type { Logins } from "../rights.ts";
import type { Attached } from "./attached.ts";
import { oursSection } from "./ours.ts";
import { posSection, rightsSection, rowSecuritySection } from "./rights.ts";
import { clockSection, rowsSection } from "./rows.ts";
import type { Finding, Section } from "./section.ts";
import { openSection, serverSection, settingsSection } from "./server.ts";
import { loginInstead, neighbours } from "./who.ts";
import { workSection } from "./work.ts";

export type Plan = {
  database: string;
  at: string;
  readBy: string;
  attachesAs: string;
  /** Why it is planned for another login than the one that reads. */
  because?: string;
  /** Whether attaching would work now. */
  ready: boolean;
  /** Whether there is nothing to do; "unseen" where this login cannot tell. */
  attached: Attached;
  sections: Section[];
};

/**
 * What attaching would do to this database and what has to be done before. Changes nothing: it reads in a
 * read-only transaction, as whatever role, and says what that role could not look at. Where nobody said who
 * attaches, and the login that reads could not, it is planned for one that can: see loginInstead.
 */
export async function readPlan(
  client: Client,
  given: Logins,
  { choosesLogin = false }: { choosesLogin?: boolean } = {},
): Promise<Plan> {
  await client.query("begin isolation level repeatable read read only");
  try {
    const instead = choosesLogin ? await loginInstead(client) : undefined;
    const logins = instead ? { ...given, migration: instead.login } : given;
    let attached: Attached = "no";
    const sections: Section[] = [await serverSection(client, logins.migration)];
    const pos = await posSection(client);
    sections.push(pos);
    if (await hasPosTables(client)) {
      const all = [logins.migration, logins.worker, logins.server].filter(
        (name) => name !== undefined,
      );
      const rights = await rightsSection(client, logins);
      rights.findings.push(...(await neighbours(client)));
      sections.push(rights, await rowSecuritySection(client, logins));
      const ours = await oursSection(client, logins.migration);
      const settings = await settingsSection(client, all);
      attached = [...sections, settings].some(isNotReady) ? "no" : ours.attached;
      sections.push(ours.section);
      if (attached === "no") sections.push(await workSection(client), await openSection(client));
      sections.push(settings, await clockSection(client), await rowsSection(client, attached));
    }
    return {
      database: client.database ?? "",
      at: describeAddress(client),
      readBy: client.user ?? "",
      attachesAs: logins.migration,
      ...(instead && {
        because: `The login ${given.migration} does not own the POS's tables and has no rights of ours: planned for ${instead.what}. --login NAME plans for another.`,
      }),
      ready: !sections.some(isNotReady),
      attached,
      sections,
    };
  } finally {
    await client.query("rollback");
  }
}

function isNotReady({ findings }: Section): boolean {
  return findings.some(({ kind }) => kind === "must");
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
  const { database, at, attachesAs, readBy, because, sections } = plan;
  const lines = [
    `Plan: attach Nexus POS Insights to database "${database}" at ${at}, as the login ${attachesAs}.`,
    `Read as ${readBy} in a read-only transaction; nothing was changed.`,
    ...(because ? wrapped(because, "") : []),
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
  return [...lines, "", `RESULT: ${resultOf(plan)}`].join("\n");
}

function resultOf({ ready, attached, sections }: Plan): string {
  if (!ready) {
    const musts = toDo(sections).length;
    return `not yet. ${musts === 1 ? "One thing has" : `${musts} things have`} to be done first, marked with !.`;
  }
  if (attached === "yes") return "attached, of this release; nothing to do.";
  if (attached === "unseen") {
    return "attached; this login cannot see whether of this release. Ask as a member of nexus_owner.";
  }
  return "attaching would work. Run npm run attach, or just npm start.";
}

function toDo(sections: Section[]): Finding[] {
  return sections.flatMap(({ findings }) => findings).filter(({ kind }) => kind === "must");
}

/** Only what has to be done before, to be pasted. */
export function toDoText({ sections }: Plan): string {
  return [
    ...toDo(sections).flatMap(({ text, sql }) => [
      ...wrapped(text, ""),
      ...(sql ? ["", sql, ""] : []),
    ]),
    "The whole plan: npm run attach -- --check",
  ].join("\n");
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
