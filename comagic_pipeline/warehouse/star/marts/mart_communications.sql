-- One row per day, kind, source and medium. A communication counts once, however many tags it has.
select fact.account_id,
       date.simple_date,
       text '{kind}' as kind,
       traffic.source,
       traffic.medium,
       count(*) as communications,
       count(target.id) as target_communications,
       fact.customer_user_id
  from {star}.{facts} as fact
  join {star}.general_dates as date on date.id = fact.dates_id
  join {star}.general_traffic as traffic on traffic.id = fact.traffic_id
  left join {star}.{attributes} as target on target.{owner} = fact.{owner} and target.attribute_id = 'target'
 group by fact.account_id, fact.customer_user_id, date.simple_date, traffic.source, traffic.medium
