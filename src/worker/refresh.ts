import { setTimeout as sleep } from "node:timers/promises";
import type { ClientBase } from "pg";
import { codeOf } from "../database/away.ts";
import type { TaskContext } from "./define-task.ts";
import {
  isPermanent,
  messageOf,
  PermanentError,
  ShutdownError,
  SuspendedError,
} from "./failure.ts";

export type RefreshPayload = {
  tiendas: string[];
  tipos?: string[] | undefined;
  force?: boolean | undefined;
  request_id?: string | undefined;
};

type Counts = { inserted: number; updated: number; archived: number; failed: number };
type CountsByType = Record<string, Counts>;
type Request = { tienda: string; force: boolean };

/**
 * So long a job waits for stores that somebody else is reconciling, while it holds none itself, and so
 * often it looks. What is busy for longer is put back.
 */
const busy = { mostMs: 1000, everyMs: 20 };

/** The work of the task refresh_stores. */
export async function refreshStores(
  context: TaskContext<RefreshPayload>,
): Promise<Record<string, unknown> | undefined> {
  const { payload, lastAttempt, signal } = context;
  let request: Request | undefined;
  try {
    if (payload.request_id) {
      const started = await startRequest(context, payload.request_id, payload.tiendas);
      if (started === "ended") return { skipped: "the request has ended or does not exist" };
      request = started;
    }
    return await refresh(context, request);
  } catch (error) {
    // The request itself is locked, or a whole table: its owner is not told that it failed.
    if (payload.request_id && isLock(error)) {
      await putBack(context, payload.tiendas, request);
      return { heldUp: payload.tiendas.length };
    }
    if (payload.tiendas.length > 1 && codeOf(error) === "57014") {
      return splitInHalves(context, request);
    }
    // Neither a stop nor a suspension is the last attempt.
    const isDoneAgain = error instanceof SuspendedError || signal.reason instanceof ShutdownError;
    if (request && payload.request_id && !isDoneAgain && (lastAttempt || isPermanent(error))) {
      await failRequest(context, payload.request_id, error);
    }
    throw error;
  }
}

const isLock = (error: unknown) => ["55P03", "40P01"].includes(codeOf(error) ?? "");

/**
 * Refreshes every store that can be, in one transaction when nothing is in the way. A store of which another
 * session keeps rows locked is left to a job of its own.
 */
async function refresh(
  context: TaskContext<RefreshPayload>,
  request: Request | undefined,
): Promise<Record<string, unknown>> {
  const { payload, transaction, settings, log, signal } = context;
  const total: CountsByType = {};
  const heldUp: string[] = [];
  const giveUpAt = performance.now() + Math.min(busy.mostMs, settings.jobTimeLimitMs / 4);
  let left = payload.tiendas;
  let passedOver: string[] | undefined;
  for (let finished = !request; ; ) {
    const pass = await transaction(async (client) => {
      passedOver ??= await warnOfInactive(client, context);
      const done = await refreshAvailable(client, context, left, request);
      const counts = sum(total, done.counts);
      const isLeft = [...heldUp, ...done.held_up, ...done.busy].includes(request?.tienda ?? "");
      if (!finished && !isLeft) await finishRequest(client, payload.request_id, counts);
      return { ...done, counts, isLeft };
    });
    Object.assign(total, pass.counts);
    finished ||= !pass.isLeft;
    heldUp.push(...pass.held_up);
    left = pass.busy;
    if (left.length === 0 || performance.now() > giveUpAt) break;
    await sleep(busy.everyMs, undefined, { signal });
  }
  heldUp.push(...left);
  if (heldUp.length > 0) await putBack(context, heldUp, request);

  const failed = Object.entries(total).filter(([, counts]) => counts.failed > 0);
  if (failed.length > 0) {
    log.error(
      { failed: Object.fromEntries(failed) },
      "insight types failed for stores, see nexus_engine.store_failure",
    );
  }
  return {
    stores: payload.tiendas.length - (passedOver?.length ?? 0) - heldUp.length,
    ...Object.values(total).reduce(plus, none),
    ...(heldUp.length > 0 && { heldUp: heldUp.length }),
  };
}

async function warnOfInactive(
  client: ClientBase,
  { payload, log }: TaskContext<RefreshPayload>,
): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `select wanted.id from unnest($1::uuid[]) wanted (id)
     where not exists (select from public.tiendas t where t.id = wanted.id and t.is_active)`,
    [payload.tiendas],
  );
  const tiendas = rows.map(({ id }) => id);
  if (tiendas.length === payload.tiendas.length) {
    throw new PermanentError(
      `refresh_stores: payload.tiendas: expected ids of active stores, got none in ${tiendas.length}`,
    );
  }
  if (tiendas.length > 0) {
    log.warn({ tiendas: tiendas.slice(0, 20) }, "not active stores, passed over");
  }
  return tiendas;
}

