import type { Client } from "pg";
import { triggerTables } from "../pos.ts";
import { blind, count, type Finding, fact, must, note, type Section } from "./section.ts";

type Server = {
  version: string;
  number: number;
  standby: boolean;
  encoding: string;
  is_super: boolean;
  creates_roles: boolean;
  most: number;
  reserved: number;
  used: number;
  login_limit: number | null;
  database_limit: number;
};

/** What both halves take at most, with four jobs at once, besides a start's own. */
const ourConnections = 24;

/** What the server is, who we are on it, and whether there is room for our connections. */
export async function serverSection(client: Client, login: string): Promise<Section> {
  const { rows } = await client.query<Server>(
    `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
       pg_catalog.pg_is_in_recovery() as standby, pg_catalog.pg_encoding_to_char(d.encoding) as encoding,
       coalesce(l.rolsuper, false) as is_super, coalesce(l.rolcreaterole, false) as creates_roles,
       current_setting('max_connections')::int as most,
       current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved,
       (select count(*) from pg_catalog.pg_stat_activity a where a.datid is not null)::int as used,
       nullif(l.rolconnlimit, -1) as login_limit, d.datconnlimit as database_limit
     from pg_catalog.pg_database d left join pg_catalog.pg_roles l on l.rolname = $1
     where d.datname = current_database()`,
    [login],
  );
  const server = rows[0] as Server;
  const service = await serviceOf(client);
  return {
    title: "Server",
    findings: [...identity(server, service, login), ...room(server, login)],
  };
}

/** Whose service it is, by the roles that each has. */
export async function serviceOf(client: Client): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(
    "select rolname as name from pg_catalog.pg_roles where rolname = any ($1)",
    [Object.keys(services)],
  );
  return services[rows[0]?.name ?? ""];
}

const services: Record<string, string> = {
  supabase_admin: "Supabase",
  rds_superuser: "Amazon RDS or Aurora",
  cloudsqlsuperuser: "Google Cloud SQL",
  azure_pg_admin: "Azure",
  neon_superuser: "Neon",
};

function identity(server: Server, service: string | undefined, login: string): Finding[] {
  const { version, number, standby, encoding } = server;
  const kind = server.is_super
    ? "a superuser"
    : server.creates_roles
      ? "CREATEROLE"
      : "no CREATEROLE";
  const findings = [
    fact(
      `PostgreSQL ${version}${service ? `, as ${service} has it` : ""}. Login that will attach: ${login} (${kind}).`,
    ),
  ];
  if (number < 150_000)
    findings.push(must("PostgreSQL 15 or newer is needed: upgrade the server."));
  if (standby) {
    findings.push(
      must(
        "This server is a standby, which takes no writes: set DATABASE_URL to the primary to attach.",
      ),
    );
  }
  if (encoding !== "UTF8") {
    findings.push(
      note(`The database is encoded in ${encoding}: our messages are Spanish, in UTF-8.`),
    );
  }
  return findings;
}

function room(server: Server, login: string): Finding[] {
  const { most, reserved, used, login_limit, database_limit } = server;
  const free = most - reserved - used;
  const takes = `We take up to ${ourConnections} (fewer with a smaller WORKER_CONCURRENCY)`;
  const findings =
    free < ourConnections
      ? [
          note(
            `${count(Math.max(free, 0))} of ${count(most)} connections are free. ${takes}: raise max_connections.`,
          ),
        ]
      : [fact(`${count(free)} of ${count(most)} connections are free. ${takes}.`)];
  for (const [limit, whose] of [
    [login_limit, `the login ${login}`],
    [database_limit === -1 ? null : database_limit, "the database"],
  ] as const) {
    if (limit !== null && limit < ourConnections) {
      findings.push(
        note(
          `The connection limit of ${whose} is ${limit}: raise it to ${ourConnections} or more.`,
        ),
      );
    }
  }
  return findings;
}

type Setting = { whose: string; setting: string; reset: string };

