-- One row per day, kind, tag and who put it: a person (manual) or a rule (auto). The day is that of the tag, not of the
-- communication. The API tells when a tag was put last, and nothing of tags that were taken off.
select tag.account_id,
       tag.change_time::date as simple_date,
       text '{kind}' as kind,
       tag.tag_id,
       max(tag.name) as tag_name,
       tag.tag_type,
       tag.user_login,
       tag.employee_id,
       max(tag.employee_full_name) as employee_full_name,
       count(*) as tags,
       own.customer_user_id
  from {star}.{tags} as tag
  join {star}.{dimension} as own on own.id = tag.{owner}
 where tag.change_time is not null
 group by tag.account_id, own.customer_user_id, tag.change_time::date, tag.tag_id, tag.tag_type, tag.user_login,
          tag.employee_id
