-- period_rows: the rows of the period as the kind's rows.sql gives them. The only step that reads the report.

create temporary table period_rows on commit drop as
with
-- Raw may hold a row on two days when its time was corrected: the copy loaded last wins. Customers of an agent may have
-- equal ids: a row is one customer's.
latest as (
    select distinct on (customer_user_id, {key}) *
      from ({rows}) as report
     where account_id = :account_id and event_date between :first_day and :last_day
     order by customer_user_id, {key}, loaded_at desc, event_date desc
)
-- The hashes are mybi's: the table's descriptive columns in order, joined by ',', with None for NULL.
select latest.*,
       date_trunc('second', moment) as full_date,
       md5(concat_ws(
           ',', 'None', coalesce(source, 'None'), coalesce(medium, 'None'), coalesce(campaign, 'None'),
           coalesce(content, 'None'), coalesce(keyword, 'None'), coalesce(landing_page, 'None')
       )) as traffic_hash,
       md5(concat_ws(
           ',', 'None', coalesce(country, 'None'), 'None', coalesce(region, 'None'), coalesce(city, 'None'),
           'None', 'None'
       )) as location_hash,
       (
           select date.simple_date
             from {star}.{dimension} as own
             join {star}.{facts} as fact on fact.{owner} = own.id
             join {star}.general_dates as date on date.id = fact.dates_id
            where own.account_id = :account_id
              and own.customer_user_id = latest.customer_user_id
              and own.{key} = latest.{key}
       ) as fact_day
  from latest;

analyze period_rows (customer_user_id, {key}, full_date, clientid, traffic_hash, location_hash);

-- A row whose fact lies on a day outside the period moves here, unless raw still holds it on that day, loaded later.
delete from period_rows as here
 where fact_day not between :first_day and :last_day
   and exists (
       select
         from ({rows}) as there
        where there.account_id = :account_id
          and there.customer_user_id = here.customer_user_id
          and there.event_date = here.fact_day
          and there.{key} = here.{key}
          and (there.loaded_at, there.event_date) > (here.loaded_at, here.event_date)
   );
