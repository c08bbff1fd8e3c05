-- period_calls: one row per call of the period, with its values as the star holds them (cut to the columns' widths).
-- The only step that reads the raw calls.

-- The star's NOT NULL columns get 0, false or 'unknown' where the API gives NULL: an empty string would look like an
-- answer, and 'unknown' is none of the API's codes. A duration beyond mybi's type is cut: one row stops no day. All-NULL rows of traffic, location and site are the unknown members.
create temporary table period_calls on commit drop as
with
-- Raw may hold a call on two days when its start was corrected: the copy loaded last wins.
latest as (
    select distinct on (id)
           id as call_id,
           customer_user_id,
           event_date,
           loaded_at,
           date_trunc('second', start_time) as full_date,
           left(coalesce(ua_client_id, ym_client_id, 'not available'), 64) as clientid,
           left(visitor_country, 64) as country,
           left(visitor_region, 128) as region,
           left(visitor_city, 64) as city,
           left(utm_source, 256) as source,
           left(utm_medium, 256) as medium,
           left(utm_campaign, 256) as campaign,
           left(utm_content, 512) as content,
           left(utm_term, 256) as keyword,
           left(entrance_page, 256) as landing_page,
           left(site_domain_name, 64) as domain,
           coalesce(campaign_id, 0) as campaign_id,
           left(campaign_name, 256) as campaign_name,
           left(coalesce(finish_reason, 'unknown'), 128) as finish_reason,
           left(coalesce(direction, 'unknown'), 16) as direction,
           left(coalesce(report.source, 'unknown'), 64) as call_source,
           coalesce(is_lost, false) as is_lost,
           left(contact_phone_number, 32) as contact_phone_number,
           left(virtual_phone_number, 32) as virtual_phone_number,
           visitor_id::text as visitor_id,
           visitor_session_id::text as visitor_session_id,
           left(coalesce(visitor_device, 'unknown'), 16) as visitor_device,
           left(channel, 32) as channel,
           referrer,
           least(coalesce(wait_duration, 0), 2147483647)::integer as wait_duration,
           least(coalesce(total_wait_duration, 0), 2147483647)::integer as total_wait_duration,
           least(coalesce(talk_duration, 0), 2147483647)::integer as talk_duration,
           least(coalesce(clean_talk_duration, 0), 2147483647)::integer as clean_talk_duration,
           least(coalesce(total_duration, 0), 2147483647)::integer as total_duration,
           least(coalesce(postprocess_duration, 0), 2147483647)::integer as postprocess_duration,
           tags,
           attributes
      from {raw}.calls_report as report
     where account_id = :account_id and event_date between :first_day and :last_day
     order by id, loaded_at desc, event_date desc, customer_user_id desc
)
-- The hashes are mybi's: the table's descriptive columns in order, joined by ',', with None for NULL.
select latest.*,
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
             from {star}.comagic_calls as call
             join {star}.comagic_calls_facts as fact on fact.calls_id = call.id
             join {star}.general_dates as date on date.id = fact.dates_id
            where call.account_id = :account_id and call.call_id = latest.call_id
       ) as fact_day
  from latest;

analyze period_calls (call_id, full_date, clientid, traffic_hash, location_hash);

-- A call whose fact lies on a day outside the period moves here, unless raw still holds it on that day, loaded later.
delete from period_calls as here
 where fact_day not between :first_day and :last_day
   and (
       select (there.loaded_at, there.event_date) > (here.loaded_at, here.event_date)
         from {raw}.calls_report as there
        where there.account_id = :account_id
          and there.customer_user_id = here.customer_user_id
          and there.event_date = here.fact_day
          and there.id = here.call_id
   );
