-- The facts of the period, one per row, every key resolved.

-- Members are looked up by value as in dimensions.sql. One that is not found breaks the fact's NOT NULL, where a join
-- would lose the fact. Should a warehouse that came from elsewhere hold a row twice, the lower id is taken.
select new.{key},
       new.customer_user_id,
       (
           select own.id
             from {star}.{dimension} as own
            where own.account_id = :account_id
              and own.customer_user_id = new.customer_user_id
              and own.{key} = new.{key}
       ) as {owner},
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
            where campaign.account_id = :account_id
              and campaign.customer_user_id = new.customer_user_id
              and campaign.campaign_id = new.campaign_id
       ) as campaigns_id,
       {measures}
  from period_rows as new
