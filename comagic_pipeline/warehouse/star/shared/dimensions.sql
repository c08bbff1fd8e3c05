-- The shared dimensions get the values that they lack. Rows are found by value, never by a fixed id; a hash only
-- narrows the search, because values with commas in them may share one.

-- Values are looked up one by one, by scalar subqueries that go by an index. A join or NOT EXISTS is left to the
-- planner, which knows nothing about tables that were filled a minute ago: it took the IS NULLs for rare and compared
-- 30 000 rows with each of 240 000 client ids, for minutes.

-- 9999-12-31 stands for a missing date and is always there.
insert into {star}.general_dates (
    full_date, year, quarter, quarter_label, month, month_label, week, weekday, weekday_label, day, hour, minute,
    date_hash, simple_date, time_zone
)
select full_date,
       extract(year from full_date),
       extract(quarter from full_date),
       to_char(extract(quarter from full_date), 'FMRN'),
       extract(month from full_date),
       (array['Январь', 'Февраль', 'Март', 'Апрель', 'Май', 'Июнь', 'Июль', 'Август', 'Сентябрь', 'Октябрь',
              'Ноябрь', 'Декабрь'])[extract(month from full_date)],
       extract(week from full_date),
       extract(isodow from full_date),
       (array['Понедельник', 'Вторник', 'Среда', 'Четверг', 'Пятница', 'Суббота',
              'Воскресенье'])[extract(isodow from full_date)],
       extract(day from full_date),
       extract(hour from full_date),
       extract(minute from full_date),
       md5(to_char(full_date, 'YYYY-MM-DD HH24:MI:SS')),
       full_date::date,
       0
  from (select full_date from period_rows union select timestamp '9999-12-31 00:00:00') as new
 where (select date.id from {star}.general_dates as date where date.full_date = new.full_date) is null;

insert into {star}.general_clientids (clientid)
select clientid
  from (select distinct clientid from period_rows) as new
 where (
    select min(client.id)
      from {star}.general_clientids as client
     where client.clientid = new.clientid
       and client.userid is null and client.phone is null and client.email is null
) is null;

insert into {star}.general_traffic (source, medium, campaign, content, keyword, landing_page, traffic_hash)
select source, medium, campaign, content, keyword, landing_page, traffic_hash
  from (
      select distinct source, medium, campaign, content, keyword, landing_page, traffic_hash from period_rows
  ) as new
 where (
    select min(traffic.id)
      from {star}.general_traffic as traffic
     where traffic.traffic_hash = new.traffic_hash
       and traffic.grouping is null
       and (traffic.source, traffic.medium, traffic.campaign, traffic.content, traffic.keyword, traffic.landing_page)
           is not distinct from
           (new.source, new.medium, new.campaign, new.content, new.keyword, new.landing_page)
) is null;

insert into {star}.general_sites (domain)
select domain
  from (select distinct domain from period_rows) as new
 where (
    select min(site.id)
      from {star}.general_sites as site
     where (site.domain = new.domain or (site.domain is null and new.domain is null)) and site.description is null
) is null;

insert into {star}.general_locations (country, region, city, location_hash)
select country, region, city, location_hash
  from (select distinct country, region, city, location_hash from period_rows) as new
 where (
    select min(location.id)
      from {star}.general_locations as location
     where location.location_hash = new.location_hash
       and (location.country, location.region, location.city)
           is not distinct from (new.country, new.region, new.city)
       and location.country_iso is null and location.region_iso is null
       and location.latitude is null and location.longitude is null
) is null;
