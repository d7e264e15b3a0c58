import { connect, createServer, type Socket } from "node:net";

/** A way to a server that can go dead: connections stand and are still taken, but nothing is answered. */
export type Detour = { url: string; freeze(): void; close(): Promise<void> };

export async function detourTo(url: string): Promise<Detour> {
  const to = new URL(url);
  const sockets = new Set<Socket>();
  let frozen = false;
  const server = createServer((near) => {
    sockets.add(near.on("error", () => {}));
    if (frozen) return;
    const far = connect(Number(to.port), to.hostname);
    sockets.add(far.on("error", () => {}));
    near.pipe(far);
    far.pipe(near);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const through = new URL(url);
  through.hostname = "127.0.0.1";
  through.port = String(port);
  return {
    url: through.toString(),
    freeze: () => {
      frozen = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
