import type { Client } from "pg";
import { posProblems, posRemedy, posTables } from "../pos.ts";
import { asScript, type Lacking, type Logins, lackingRights } from "../rights.ts";
import { type Finding, fact, look, must, note, type Section } from "./section.ts";
import { serviceOf } from "./server.ts";

/** What lacks, ready to paste; what hides rows is told with it, because one script is to be enough. */
export async function rightsSection(client: Client, logins: Logins): Promise<Section> {
  const lacking = await lackingRights(client, logins);
  const findings: Finding[] =
    lacking.length === 0
      ? [fact(`No right lacks: ${logins.migration} migrates and attaches.`)]
      : [
          must(
            `The login ${logins.migration} lacks rights. Have this run, in this order, connected to this database (it is all that lacks):`,
            asScript(lacking),
          ),
        ];
  findings.push(fact(halves(logins)));
  if (lacking.some(({ statements }) => statements.some((sql) => / login;$/.test(sql)))) {
    findings.push(
      note(
        "Logins are made without a password: give each one afterwards (\\password NAME in psql).",
      ),
    );
  }
  if (logins.worker === undefined && logins.server === undefined) {
    findings.push(
      fact(
        "Three logins that own nothing are enough: npm run attach -- --grants prints the SQL for them.",
      ),
    );
  }
  return { title: "Rights", findings };
}

/** By which logins the halves will run; what attaching does not need, their start asks for. */
function halves({ migration, worker, server, pooled }: Logins): string {
  const behind = "a login behind PgBouncer, which is not looked at";
  const runsWorker = worker ?? (pooled?.worker ? behind : migration);
  const runsServer = server ?? (pooled?.server ? behind : migration);
  const asked =
    (server ?? pooled?.server) ? "" : "; what the API needs of that login its start asks for";
  return `Logins of the halves: the worker as ${runsWorker}, the API as ${runsServer}${asked}.`;
}

type Secured = { name: string; forced: boolean; policies: string[] | null };

/** Row security: which tables have it, and how to let us through. */
export async function rowSecuritySection(client: Client, logins: Logins): Promise<Section> {
  const { rows } = await client.query<Secured>(
    `select c.relname as name, c.relforcerowsecurity as forced,
       (select array_agg(p.polname::text order by p.polname) from pg_catalog.pg_policy p where p.polrelid = c.oid) as policies
     from pg_catalog.pg_class c
     where c.relnamespace = 'public'::regnamespace and c.relrowsecurity
       and c.relname = any ($1)
     order by c.relname`,
    [posTables],
  );
  const title = "Row level security";
  if (rows.length === 0) return { title, findings: [fact("Off on all of the POS's tables.")] };
  const findings = rows.map(({ name, forced, policies }) =>
    fact(
      `On for public.${name}${forced ? ", also for its owner (forced)" : ""}; ${policies ? `policies: ${policies.join(", ")}` : "no policy"}.`,
    ),
  );
  const lacking = await lackingRights(client, logins);
  if (!lacking.some(hidesRows))
    return { title, findings: [...findings, fact("Our roles see all rows.")] };
  return {
    title,
    findings: [
      ...findings,
      // To be done is the script of the rights, which counts once.
      note(
        "It would hide rows from us. The engine never works on a part of the rows: its sessions have row_security = off, by which Postgres refuses instead of hiding, whatever a policy allows. So a policy for our roles does not help; BYPASSRLS for nexus_owner and nexus_worker does (in the script above). Nobody logs in as these two; who has them sees the rows of all stores.",
      ),
      ...(await ways(client)).map((text) => note(text)),
    ],
  };
}

function hidesRows({ section, statements }: Lacking): boolean {
  return section === "rows" || statements.some((sql) => / bypassrls;$/.test(sql));
}

type Services = { givers: string[] | null; is_16: boolean; owners: string[]; forced: boolean };

/** Who may give BYPASSRLS here, and what is left where nobody may. */
async function ways(client: Client): Promise<string[]> {
  const { rows } = await client.query<Services>(
    `select current_setting('server_version_num')::int >= 160000 as is_16,
       (select array_agg(r.rolname::text order by r.rolname) from pg_catalog.pg_roles r
        where r.rolcanlogin and r.rolname !~ '^(supabase_|rds|cloudsql|azure|alloydb|neon_|cloud_admin)' and (r.rolsuper
          or current_setting('server_version_num')::int >= 160000 and r.rolbypassrls and r.rolcreaterole)) as givers,
       (select array_agg(distinct quote_ident(pg_catalog.pg_get_userbyid(c.relowner))) from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relrowsecurity and c.relkind in ('r', 'p')) as owners,
       (select bool_or(c.relforcerowsecurity) from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')) as forced`,
  );
  const { givers, is_16, owners, forced } = rows[0] as Services;
  const owner = owners.join(", ");
  const asOwner = is_16
    ? `grant ${owner} to nexus_owner, nexus_worker with inherit true`
    : `alter role nexus_worker inherit; grant ${owner} to nexus_owner, nexus_worker`;
  const service = await serviceOf(client);
  return [
    `Who may give BYPASSRLS here, by the catalogue: ${givers?.join(", ") ?? "no login that is yours"}.${(service && onService[service]) ?? ""}`,
    `Where nobody may, two ways are left. Switch row level security off, where the POS does not need it. Or have our roles count as the owner of the tables${forced ? ", which helps only where it is not forced" : ""}: make them without the word bypassrls, then ${asOwner}. That needs a login for DATABASE_URL which is not ${owner} itself (npm run attach -- --grants), and gives our roles all that ${owner} may do, users' passwords included. Without either we cannot work on this database.`,
  ];
}

const onService: Record<string, string> = {
  Supabase: " On Supabase run the script as postgres, in the SQL editor: on every version it may.",
  Neon: " On Neon the project's own roles may.",
  Azure: " On Azure the administrator may, from PostgreSQL 16 on.",
  "Amazon RDS or Aurora":
    " The master login of RDS is made without BYPASSRLS and can then not give it: try the script, and ask the service.",
  "Google Cloud SQL":
    " The login postgres of Cloud SQL is made without BYPASSRLS and can then not give it: try the script, and ask the service.",
};

/** The POS's tables and columns that our SQL relies on. */
export async function posSection(client: Client): Promise<Section> {
  const title = "The POS's tables";
  const found = await look(client, "the POS's columns", [], async () => {
    const problems = await posProblems(client);
    if (problems.length === 0)
      return [fact("Every column that we rely on is there, of the kind we expect.")];
    return [
      ...problems.map((problem) => must(problem)),
      note(`This database ${posRemedy(problems)}`),
    ];
  });
  return { title, findings: found };
}