/** Settings that new sessions bring along; ours set everything that matters to them themselves. */
export async function settingsSection(client: Client, logins: string[]): Promise<Section> {
  const { rows } = await client.query<Setting>(
    `select concat_ws(' in ', case when s.setrole = 0 then 'all logins' else 'the login ' || r.rolname end,
         case when s.setdatabase <> 0 then 'this database' end) as whose, c.setting,
       case when s.setrole = 0 then format('alter database %I', current_database())
         else format('alter role %I', r.rolname) || case when s.setdatabase <> 0 then format(' in database %I', current_database()) else '' end
       end || format(' reset %I;', split_part(c.setting, '=', 1)) as reset
     from pg_catalog.pg_db_role_setting s
     cross join lateral unnest(s.setconfig) c (setting)
     left join pg_catalog.pg_roles r on r.oid = s.setrole
     where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = current_database()))
       and (s.setrole = 0 or r.rolname = any ($1))
     order by 1, 2`,
    [logins],
  );
  if (rows.length === 0) {
    return {
      title: "Session settings",
      findings: [fact("None of the database or of our logins.")],
    };
  }
  return { title: "Session settings", findings: rows.map(judged) };
}

function judged({ whose, setting, reset }: Setting): Finding {
  const name = setting.split("=", 1)[0] ?? "";
  if (name === "session_replication_role" && !/=origin$/.test(setting)) {
    return must(
      `${setting} for ${whose}: no trigger would fire. Take it away, as a superuser:`,
      reset,
    );
  }
  if (name === "role") {
    return note(
      `${setting} for ${whose}: the login would attach as that role. Take it away: ${reset}`,
    );
  }
  return fact(
    `${setting} for ${whose}: left as it is; where it matters our sessions set their own.`,
  );
}

type Holder = {
  pid: number | null;
  name: string;
  age: number | null;
  tables: string | null;
};

/** What is open now and would have us wait: for the triggers a lock, for an index also older transactions. */
export async function openSection(client: Client): Promise<Section> {
  const { rows } = await client.query<Holder>(
    `select a.pid, concat_ws(', ', nullif(a.application_name, ''), a.usename, a.state) as name,
       extract(epoch from now() - a.xact_start)::float8 as age, l.tables
     from pg_catalog.pg_stat_activity a
     left join lateral (
       select string_agg(distinct c.relname, ', ') as tables from pg_catalog.pg_locks l
       join pg_catalog.pg_class c on c.oid = l.relation
       where l.pid = a.pid and l.granted and c.relnamespace = 'public'::regnamespace
         and c.relname = any ($1)
         and l.mode not in ('AccessShareLock', 'RowShareLock')
     ) l on true
     where a.datname = current_database() and a.pid <> pg_catalog.pg_backend_pid()
       and (a.xact_start < now() - interval '5 seconds' or l.tables is not null)
     union all
     select null, 'prepared transaction ' || p.gid || ', ' || p.owner, extract(epoch from now() - p.prepared)::float8, null
     from pg_catalog.pg_prepared_xacts p where p.database = current_database()
     order by 3 desc nulls last limit 10`,
    [triggerTables],
  );
  const { rows: hidden } = await client.query<{ hidden: boolean }>(
    `select exists (select from pg_catalog.pg_stat_activity a
       where a.datname = current_database() and a.query = '<insufficient privilege>') as hidden`,
  );
  const findings = rows.map(({ pid, name, age, tables }) => {
    const who = pid === null ? name : `pid ${pid} (${name})`;
    const since = age === null ? "" : `, in a transaction for ${Math.round(age)} s`;
    const waits = tables
      ? `writes ${tables}: our triggers there wait until it ends (the POS never waits for that)`
      : "delays what waits for older transactions to end";
    return note(`${who}${since}: ${waits}.`);
  });
  if (findings.length === 0) findings.push(fact("No transaction is open that we would wait for."));
  if (hidden[0]?.hidden) {
    findings.push(
      blind(
        "Could not see how long the transactions of other logins are open: grant pg_read_all_stats to this login.",
      ),
    );
  }
  return { title: "Open now", findings };
}
