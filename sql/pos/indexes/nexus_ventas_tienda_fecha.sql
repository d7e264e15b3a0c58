-- The tickets of one store in a span of time; the POS has an index on each column alone.
create index concurrently if not exists nexus_ventas_tienda_fecha on public.ventas (tienda_id, fecha)
