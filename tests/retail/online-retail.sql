-- What the merchant's node must hold, from the CSV alone. Read by the sqlite3 shell, after
--   create table setting as select 1 as stores, 1000000000 as basket_limit;
--   .import --csv "|zstd -dc online_retail_2010_2011.csv.zst" raw
-- and followed by expected.sql. A cancelled invoice (C...) is a return; what else is negative is a
-- damage or loss; what is positive at price 0 without a customer was found; all the rest is sold,
-- also what was given away to a customer at price 0. Codes differ by case (sqlite compares bytes).
create table meaning as
select rowid as number, 'online' as store, invoice as basket, stock_code as sku, invoice_date as at,
       case when cast(quantity as integer) = 0 then 'skip'
            when stock_code <> trim(stock_code) or length(cast(stock_code as blob)) not between 1 and 64 then 'skip'
            when invoice glob 'C*' and cast(quantity as integer) < 0 then 'return'
            when cast(quantity as integer) < 0 then 'loss'
            when cast(unit_price as real) = 0 and customer_id = '' then 'found'
            else 'sell' end as kind,
       case when cast(quantity as integer) = 0 then 'zero-quantity' else 'invalid-sku' end as reason,
       abs(cast(quantity as integer)) as quantity
from raw;
