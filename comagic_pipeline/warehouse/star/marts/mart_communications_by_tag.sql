-- One row per day, kind, tag, source and medium. A communication with several tags counts under each of them: totals
-- are those of mart_communications. Should a tag have been renamed in the course of a day, one of its names is shown.
select fact.account_id,
       date.simple_date,
       text '{kind}' as kind,
       tag.tag_id,
       max(tag.name) as tag_name,
       traffic.source,
       traffic.medium,
       count(*) as communications,
       count(target.id) as target_communications,
       fact.customer_user_id
  from {star}.{facts} as fact
  join {star}.{tags} as tag on tag.{owner} = fact.{owner}
  join {star}.general_dates as date on date.id = fact.dates_id
  join {star}.general_traffic as traffic on traffic.id = fact.traffic_id
  left join {star}.{attributes} as target on target.{owner} = fact.{owner} and target.attribute_id = 'target'
 group by fact.account_id, fact.customer_user_id, date.simple_date, tag.tag_id, traffic.source, traffic.medium
