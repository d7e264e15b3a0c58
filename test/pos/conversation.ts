import type { Pool, PoolClient } from "pg";

/** What the POS asks of Postgres at one of its endpoints, and what it makes of the answers. */

export type Row = Record<string, unknown>;

/** A statement with its parameters; `begin`, `commit` and `rollback` among them. */
export type Statement = readonly [text: string, ...values: unknown[]];

/** Sends one statement after the other, each with an eye on the rows of the last; returns its HTTP status. */
export type Conversation = Generator<Statement, number, Row[]>;

/** The status, and each statement with its rows, or the SQLSTATE that ended it. */
export type Protocol = { status: number; lines: string[] };

/** What the POS throws where it expects one row at most. */
export class MultipleRows extends Error {
  override name = "MultipleRows";
}

export function oneOrNone(rows: Row[]): Row | undefined {
  if (rows.length > 1) throw new MultipleRows("several rows where one or none was expected");
  return rows[0];
}

/**
 * Holds one conversation on a connection of its own. A statement that fails ends it with a rollback and 500.
 * `between` runs after each commit.
 */
export async function hold(
  pool: Pool,
  conversation: Conversation,
  between = async () => {},
): Promise<Protocol> {
  const client = await pool.connect();
  const lines: string[] = [];
  try {
    let next = conversation.next([]);
    while (!next.done) {
      const [text, ...values] = next.value;
      const { rows, rowCount } = await client.query<Row>(text, values);
      lines.push(`${text}: ${rowCount} ${JSON.stringify(rows)}`);
      if (text === "commit") await between();
      next = conversation.next(rows);
    }
    return { status: next.value, lines };
  } catch (error) {
    lines.push(await failed(client, error));
    return { status: 500, lines };
  } finally {
    client.release();
  }
}

async function failed(client: PoolClient, error: unknown): Promise<string> {
  await client.query("rollback");
  if (error instanceof MultipleRows) return error.name;
  if (error instanceof Error && "code" in error) return `${error.code} ${error.message}`;
  throw error;
}

/** Whoever calls must be an active user of an active store: looked up first, as every endpoint does. */
export function* signedIn({
  user,
  store,
}: {
  user: string;
  store: string;
}): Generator<Statement, void, Row[]> {
  yield ["begin"];
  yield [
    "select id, email, hashed_password, full_name, rol, is_active, created_at, tienda_id from users where id = $1",
    user,
  ];
  yield ["select id, nombre, rubro, is_active, created_at from tiendas where id = $1", store];
}
