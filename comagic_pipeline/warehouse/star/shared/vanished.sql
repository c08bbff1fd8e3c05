-- vanished: what has a fact in the period that raw no longer holds there. Rows of shared dimensions stay.
create temporary table vanished on commit drop as
select fact.{owner}
  from {star}.general_dates as date
  join {star}.{facts} as fact on fact.dates_id = date.id
 where date.simple_date between :first_day and :last_day
   and fact.account_id = :account_id
   and not exists (select from new_facts as new where new.{owner} = fact.{owner});

analyze vanished;
