const plural = /(settings|stats)$/i;

/** Names as the POS app knows them. */
export const NamingPlugin: GraphileConfig.Plugin = {
  name: "NamingPlugin",
  version: "1.0.0",
  inflection: {
    add: {
      // Belongs to NodePlugin, which is off; simplify-inflection warns when it finds nothing to replace.
      nodeById(_preset, typeName) {
        return this.camelCase(`${typeName}-by-${this.nodeIdFieldName()}`);
      },
    },
    replace: {
      // With Amber `id` is the global id and a column id becomes rowId; we have no global ids.
      _attributeName(_previous, _preset, { codec, attributeName }) {
        const name = codec.attributes[attributeName]?.extensions?.tags?.["name"];
        return this.coerceToGraphQLName(typeof name === "string" ? name : attributeName);
      },
      // A view and a function may bear the same name: store_settings, and the one that reads it.
      functionResourceName(previous, _preset, details) {
        return `${previous?.(details) ?? details.pgProc.proname}_function`;
      },
      _functionName(_previous, _preset, { resource }) {
        return resource.extensions?.pg?.name ?? resource.name;
      },
      // One spelling for all enums, whatever SQL has: RefreshStatus is written in small letters there.
      enumValue(previous, _preset, value, codec) {
        return this.constantCase(previous?.(value, codec) ?? value);
      },
      // topProductos, not topProductosList.
      customQueryListField(_previous, _preset, details) {
        return this.customQueryField(details);
      },
      singularize(previous, _preset, word) {
        return plural.test(word) ? word : (previous?.(word) ?? word);
      },
    },
  },
};
