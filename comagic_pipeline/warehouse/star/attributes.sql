-- comagic_calls_attributes of the period's calls. What is no list of strings is skipped, as in tags.sql. A code that
-- is not in this list is its own caption.

create temporary table period_attributes on commit drop as
select distinct on (calls_id, left(code, 16))
       calls_id,
       left(code, 16) as attribute_id,
       left(coalesce(caption, code), 128) as name
  from period_calls
  join period_facts using (call_id)
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
 order by calls_id, left(code, 16), code collate "C";

analyze period_attributes;

delete from {star}.comagic_calls_attributes as old
 using period_facts
 where old.calls_id = period_facts.calls_id
   and not exists (
    select from period_attributes as new
     where new.calls_id = old.calls_id and new.attribute_id = old.attribute_id
);

update {star}.comagic_calls_attributes as old
   set name = new.name
  from period_attributes as new
 where old.calls_id = new.calls_id
   and old.attribute_id = new.attribute_id
   and old.name is distinct from new.name;

insert into {star}.comagic_calls_attributes (account_id, calls_id, attribute_id, name)
select :account_id, calls_id, attribute_id, name
  from period_attributes as new
 where not exists (
    select from {star}.comagic_calls_attributes as old
     where old.calls_id = new.calls_id and old.attribute_id = new.attribute_id
);
