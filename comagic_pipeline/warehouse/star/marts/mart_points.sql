-- One row per day and table that was asked for. Requests of commands (load --plan, doctor) belong to no run.
select account_id,
       day,
       table_name,
       count(distinct nullif(run_id, '')) as runs,
       sum(points)::bigint as points
  from {ops}.points_spent
 group by account_id, day, table_name
