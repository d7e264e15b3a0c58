import { addPgTableOrderBy } from "postgraphile/utils";

/** URGENCIA: CRITICA, ALTA, MEDIA, BAJA, and the newest first among equals. */
export const InsightOrderPlugin = addPgTableOrderBy(
  { schemaName: "nexus_api", tableName: "insights" },
  () => ({
    URGENCIA: {
      description: "The most urgent first, and of these the newest.",
      extensions: {
        grafast: {
          apply(query) {
            query.orderBy({ attribute: "urgencia_rank", direction: "ASC" });
            query.orderBy({ attribute: "created_at", direction: "DESC" });
            query.orderBy({ attribute: "id", direction: "ASC" });
            query.setOrderIsUnique();
          },
        },
      },
    },
  }),
);
