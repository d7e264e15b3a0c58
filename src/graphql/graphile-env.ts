// Read once, when grafast is loaded: without it grafast warns, and follows NODE_ENV into a mode that
// checks and slows down every plan. Set it to development to debug a plugin.
process.env["GRAPHILE_ENV"] ??= "production";
