-- The tables of Nexus POS as its Alembic migration 849d2968c4fe creates them. They belong to the
-- POS: this file serves the embedded database, `npm start -- --create-pos-schema` and the tests,
-- and never runs against a database that already has them.

create table public.tiendas (
  id uuid primary key,
  nombre varchar(255) not null,
  rubro varchar(50) not null,
  is_active boolean not null,
  created_at timestamptz not null default now()
);
create index ix_tiendas_id on public.tiendas (id);
create index ix_tiendas_is_active on public.tiendas (is_active);
create index ix_tiendas_nombre on public.tiendas (nombre);

create table public.insights (
  id uuid primary key,
  tipo varchar(100) not null,
  mensaje varchar not null,
  nivel_urgencia varchar(50) not null,
  is_active boolean not null,
  extra_data jsonb,
  created_at timestamptz not null default now(),
  tienda_id uuid not null references public.tiendas (id)
);
create index ix_insights_created_at on public.insights (created_at);
create index ix_insights_id on public.insights (id);
create index ix_insights_is_active on public.insights (is_active);
create index ix_insights_nivel_urgencia on public.insights (nivel_urgencia);
create index ix_insights_tienda_id on public.insights (tienda_id);
create index ix_insights_tipo on public.insights (tipo);

create table public.productos (
  id uuid primary key,
  nombre varchar(255) not null,
  sku varchar(100) not null,
  descripcion varchar,
  precio_venta double precision not null,
  precio_costo double precision not null,
  stock_actual double precision not null,
  tipo varchar(50) not null,
  atributos jsonb,
  is_active boolean not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  tienda_id uuid not null references public.tiendas (id)
);
create index ix_productos_id on public.productos (id);
create index ix_productos_is_active on public.productos (is_active);
create index ix_productos_nombre on public.productos (nombre);
create index ix_productos_sku on public.productos (sku);
create index ix_productos_tienda_id on public.productos (tienda_id);

create table public.users (
  id uuid primary key,
  email varchar(255) not null,
  hashed_password varchar not null,
  full_name varchar(255) not null,
  rol varchar(50) not null,
  is_active boolean not null,
  created_at timestamptz not null default now(),
  tienda_id uuid not null references public.tiendas (id)
);
create unique index ix_users_email on public.users (email);
create index ix_users_id on public.users (id);
create index ix_users_is_active on public.users (is_active);
create index ix_users_tienda_id on public.users (tienda_id);

create table public.ventas (
  id uuid primary key,
  fecha timestamptz not null default now(),
  total double precision not null,
  metodo_pago varchar(50) not null,
  created_at timestamptz not null default now(),
  status_pago varchar(50) not null,
  payment_id varchar(255),
  afip_cae varchar(50),
  afip_cae_vto timestamp,
  tienda_id uuid not null references public.tiendas (id)
);
create index ix_ventas_fecha on public.ventas (fecha);
create index ix_ventas_id on public.ventas (id);
create index ix_ventas_payment_id on public.ventas (payment_id);
create index ix_ventas_status_pago on public.ventas (status_pago);
create index ix_ventas_tienda_id on public.ventas (tienda_id);

create table public.detalles_venta (
  id uuid primary key,
  cantidad double precision not null,
  precio_unitario double precision not null,
  subtotal double precision not null,
  venta_id uuid not null references public.ventas (id),
  producto_id uuid not null references public.productos (id)
);
create index ix_detalles_venta_id on public.detalles_venta (id);
create index ix_detalles_venta_producto_id on public.detalles_venta (producto_id);
create index ix_detalles_venta_venta_id on public.detalles_venta (venta_id);