type Available = { counts: CountsByType; busy: string[]; held_up: string[] };

async function refreshAvailable(
  client: ClientBase,
  { payload }: TaskContext<RefreshPayload>,
  tiendas: string[],
  request: Request | undefined,
): Promise<Available> {
  const { rows } = await client
    .query<Available>("select * from nexus_engine.refresh_available($1, $2, $3, now())", [
      payload.tipos ?? null,
      tiendas,
      request?.force ?? payload.force ?? false,
    ])
    .catch((error: unknown) => {
      if (codeOf(error) === "NX001") {
        throw new PermanentError(`refresh_stores: payload.${messageOf(error)}`);
      }
      throw error;
    });
  return rows[0] ?? { counts: {}, busy: [], held_up: [] };
}

const none: Counts = { inserted: 0, updated: 0, archived: 0, failed: 0 };

function plus(a: Counts, b: Counts): Counts {
  return {
    inserted: a.inserted + b.inserted,
    updated: a.updated + b.updated,
    archived: a.archived + b.archived,
    failed: a.failed + b.failed,
  };
}

function sum(a: CountsByType, b: CountsByType): CountsByType {
  const types = Object.entries(b).map(([tipo, counts]) => [tipo, plus(a[tipo] ?? none, counts)]);
  return { ...a, ...Object.fromEntries(types) };
}

/** Enqueues what is left of the job, store by store, for when it is worth trying again. */
async function putBack(
  { payload, transaction }: TaskContext<RefreshPayload>,
  tiendas: string[],
  request: Request | undefined,
): Promise<void> {
  const force = request?.force ?? payload.force;
  await transaction((client) =>
    client.query("select nexus_engine.put_back_refresh($1, $2)", [
      JSON.stringify({ ...payload, force }),
      tiendas,
    ]),
  );
}

/** Marks the request as running, where its owner sees it. */
async function startRequest(
  { transaction }: TaskContext<RefreshPayload>,
  requestId: string,
  tiendas: string[],
): Promise<Request | "ended"> {
  return transaction(async (client) => {
    const { rows } = await client.query<{ id: string | null; force: boolean; tienda_id: string }>(
      "select id, force, tienda_id from nexus_engine.start_request($1)",
      [requestId],
    );
    const request = rows[0];
    if (!request?.id) return "ended";
    // Else another store would be told that its request was served.
    if (!tiendas.includes(request.tienda_id)) {
      throw new PermanentError(
        `refresh_stores: payload.request_id: expected a request of one of payload.tiendas, got ${requestId}`,
      );
    }
    return { tienda: request.tienda_id, force: request.force };
  });
}

/** Succeeded with these counts, unless a type failed. */
async function finishRequest(
  client: ClientBase,
  requestId: string | undefined,
  counts: CountsByType,
): Promise<void> {
  const failed = Object.keys(counts).filter((tipo) => counts[tipo]?.failed);
  await client.query("select nexus_engine.finish_request($1, $2, $3, $4)", [
    requestId,
    JSON.stringify(counts),
    failed.length > 0 ? "INSIGHT_FAILED" : null,
    failed.length > 0 ? `No se pudo calcular: ${failed.join(", ")}` : null,
  ]);
}

async function failRequest(
  { transaction }: TaskContext<RefreshPayload>,
  requestId: string,
  error: unknown,
): Promise<void> {
  await transaction((client) =>
    client.query("select nexus_engine.finish_request($1, null, $2, $3)", [
      requestId,
      codeOf(error) ?? "INTERNAL",
      "No se pudo actualizar. Volvé a intentarlo en unos minutos.",
    ]),
  );
}

/** A batch that ran into the time limit goes on as two smaller ones; its request goes with its store. */
async function splitInHalves(
  { payload, transaction, log }: TaskContext<RefreshPayload>,
  request: Request | undefined,
): Promise<Record<string, unknown>> {
  const half = Math.ceil(payload.tiendas.length / 2);
  const { request_id, ...rest } = { ...payload, force: request?.force ?? payload.force };
  await transaction(async (client) => {
    for (const tiendas of [payload.tiendas.slice(0, half), payload.tiendas.slice(half)]) {
      const ofRequest = !request || tiendas.includes(request.tienda);
      await client.query(
        "select graphile_worker.add_job('refresh_stores', $1, max_attempts => 5)",
        [JSON.stringify({ ...rest, tiendas, ...(ofRequest && { request_id }) })],
      );
    }
  });
  log.warn({ stores: payload.tiendas.length }, "time limit reached, split in two");
  return { split: 2 };
}
