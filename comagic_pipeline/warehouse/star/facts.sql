-- comagic_calls_facts: one fact per call of the period, every key resolved.

-- Members are looked up by value as in dimensions.sql. One that is not found breaks the fact's NOT NULL, where a join
-- would lose the fact. Should a warehouse that came from elsewhere hold a row twice, the lower id is taken.
create temporary table period_facts on commit drop as
select new.call_id,
       (
           select call.id
             from {star}.comagic_calls as call
            where call.account_id = :account_id and call.call_id = new.call_id
       ) as calls_id,
       (select date.id from {star}.general_dates as date where date.full_date = new.full_date) as dates_id,
       (
           select min(client.id)
             from {star}.general_clientids as client
            where client.clientid = new.clientid
              and client.userid is null and client.phone is null and client.email is null
       ) as clientids_id,
       (
           select min(location.id)
             from {star}.general_locations as location
            where location.location_hash = new.location_hash
              and (location.country, location.region, location.city)
                  is not distinct from (new.country, new.region, new.city)
              and location.country_iso is null and location.region_iso is null
              and location.latitude is null and location.longitude is null
       ) as locations_id,
       (
           select min(traffic.id)
             from {star}.general_traffic as traffic
            where traffic.traffic_hash = new.traffic_hash
              and traffic.grouping is null
              and (traffic.source, traffic.medium, traffic.campaign, traffic.content, traffic.keyword,
                   traffic.landing_page)
                  is not distinct from
                  (new.source, new.medium, new.campaign, new.content, new.keyword, new.landing_page)
       ) as traffic_id,
       (
           select min(site.id)
             from {star}.general_sites as site
            where (site.domain = new.domain or (site.domain is null and new.domain is null))
              and site.description is null
       ) as sites_id,
       (
           select campaign.id
             from {star}.comagic_campaigns as campaign
            where campaign.account_id = :account_id and campaign.campaign_id = new.campaign_id
       ) as campaigns_id,
       new.wait_duration,
       new.total_wait_duration,
       new.talk_duration,
       new.clean_talk_duration,
       new.total_duration,
       new.postprocess_duration
  from period_calls as new;

analyze period_facts;

update {star}.comagic_calls_facts as fact
   set (dates_id, clientids_id, locations_id, traffic_id, sites_id, campaigns_id, wait_duration, total_wait_duration,
        talk_duration, clean_talk_duration, total_duration, postprocess_duration)
     = (new.dates_id, new.clientids_id, new.locations_id, new.traffic_id, new.sites_id, new.campaigns_id,
        new.wait_duration, new.total_wait_duration, new.talk_duration, new.clean_talk_duration, new.total_duration,
        new.postprocess_duration)
  from period_facts as new
 where fact.calls_id = new.calls_id
   and (fact.dates_id, fact.clientids_id, fact.locations_id, fact.traffic_id, fact.sites_id, fact.campaigns_id,
        fact.wait_duration, fact.total_wait_duration, fact.talk_duration, fact.clean_talk_duration,
        fact.total_duration, fact.postprocess_duration)
       is distinct from
       (new.dates_id, new.clientids_id, new.locations_id, new.traffic_id, new.sites_id, new.campaigns_id,
        new.wait_duration, new.total_wait_duration, new.talk_duration, new.clean_talk_duration, new.total_duration,
        new.postprocess_duration);

insert into {star}.comagic_calls_facts (
    account_id, dates_id, clientids_id, locations_id, traffic_id, sites_id, calls_id, campaigns_id, wait_duration,
    total_wait_duration, talk_duration, clean_talk_duration, total_duration, postprocess_duration
)
select :account_id, dates_id, clientids_id, locations_id, traffic_id, sites_id, calls_id, campaigns_id, wait_duration,
       total_wait_duration, talk_duration, clean_talk_duration, total_duration, postprocess_duration
  from period_facts as new
 where not exists (select from {star}.comagic_calls_facts as fact where fact.calls_id = new.calls_id);
