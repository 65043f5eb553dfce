-- What the grocery chain's nodes must hold, from the CSV alone. Read by the sqlite3 shell, after
--   create table setting as select 12 as stores, 1000000000 as basket_limit;
--   .import --csv "|zstd -dc complete_journey_tx.csv.zst" raw
-- and followed by expected.sql. A row of quantity 0 moves nothing and is skipped; any other is a sale.
create table meaning as
select rowid as number, store_id as store, basket_id as basket, product_id as sku, timestamp as at,
       case when cast(quantity as integer) = 0 then 'skip'
            when product_id <> trim(product_id) or length(cast(product_id as blob)) not between 1 and 64 then 'skip'
            else 'sell' end as kind,
       case when cast(quantity as integer) = 0 then 'zero-quantity' else 'invalid-sku' end as reason,
       cast(quantity as integer) as quantity
from raw;
