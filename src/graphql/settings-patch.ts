import type { PgCodec } from "postgraphile/@dataplan/pg";
import { GraphQLList, GraphQLNonNull, isInputType, isListType } from "postgraphile/graphql";

/**
 * Gives updateStoreSettings an input type with a field for each setting, instead of the JSON that its
 * SQL function takes. Only JSON tells a field that is absent, and stays, from one that is null, and
 * goes back to its default.
 */
export const SettingsPatchPlugin: GraphileConfig.Plugin = {
  name: "SettingsPatchPlugin",
  version: "1.0.0",
  schema: {
    hooks: {
      init(init, build) {
        const codec = Object.values(build.input.pgRegistry.pgResources).find(
          (resource) => resource.extensions?.pg?.name === "store_settings" && !resource.parameters,
        )?.codec;
        if (!codec?.attributes) throw new Error("expected a view nexus_api.store_settings");
        const attributes = Object.entries(codec.attributes).filter(
          ([, { extensions }]) => !extensions?.tags?.["readOnly"],
        );
        const inputType = (codec: PgCodec) => {
          const type = build.getGraphQLTypeByPgCodec(codec, "input");
          if (!type || !isInputType(type))
            throw new Error(`expected an input type for ${codec.name}`);
          return isListType(type) ? new GraphQLList(new GraphQLNonNull(type.ofType)) : type;
        };
        const nameOf = (attributeName: string) =>
          build.inflection.attribute({ codec, attributeName });
        build.registerInputObjectType(
          "SettingsPatch",
          {},
          () => ({
            description:
              "The settings to change: those that are absent stay, null resets one to its default.",
            fields: () =>
              Object.fromEntries(
                attributes.map(([name, attribute]) => [
                  nameOf(name),
                  {
                    type: inputType(attribute.codec),
                    description: attribute.description,
                    deprecationReason: deprecationOf(attribute.extensions?.tags?.["deprecated"]),
                  },
                ]),
              ),
            extensions: {
              grafast: {
                // What is absent stays undefined, and so out of the JSON.
                baked: (patch: Record<string, unknown>) =>
                  Object.fromEntries(attributes.map(([name]) => [name, patch[nameOf(name)]])),
              },
            },
          }),
          "SettingsPatchPlugin",
        );
        return init;
      },

      GraphQLInputObjectType_fields(fields, build, { Self }) {
        if (Self.name !== "UpdateStoreSettingsInput" || !fields["patch"]) return fields;
        const type = new build.graphql.GraphQLNonNull(build.getInputTypeByName("SettingsPatch"));
        return { ...fields, patch: { ...fields["patch"], type } };
      },
    },
  },
};

/** The reason that a tag @deprecated gives. */
function deprecationOf(tag: unknown): string | undefined {
  return typeof tag === "string" ? tag : undefined;
}
