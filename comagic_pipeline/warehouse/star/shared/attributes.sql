-- The flags of the period's rows. What is no list of strings is skipped, as in tags.sql. A code that is not in this
-- list is its own caption.
select distinct on ({owner}, left(code, 16))
       {owner},
       left(code, 16) as attribute_id,
       coalesce(caption, code) as name
  from period_rows
  join new_facts using (customer_user_id, {key})
 cross join jsonb_array_elements(case jsonb_typeof(attributes) when 'array' then attributes end) as element
 cross join lateral (select element #>> '{}' as code where jsonb_typeof(element) = 'string') as attribute
  left join (
      values ('first', 'Первое качественное обращение'),
             ('through', 'Сквозное первое качественное обращение'),
             ('primary', 'Первичное обращение'),
             ('secondary', 'Повторное обращение'),
             ('lost', 'Потерянное обращение'),
             ('target', 'Целевое обращение'),
             ('off-target', 'Нецелевое обращение'),
             ('quality', 'Качественное обращение'),
             ('rest', 'Повторное целевое обращение')
  ) as known (code, caption) using (code)
 order by {owner}, left(code, 16), code collate "C"
