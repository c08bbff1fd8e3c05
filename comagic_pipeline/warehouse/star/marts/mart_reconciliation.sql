-- One row per day and report that was compared: whether it is equal, and by how much totals of a day are off.
select day.account_id,
       day.day as simple_date,
       day.table_name,
       day.is_equal,
       day.mode,
       day.checked_at,
       day.heal_tries as reloads,
       count(difference.id) as differences,
       coalesce(
           sum(difference.difference) filter (where difference.grain = 'day' and difference.measure = 'calls'), 0
       )::bigint as calls_difference,
       coalesce(
           sum(difference.difference) filter (where difference.grain = 'day' and difference.measure = 'waiting'), 0
       )::bigint as waiting_difference,
       coalesce(
           sum(difference.difference) filter (where difference.grain = 'day' and difference.measure = 'talking'), 0
       )::bigint as talking_difference
  from {ops}.reconciled_days as day
  left join {ops}.reconciliation as difference
    on difference.account_id = day.account_id
   and difference.table_name = day.table_name
   and difference.day = day.day
   and difference.layer = 'raw'
 group by day.account_id, day.day, day.table_name, day.is_equal, day.mode, day.checked_at, day.heal_tries
