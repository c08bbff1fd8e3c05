-- One row per number that called in on a day. Its traffic is that of the day's first call, so that rows counted by
-- source and medium add up to the callers of the day.
select fact.account_id,
       date.simple_date,
       call.contact_phone_number as phone_number,
       min(date.full_date) as first_call_time,
       count(*) as calls,
       count(*) filter (where call.is_lost) as lost_calls,
       sum(fact.talk_duration) as talk_duration,
       (array_agg(traffic.source order by date.full_date, call.call_id))[1] as source,
       (array_agg(traffic.medium order by date.full_date, call.call_id))[1] as medium,
       fact.customer_user_id
  from {star}.comagic_calls_facts as fact
  join {star}.comagic_calls as call on call.id = fact.calls_id
  join {star}.general_dates as date on date.id = fact.dates_id
  join {star}.general_traffic as traffic on traffic.id = fact.traffic_id
 where call.direction = 'in'
   and call.contact_phone_number <> ''
 group by fact.account_id, fact.customer_user_id, date.simple_date, call.contact_phone_number
