-- Calls whose fact lies in the period but which raw no longer holds there. Dimension rows stay.

create temporary table vanished_calls on commit drop as
select fact.calls_id
  from {star}.general_dates as date
  join {star}.comagic_calls_facts as fact on fact.dates_id = date.id
 where date.simple_date between :first_day and :last_day
   and fact.account_id = :account_id
   and not exists (select from period_facts as new where new.calls_id = fact.calls_id);

analyze vanished_calls;

delete from {star}.comagic_calls_facts using vanished_calls as gone where comagic_calls_facts.calls_id = gone.calls_id;

delete from {star}.comagic_calls_tags using vanished_calls as gone where comagic_calls_tags.calls_id = gone.calls_id;

delete from {star}.comagic_calls_attributes
 using vanished_calls as gone
 where comagic_calls_attributes.calls_id = gone.calls_id;

delete from {star}.comagic_calls using vanished_calls as gone where comagic_calls.id = gone.calls_id;
