-- comagic_calls_tags of the period's calls. What is no list of objects with a tag_id is skipped: one odd value must
-- not stop a day. A tag that a call carries twice counts once, as it was put last.

create temporary table period_tags on commit drop as
select distinct on (calls_id, tag_id)
       calls_id,
       (tag ->> 'tag_id')::bigint as tag_id,
       left(coalesce(tag ->> 'tag_name', 'unknown'), 128) as name,
       left(coalesce(tag ->> 'tag_type', 'unknown'), 8) as tag_type
  from period_calls
  join period_facts using (call_id)
 cross join jsonb_array_elements(case jsonb_typeof(tags) when 'array' then tags end)
       with ordinality as element (tag, position)
 where tag ->> 'tag_id' ~ '^-?[0-9]{1,18}$'
 order by calls_id, tag_id, (tag ->> 'tag_change_time') collate "C" desc nulls last, position desc;

analyze period_tags;

delete from {star}.comagic_calls_tags as old
 using period_facts
 where old.calls_id = period_facts.calls_id
   and not exists (
    select from period_tags as new where new.calls_id = old.calls_id and new.tag_id = old.tag_id
);

update {star}.comagic_calls_tags as old
   set (name, tag_type) = (new.name, new.tag_type)
  from period_tags as new
 where old.account_id = :account_id
   and old.calls_id = new.calls_id
   and old.tag_id = new.tag_id
   and (old.name, old.tag_type) is distinct from (new.name, new.tag_type);

insert into {star}.comagic_calls_tags (account_id, calls_id, tag_id, name, tag_type)
select :account_id, calls_id, tag_id, name, tag_type
  from period_tags as new
 where not exists (
    select from {star}.comagic_calls_tags as old
     where old.account_id = :account_id and old.calls_id = new.calls_id and old.tag_id = new.tag_id
);
