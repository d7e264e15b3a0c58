import { type Config, readConfig } from "../config.ts";
import { keepAttaching } from "../database/attach.ts";
import { connect } from "../database/client.ts";
import { type Plan, planText, readPlan, toDoText } from "../database/plan/plan.ts";
import { lackingIndexes } from "../database/pos.ts";
import { prepareDatabase } from "../database/prepare.ts";
import { asScript, type Logins, lackingRights, loginsOf } from "../database/rights.ts";
import { createLog } from "../log.ts";
import { exitWithError, UsageError } from "../process.ts";
import { readArguments } from "./arguments.ts";

const usage = `npm run attach -- [OPTIONS]

Puts Nexus POS Insights onto the POS's database of DATABASE_URL: roles, schemas, triggers. Says each step in a
line; may be repeated at any time, and interrupted. Where the POS is using its tables it waits, 25 ms at a time.

  --check            changes nothing: prints what attaching would do, and what has to be done first. Any role may
                     ask, also one that only reads. Exits with 0 when attaching would work, else with 1.
  --json             the plan as JSON
  --grants           changes nothing: prints the SQL that a DBA runs to let logins work which own nothing
  --login NAME       of --check and --grants: who will attach (default: the login of DATABASE_URL, or the owner of
                     the POS's tables where that one has no rights on them; of --grants: nexus_migration)
  --worker-login NAME, --server-login NAME
                     who will run the worker and the API (default: those of WORKER_DATABASE_URL and
                     SERVER_DATABASE_URL; of --grants: nexus_jobs and nexus_api)
  --help             this text

Exit code: 0 done, or attaching would work; 1 something must be done first, and is printed.
`;

const options = {
  check: { type: "boolean" },
  json: { type: "boolean" },
  grants: { type: "boolean" },
  login: { type: "string" },
  "worker-login": { type: "string" },
  "server-login": { type: "string" },
} as const;
type Options = ReturnType<typeof readArguments<typeof options>>;

async function main(): Promise<void> {
  const values = readArguments(usage, options);
  const config = readConfig(process.env, { needsSecretKey: false });
  if (!config.databaseUrl) {
    throw new UsageError(
      "npm run attach is for the POS's own database: set DATABASE_URL. The embedded one is attached by npm start.",
    );
  }
  if (values.grants) {
    console.log(await grants(config.databaseUrl, config, values));
    return;
  }
  if (values.login && !values.check && !values.json) {
    throw new UsageError(
      "--login is for --check and --grants; attaching is done by the login of DATABASE_URL.",
    );
  }
  const plan = await planOf(config.databaseUrl, config, values);
  if (values.check || values.json || !plan.ready) {
    const text = values.check ? planText(plan) : toDoText(plan);
    console.log(values.json ? JSON.stringify(plan, null, 2) : text);
    if (!plan.ready) process.exitCode = 1;
    return;
  }
  await attach(config.databaseUrl, config);
}

function loginsFor(current: string, config: Config, values: Options): Logins {
  const { workerDatabaseUrl: workerUrl, serverDatabaseUrl: serverUrl } = config;
  const logins = loginsOf(values.login ?? current, { workerUrl, serverUrl });
  const worker = values["worker-login"] ?? logins.worker;
  const server = values["server-login"] ?? logins.server;
  return { ...logins, worker, server };
}

async function planOf(url: string, config: Config, values: Options): Promise<Plan> {
  const client = await connect(url, "nexus-plan");
  try {
    const choosesLogin = !values.login && Boolean(values.check || values.json);
    return await readPlan(client, loginsFor(client.user ?? "", config, values), { choosesLogin });
  } finally {
    await client.end();
  }
}

/** What lacks of three logins that own nothing, as a script. */
async function grants(url: string, config: Config, values: Options): Promise<string> {
  const client = await connect(url, "nexus-plan");
  try {
    const given = loginsFor("nexus_migration", config, values);
    const { migration, worker = "nexus_jobs", server = "nexus_api", migrationServes } = given;
    const logins = { migration, worker, server, migrationServes };
    const script = asScript(await lackingRights(client, logins));
    const indexes = await lackingIndexes(client);
    const last =
      indexes.length === 0
        ? ""
        : `\n-- Last and by itself, outside a transaction (psql does so; an editor that sends all at once does not), as the
-- owner of the POS's tables or a superuser. Reports are slower without; sales do not wait for it:
${indexes.join("\n")}`;
    return `-- Nexus POS Insights on database "${client.database}": what its logins need, and do not have yet. No
-- superuser, no CREATEROLE, no table of the POS's. Connect to this database and run all of it.
--   ${migration}: DATABASE_URL, makes and updates our schemas and triggers
--   ${worker}: WORKER_DATABASE_URL, runs the jobs
--   ${server}: SERVER_DATABASE_URL, answers the API
-- New logins have no password yet: \\password NAME in psql, or as your service does it.
${script || "-- nothing lacks"}${last}`;
  } finally {
    await client.end();
  }
}

async function attach(url: string, config: Config): Promise<void> {
  const log = createLog("error");
  const how = { attachAgain: true, say: (line: string) => console.log(line) };
  const halves = { workerUrl: config.workerDatabaseUrl, serverUrl: config.serverDatabaseUrl };
  if (!(await prepareDatabase(url, log, { ...how, halves }))) {
    await keepAttaching(url, log, how).ended;
  }
  console.log("attached");
}

if (import.meta.main) await main().catch(exitWithError);
