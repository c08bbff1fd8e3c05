-- The tags of the period's rows. What is no list of objects with a tag_id is skipped: one odd value must not stop a
-- day. A tag that a row carries twice counts once, as it was put last.
select distinct on ({owner}, tag_id)
       {owner},
       (tag ->> 'tag_id')::bigint as tag_id,
       tag ->> 'tag_name' as name,
       tag ->> 'tag_type' as tag_type,
       -- Silent: what is no moment is none.
       (
           jsonb_path_query_first(
               tag,
               '$.tag_change_time ? (@ like_regex "^[12][0-9]{3}-").datetime("YYYY-MM-DD HH24:MI:SS")',
               silent => true
           ) #>> '{}'
       )::timestamp as change_time,
       case when tag ->> 'tag_user_id' ~ '^-?[0-9]{1,18}$' then (tag ->> 'tag_user_id')::bigint end as user_id,
       tag ->> 'tag_user_login' as user_login,
       case when tag ->> 'tag_employee_id' ~ '^-?[0-9]{1,18}$' then (tag ->> 'tag_employee_id')::bigint end as employee_id,
       tag ->> 'tag_employee_full_name' as employee_full_name
  from period_rows
  join new_facts using (customer_user_id, {key})
 cross join jsonb_array_elements(case jsonb_typeof(tags) when 'array' then tags end)
       with ordinality as element (tag, position)
 where tag ->> 'tag_id' ~ '^-?[0-9]{1,18}$'
 order by {owner}, tag_id, (tag ->> 'tag_change_time') collate "C" desc nulls last, position desc
