-- One row per kind that was ever loaded, of each customer. That rows of the last day and facts of the last day differ
-- means that the star has not been built since, or that a row was corrected to another day.
select loaded.account_id,
       text '{kind}' as kind,
       loaded.last_day as last_loaded_day,
       last.rows as last_day_rows,
       last.loaded_at as last_day_loaded_at,
       -- From the latest day with rows back until a date is a fact's: a look or two instead of the whole table. A
       -- customer without rows takes no look at all: it would be one at every date, for each customer and kind.
       (
           select date.full_date
             from {star}.general_dates as date
            where date.full_date < loaded.last_day_with_rows + 1
              and exists (
                  select
                    from {star}.{facts} as fact
                   where fact.dates_id = date.id
                     and fact.account_id = loaded.account_id
                     and fact.customer_user_id = loaded.customer_user_id
              )
            order by date.full_date desc
            limit 1
       ) as last_fact_time,
       (
           select count(*)
             from {star}.general_dates as date
             join {star}.{facts} as fact on fact.dates_id = date.id
            where date.simple_date = loaded.last_day
              and fact.account_id = loaded.account_id
              and fact.customer_user_id = loaded.customer_user_id
       )::integer as last_day_facts,
       loaded.customer_user_id
  from (
      select account_id, customer_user_id, max(day) as last_day, max(day) filter (where rows > 0) as last_day_with_rows
        from {ops}.loaded_days
       where table_name = '{report}'
       group by account_id, customer_user_id
  ) as loaded
 cross join lateral (
     select day.rows::numeric as rows, day.loaded_at
       from {ops}.loaded_days as day
      where day.account_id = loaded.account_id
        and day.customer_user_id = loaded.customer_user_id
        and day.day = loaded.last_day
        and day.table_name = '{report}'
 ) as last
