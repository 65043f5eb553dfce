-- The second half, the same for both data sets: from `meaning` (number, store, basket, sku, at, kind,
-- reason, quantity) and `setting` (stores, basket_limit) to the opening stock that is delivered, the
-- baskets that must be refused, and what must be left and sold of each SKU in each store.
create table busiest as
select store from meaning group by store order by count(*) desc, store limit (select stores from setting);

create table played_basket as
select store, basket, at, min(number) as first_number
from meaning where store in (select store from busiest)
group by store, basket order by at, first_number limit (select basket_limit from setting);
create index played_basket_key on played_basket (store, basket);

create table line as
select m.* from meaning m join played_basket p on p.store = m.store and p.basket = m.basket;
create index line_item on line (store, sku, kind);

-- One SKU of each store is never delivered: number 20 by lines sold of those that never come back.
create table missing as
select store, sku from (
  select store, sku, row_number() over (partition by store order by count(*) desc, sku) as place
  from line l
  where kind = 'sell' and not exists (
    select 1 from line b where b.store = l.store and b.sku = l.sku and b.kind in ('return', 'found'))
  group by store, sku)
where place = 20;

-- All others: everything that will be taken, and 10 and the length of the code besides.
create table opening as
select store, sku,
       case when (store, sku) in (select store, sku from missing) then 0
            else 10 + length(sku) + sum(case when kind in ('sell', 'loss') then quantity else 0 end)
       end as quantity
from line where kind <> 'skip' group by store, sku;

-- A basket is all or nothing: refused if it would take what was never delivered.
create table refused as
select distinct store, basket from line
where kind in ('sell', 'loss') and (store, sku) in (select store, sku from missing);

create table moved as
select store, sku,
       sum(case kind when 'sell' then quantity else 0 end) as sold,
       sum(case kind when 'sell' then -quantity when 'loss' then -quantity else quantity end) as change
from line
where kind <> 'skip' and (store, basket) not in (select store, basket from refused)
group by store, sku;

.mode csv
.headers off
select 'item', o.store, o.sku, o.quantity, coalesce(m.sold, 0), o.quantity + coalesce(m.change, 0)
from opening o left join moved m on m.store = o.store and m.sku = o.sku order by 2, 3;
select 'refused', store, basket from refused order by 2, 3;
select 'skipped', number, store, basket, sku, reason from line where kind = 'skip' order by 2;
select 'total',
       (select count(*) from (select distinct store, basket from line where kind <> 'skip')),
       (select count(*) from line where kind <> 'skip');
