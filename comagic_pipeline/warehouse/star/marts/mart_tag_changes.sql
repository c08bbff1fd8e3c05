-- One row per day, kind, tag and who put it: a person (manual) or a rule (auto). The day is that of the tag, not of the
-- communication. The API tells when a tag was put last, and nothing of tags that were taken off.
select account_id,
       change_time::date as simple_date,
       text '{kind}' as kind,
       tag_id,
       max(name) as tag_name,
       tag_type,
       user_login,
       employee_id,
       max(employee_full_name) as employee_full_name,
       count(*) as tags
  from {star}.{tags}
 where change_time is not null
 group by account_id, change_time::date, tag_id, tag_type, user_login, employee_id
