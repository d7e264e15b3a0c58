import type { ClientBase } from "pg";
import { codeOf } from "../database/away.ts";
import type { TaskContext } from "./define-task.ts";
import { isPermanent, messageOf, PermanentError } from "./failure.ts";

export type RefreshPayload = {
  tiendas: string[];
  tipos?: string[] | undefined;
  force?: boolean | undefined;
  request_id?: string | undefined;
};

type TypeCounts = {
  tipo: string;
  inserted: number;
  updated: number;
  archived: number;
  failed: number;
};

/** The work of the task refresh_stores. */
export async function refreshStores(
  context: TaskContext<RefreshPayload>,
): Promise<Record<string, unknown> | undefined> {
  const { payload, transaction, lastAttempt } = context;
  const force = payload.request_id
    ? await startRequest(context, payload.request_id, payload.tiendas)
    : (payload.force ?? false);
  if (force === "ended") return { skipped: "the request has ended or does not exist" };
  try {
    return await transaction((client) => reconcile(client, context, force));
  } catch (error) {
    if (payload.tiendas.length > 1 && codeOf(error) === "57014") return splitInHalves(context);
    if (payload.request_id && (lastAttempt || isPermanent(error))) {
      await failRequest(context, payload.request_id, error);
    }
    throw error;
  }
}

async function reconcile(
  client: ClientBase,
  { payload, log }: TaskContext<RefreshPayload>,
  force: boolean,
): Promise<Record<string, unknown>> {
  const { rows: passedOver } = await client.query<{ id: string }>(
    `select wanted.id from unnest($1::uuid[]) wanted (id)
     where not exists (select from public.tiendas t where t.id = wanted.id and t.is_active)`,
    [payload.tiendas],
  );
  if (passedOver.length === payload.tiendas.length) {
    throw new PermanentError(
      `refresh_stores: payload.tiendas: expected ids of active stores, got none in ${payload.tiendas.length}`,
    );
  }
  if (passedOver.length > 0) {
    log.warn(
      { tiendas: passedOver.map(({ id }) => id).slice(0, 20) },
      "not active stores, passed over",
    );
  }
  if (force) {
    await client.query("select nexus_engine.forget_dismissals($1, now())", [payload.tiendas]);
  }
  const { rows: types } = await client
    .query<TypeCounts>("select * from nexus_engine.reconcile($1, $2, now())", [
      payload.tipos ?? null,
      payload.tiendas,
    ])
    .catch((error: unknown) => {
      if (codeOf(error) === "NX001") {
        throw new PermanentError(`refresh_stores: payload.${messageOf(error)}`);
      }
      throw error;
    });
  const failed = types.filter((type) => type.failed > 0);
  if (failed.length > 0) {
    log.error({ failed }, "insight types failed for stores, see nexus_engine.store_failure");
  }
  if (payload.request_id) {
    await client.query("select nexus_engine.finish_request($1, $2, $3, $4)", [
      payload.request_id,
      JSON.stringify(Object.fromEntries(types.map(({ tipo, ...counts }) => [tipo, counts]))),
      failed.length > 0 ? "INSIGHT_FAILED" : null,
      failed.length > 0
        ? `No se pudo calcular: ${failed.map(({ tipo }) => tipo).join(", ")}`
        : null,
    ]);
  }
  const sum = (key: "inserted" | "updated" | "archived" | "failed") =>
    types.reduce((total, type) => total + type[key], 0);
  return {
    stores: payload.tiendas.length - passedOver.length,
    inserted: sum("inserted"),
    updated: sum("updated"),
    archived: sum("archived"),
    failed: sum("failed"),
  };
}

/** Marks the request as running, where its owner sees it, and says whether it wants force. */
async function startRequest(
  { transaction }: TaskContext<RefreshPayload>,
  requestId: string,
  tiendas: string[],
): Promise<boolean | "ended"> {
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
    return request.force;
  });
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

/** A batch that ran into the time limit goes on as two smaller ones. */
async function splitInHalves({
  payload,
  transaction,
  log,
}: TaskContext<RefreshPayload>): Promise<Record<string, unknown>> {
  const half = Math.ceil(payload.tiendas.length / 2);
  await transaction(async (client) => {
    for (const tiendas of [payload.tiendas.slice(0, half), payload.tiendas.slice(half)]) {
      await client.query(
        "select graphile_worker.add_job('refresh_stores', $1, max_attempts => 5)",
        [JSON.stringify({ ...payload, tiendas })],
      );
    }
  });
  log.warn({ stores: payload.tiendas.length }, "time limit reached, split in two");
  return { split: 2 };
}
