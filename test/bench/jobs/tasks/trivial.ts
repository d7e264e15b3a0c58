import { z } from "zod";
import { defineTask } from "../../../../src/worker/define-task.ts";
import { starts } from "../starts.ts";

/** As little as a task can do. */
export default defineTask({
  payload: z.strictObject({ n: z.int().nonnegative() }),
  run: async ({ payload }) => {
    starts.tell(payload.n);
    return undefined;
  },
});
