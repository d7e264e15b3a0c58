-- Only an owner of the POS's tables makes triggers on them any more, in attach().
revoke trigger on public.productos from nexus_owner;

set local role nexus_owner;

-- A threshold is at most nexus_engine.highest_threshold() from now on, which the triggers of these tables see
-- to: a constraint would take a lock that sales wait for. What is higher, or NaN, becomes that.
update nexus_engine.store_settings s
set low_stock_threshold = least(s.low_stock_threshold, 1000000), critical_threshold = least(s.critical_threshold, 1000000)
where s.low_stock_threshold > 1000000 or s.critical_threshold > 1000000;
update nexus_engine.product_settings ps set min_stock = 1000000 where ps.min_stock > 1000000;

-- Products are low or out by other rules: the triggers of before are not followed until attach() has made
-- them anew, and check_stock has looked at every product.
update nexus_engine.stock_ceiling set ceiling = -1;

-- No threshold changes the triggers any more.
drop function if exists nexus_engine.renew_triggers();
drop function if exists nexus_engine.rely_on_triggers(double precision);
drop function if exists nexus_engine.product_content(uuid, uuid, text, text, text, double precision);
