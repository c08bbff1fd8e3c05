-- One row per day, source and medium.
select account_id,
       simple_date,
       source,
       medium,
       count(*) as unique_callers,
       sum(calls) as calls,
       sum(lost_calls) as lost_calls,
       customer_user_id
  from {star}.mart_unique_callers
 group by account_id, customer_user_id, simple_date, source, medium
